"""Who opens tickets: companies that are active on the day, and their people."""

from collections.abc import Sequence

from avesa_site.demo.sample_lake.contacts import ContactsByCompany, weight_of
from avesa_site.demo.sample_lake.dice import Dice, Weighted
from avesa_site.demo.sample_lake.lives import Life
from avesa_site.demo.sample_lake.rows import CompanyRow, ContactRow


class Customers:
    """The companies and contacts of a provider, as callers."""

    def __init__(self, companies: Sequence[Life[CompanyRow]], contacts: ContactsByCompany) -> None:
        self.companies = companies
        self.contacts = contacts
        self.weights = [weight_of(company.versions[0]) for company in companies]

    def between(self, start: int, end: int) -> Weighted[Life[CompanyRow]]:
        return Weighted(
            (company, weight)
            for company, weight in zip(self.companies, self.weights, strict=True)
            if company.active_at(start) and company.active_at(end)
        )

    def largest_at(self, moment: int) -> Life[CompanyRow]:
        """Give the company that is active then and has the most people."""
        pairs = zip(self.weights, self.companies, strict=True)
        return max((p for p in pairs if p[1].active_at(moment)), key=lambda pair: pair[0])[1]

    def caller(self, company_id: str, moment: int, dice: Dice) -> ContactRow | None:
        """Give someone of the company who is there at that moment, if found in a few tries."""
        people = self.contacts[company_id]
        for _ in range(4):
            person = dice.pick(people)
            if person.active_at(moment):
                return person.at(moment)
        return None
