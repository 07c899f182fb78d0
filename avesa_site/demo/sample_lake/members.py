"""The technicians of a provider."""

from dataclasses import dataclass

from avesa_site.demo.sample_lake.companies import identifier_of
from avesa_site.demo.sample_lake.dice import Dice, Weighted
from avesa_site.demo.sample_lake.places import REGIONS
from avesa_site.demo.sample_lake.tenants import SampleTenant

ROLES = (
    "Support Engineer",
    "Support Engineer",
    "Senior Engineer",
    "Field Technician",
    "Consultant",
)


@dataclass(frozen=True, slots=True)
class Member:
    member_id: str
    name: str
    login: str
    role: str


class Staff:
    """The technicians who take tickets, some more than others."""

    def __init__(self, tenant: SampleTenant, scale: float, seed: int) -> None:
        dice = Dice(seed, tenant.tenant_id, "members")
        region = REGIONS[tenant.region]
        count = round(tenant.technicians * max(1.0, scale))
        self.members: list[Member] = []
        for number in range(count):
            first, last = dice.pick(region.first_names), dice.pick(region.last_names)
            login = f"{identifier_of(first)[:1]}{identifier_of(last)}{number + 1}".lower()
            role = ROLES[number % len(ROLES)]
            self.members.append(Member(str(101 + number), f"{first} {last}", login, role))
        self._by_diligence = Weighted((member, dice.between(0.6, 1.6)) for member in self.members)
        self.seniors = [one for one in self.members if one.role == "Senior Engineer"]

    def draw(self, dice: Dice) -> Member:
        return self._by_diligence.draw(dice)

    def other_than(self, member: Member, dice: Dice) -> Member:
        """Give a colleague, a senior one if there is one."""
        choice = dice.pick(self.seniors or self.members)
        return choice if choice is not member else dice.pick(self.members)
