"""Companies: customers that are won, grow or shrink, are sometimes renamed, and leave."""

import unicodedata
from decimal import Decimal
from math import exp

from avesa_site.demo.sample_lake.clock import DAY, Window, WorkCalendar
from avesa_site.demo.sample_lake.dice import Dice, Weighted
from avesa_site.demo.sample_lake.lives import Life
from avesa_site.demo.sample_lake.places import REGIONS, Region
from avesa_site.demo.sample_lake.rows import CompanyRow
from avesa_site.demo.sample_lake.tenants import SampleTenant
from avesa_site.demo.sample_lake.words import COINED, INDUSTRIES, TRADES

YEAR = 365 * DAY
ANCHORS = 2  # companies that are active throughout, so that there is always a customer

PROSPECT, ACTIVE, INACTIVE = "Prospect", "Active", "Inactive"

SEGMENTS = Weighted(
    (("Managed Services", 55), ("Co-Managed IT", 18), ("Break-Fix", 19), ("Projects Only", 8))
)
INDUSTRY = Weighted(INDUSTRIES)
FIRST_STATUS = Weighted(((ACTIVE, 86), (PROSPECT, 7), (INACTIVE, 7)))
REVENUE_PER_HEAD = {"Finance & Insurance": 290_000, "Manufacturing": 210_000, "Retail": 160_000}
# Letters that do not decompose into a base letter and an accent, or that German spells with two.
SPELLED_OUT = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "\u0131": "i", "ł": "l", "ø": "o"}
)
EDITORS = ("sync", "sales", "account.management", "finance")


def company_lives(
    tenant: SampleTenant, window: Window, calendar: WorkCalendar, count: int, seed: int
) -> list[Life[CompanyRow]]:
    """Give the versions of every company in the 24 months from the window's start."""
    taken: set[str] = set()
    return [
        _life(
            tenant, window, calendar, number, taken, Dice(seed, tenant.tenant_id, "company", number)
        )
        for number in range(count)
    ]


def size_category(employees: int | None) -> str | None:
    if employees is None:
        return None
    if employees < 10:
        return "Micro"
    if employees < 50:
        return "Small"
    return "Medium" if employees < 250 else "Large"


def _life(
    tenant: SampleTenant,
    window: Window,
    calendar: WorkCalendar,
    number: int,
    taken: set[str],
    dice: Dice,
) -> Life[CompanyRow]:
    anchor = number < ANCHORS
    known = anchor or dice.chance(0.82)
    if known:
        created = calendar.later(window.start - int(dice.between(1.2 * YEAR, 9 * YEAR)))
        status = ACTIVE if anchor else FIRST_STATUS.draw(dice)
        updated = max(created, window.start - int(dice.between(1, 200) * DAY))
    else:
        created = calendar.later(window.start + int(dice.between(0, 2 * YEAR)))
        status = PROSPECT
        updated = created
    created, updated = (moment + dice.whole(0, 3_599_999) for moment in (created, updated))
    first = _first_row(tenant, number, taken, dice)
    life = Life(
        first._replace(
            status=status,
            is_active=status == ACTIVE,
            created_at=created,
            updated_at=max(created, updated),
        )
    )
    _grow(life, window, calendar, dice, anchor=anchor)
    return life


def _first_row(tenant: SampleTenant, number: int, taken: set[str], dice: Dice) -> CompanyRow:
    region = REGIONS[tenant.region]
    name, identifier = _unused_name(region, taken, dice)
    domain = f"{identifier.lower()}.example"
    place = dice.pick(region.places)
    employees = max(2, round(dice.lognormal(48, 1.1))) if dice.chance(0.96) else None
    industry = INDUSTRY.draw(dice)
    per_head = REVENUE_PER_HEAD.get(industry, 120_000) * dice.lognormal(1, 0.35)
    revenue = _money((employees or 30) * per_head) if dice.chance(0.94) else None
    return CompanyRow(
        company_id=f"C-{1001 + number}" if tenant.prefixed_keys else str(1001 + number),
        name=name,
        company_identifier=identifier,
        domain=domain if dice.chance(0.95) else None,
        website=f"https://www.{domain}" if dice.chance(0.9) else None,
        industry=industry if dice.chance(0.97) else None,
        size_category=size_category(employees),
        company_type=SEGMENTS.draw(dice),
        status=ACTIVE,
        is_active=True,
        address_line1=_address(region, dice) if dice.chance(0.97) else None,
        address_line2=f"Floor {dice.whole(1, 9)}, rear building" if dice.chance(0.12) else None,
        city=place.city,
        state=place.state,
        zip=place.zip,
        country=place.country,
        phone_number=_phone(region, dice) if dice.chance(0.93) else None,
        territory_name=place.territory if dice.chance(0.96) else None,
        number_of_employees=employees,
        annual_revenue=revenue,
        created_at=0,
        updated_at=0,
        last_updated_by=dice.pick(EDITORS),
    )


def _grow(
    life: Life[CompanyRow], window: Window, calendar: WorkCalendar, dice: Dice, *, anchor: bool
) -> None:
    """Add a version at every review until the company is gone or the 24 months are over."""
    drift = dice.normal(0.06, 0.16)
    moment = max(life.latest.updated_at, window.start)
    horizon = window.start + 2 * YEAR + 120 * DAY
    while True:
        pause = dice.between(10, 90) if life.latest.status == PROSPECT else dice.between(50, 190)
        moment = calendar.later(moment + int(pause * DAY)) + dice.whole(0, 28_800_000)
        if moment >= horizon:
            return
        life.add(_reviewed(life.latest, moment, pause / 365, drift, dice, anchor=anchor))
        if life.latest.status == INACTIVE and not dice.chance(0.25):
            return


def _reviewed(
    row: CompanyRow, moment: int, years: float, drift: float, dice: Dice, *, anchor: bool
) -> CompanyRow:
    status = ACTIVE if anchor else _next_status(row.status, years, dice)
    factor = exp(drift * years + dice.normal(0, 0.04))
    employees = row.number_of_employees and max(1, round(row.number_of_employees * factor))
    revenue = row.annual_revenue and _money(float(row.annual_revenue) * factor)
    renamed = dice.chance(0.012)
    return row._replace(
        name=_rebranded(row.name, dice) if renamed else row.name,
        status=status,
        is_active=status == ACTIVE,
        number_of_employees=employees,
        size_category=size_category(employees),
        annual_revenue=revenue,
        updated_at=moment,
        last_updated_by=dice.pick(EDITORS),
    )


def _next_status(status: str, years: float, dice: Dice) -> str:
    if status == PROSPECT:
        return Weighted(((ACTIVE, 55), (PROSPECT, 30), (INACTIVE, 15))).draw(dice)
    if status == INACTIVE:
        return ACTIVE if dice.chance(0.3) else INACTIVE
    return INACTIVE if dice.chance(0.07 * years) else ACTIVE


def _rebranded(name: str, dice: Dice) -> str:
    known_part = name.split()[0].strip(',"')
    return f"{dice.pick(COINED)} {known_part} Group"


def _unused_name(region: Region, taken: set[str], dice: Dice) -> tuple[str, str]:
    """Give a name with its legal form, and a unique code, which is also the domain."""
    while True:
        core = _name(region, dice)
        identifier = identifier_of(core)[:24]
        # Once the obvious names are used up, companies get a number.
        if identifier in taken:
            number = dice.whole(2, 99_999)
            core, identifier = f"{core} {number}", f"{identifier}{number}"
        if identifier not in taken:
            taken.add(identifier)
            return f"{core} {dice.pick(region.suffixes)}", identifier


def _name(region: Region, dice: Dice) -> str:
    style = dice.random()
    person, trade = dice.pick(region.last_names), dice.pick(TRADES)
    if style < 0.35:
        return f"{person} {trade}"
    if style < 0.60:
        return f"{dice.pick(COINED)}{dice.pick(COINED).lower()} {trade}"
    if style < 0.80:
        return f"{person} & {dice.pick(region.last_names)}"
    if style < 0.92:
        return f"{person}, {dice.pick(region.last_names)} {trade}"
    return f'"{dice.pick(COINED)}" {trade}'


def identifier_of(text: str) -> str:
    """Reduce a name to plain capital letters and digits, as upstream systems do for their codes."""
    spelled = text.lower().translate(SPELLED_OUT)
    plain = unicodedata.normalize("NFKD", spelled).encode("ascii", "ignore").decode()
    return "".join(letter for letter in plain.upper() if letter.isalnum())


def _address(region: Region, dice: Dice) -> str:
    street, house = dice.pick(region.streets), dice.whole(1, 180)
    return f"{house} {street}" if region.house_first else f"{street} {house}"


def _phone(region: Region, dice: Dice) -> str:
    return region.phone.format(dice.whole(100, 199))


def _money(amount: float) -> Decimal:
    return Decimal(round(amount)).quantize(Decimal("0.01"))
