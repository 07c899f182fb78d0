"""Contacts: the people at each company, who join, change their position, and leave."""

from avesa_site.demo.sample_lake.clock import DAY, Window, WorkCalendar
from avesa_site.demo.sample_lake.companies import YEAR, identifier_of
from avesa_site.demo.sample_lake.dice import Dice
from avesa_site.demo.sample_lake.lives import Life
from avesa_site.demo.sample_lake.places import REGIONS, Region
from avesa_site.demo.sample_lake.rows import CompanyRow, ContactRow
from avesa_site.demo.sample_lake.tenants import SampleTenant
from avesa_site.demo.sample_lake.words import DEPARTMENTS

ContactsByCompany = dict[str, list[Life[ContactRow]]]


def contact_lives(
    tenant: SampleTenant,
    window: Window,
    calendar: WorkCalendar,
    companies: list[Life[CompanyRow]],
    count: int,
    seed: int,
) -> ContactsByCompany:
    """Give the versions of about ``count`` contacts, more of them at larger companies."""
    weights = [weight_of(company.versions[0]) for company in companies]
    contacts: ContactsByCompany = {}
    number = 10_001
    for company, weight in zip(companies, weights, strict=True):
        company_id = company.latest.company_id
        dice = Dice(seed, tenant.tenant_id, "contacts", company_id)
        people = max(1, round(count * weight / sum(weights)))
        contacts[company_id] = [
            _life(tenant, window, calendar, company, number + index, index == 0, dice)
            for index in range(people)
        ]
        number += people
    return contacts


def weight_of(company: CompanyRow) -> float:
    """Give a company's weight in the distribution of people and tickets."""
    return float((company.number_of_employees or 30) ** 0.6)


def _life(
    tenant: SampleTenant,
    window: Window,
    calendar: WorkCalendar,
    company: Life[CompanyRow],
    number: int,
    first_contact: bool,
    dice: Dice,
) -> Life[ContactRow]:
    created = company.latest.created_at + dice.whole(60_000, 5 * DAY)
    if not first_contact:
        created = _joined(created, window, calendar, dice)
    updated = created
    if created < window.start:
        updated = max(created, window.start - int(dice.between(1, 300) * DAY))
    life = Life(_first_row(tenant, company.at(created), number, created, updated, dice))
    _change(life, window, calendar, company, dice)
    return life


def _joined(founded: int, window: Window, calendar: WorkCalendar, dice: Dice) -> int:
    """Three of four were there before the window, if their company was; the rest join in it."""
    late = founded >= window.start or dice.chance(0.25)
    earliest = max(founded, window.start) if late else founded
    latest = window.start + 2 * YEAR if late else window.start
    moment = earliest + int(dice.random() * max(0, latest - earliest))
    return calendar.later(moment) + dice.whole(0, 3_599_999)


def _first_row(
    tenant: SampleTenant,
    company: CompanyRow,
    number: int,
    created: int,
    updated: int,
    dice: Dice,
) -> ContactRow:
    region = REGIONS[tenant.region]
    first, last = dice.pick(region.first_names), dice.pick(region.last_names)
    department, titles = dice.pick(DEPARTMENTS)
    domain = f"{company.company_identifier.lower()}.example"
    mailbox = f"{identifier_of(first)}.{identifier_of(last)}".lower()
    located = dice.chance(0.9)
    return ContactRow(
        contact_id=f"P-{number}" if tenant.prefixed_keys else str(number),
        company_id=company.company_id,
        company_name=company.name,
        first_name=first,
        last_name=last,
        title=dice.pick(titles) if dice.chance(0.88) else None,
        department=department if dice.chance(0.85) else None,
        email=f"{mailbox}@{domain}" if dice.chance(0.96) else None,
        phone_number=_phone(region, dice) if dice.chance(0.7) else None,
        city=company.city if located else None,
        state=company.state if located else None,
        country=company.country if located else None,
        is_active=True,
        created_at=created,
        updated_at=updated,
    )


def _change(
    life: Life[ContactRow],
    window: Window,
    calendar: WorkCalendar,
    company: Life[CompanyRow],
    dice: Dice,
) -> None:
    """Add versions until the person, or the whole company, has left."""
    horizon = window.start + 2 * YEAR + 120 * DAY
    moment = max(life.latest.updated_at, window.start)
    while True:
        pause = dice.between(120, 520)
        moment = calendar.later(moment + int(pause * DAY)) + dice.whole(0, 28_800_000)
        if moment >= horizon:
            return
        employer = company.at(moment)
        gone = employer.status == "Inactive" or dice.chance(0.11 * pause / 365)
        life.add(_changed(life.latest, employer, moment, dice, gone=gone))
        if gone:
            return


def _changed(
    row: ContactRow, company: CompanyRow, moment: int, dice: Dice, *, gone: bool
) -> ContactRow:
    row = row._replace(company_name=company.name, is_active=not gone, updated_at=moment)
    if gone:
        return row
    if dice.chance(0.3):
        department, titles = dice.pick(DEPARTMENTS)
        return row._replace(department=department, title=dice.pick(titles))
    if row.title and dice.chance(0.3) and not row.title.startswith("Senior"):
        return row._replace(title=f"Senior {row.title}")
    return row


def _phone(region: Region, dice: Dice) -> str:
    return region.phone.format(dice.whole(100, 199))
