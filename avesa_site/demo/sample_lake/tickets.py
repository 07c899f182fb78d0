"""Tickets as they are opened: who calls, about what, and how urgent it is."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from avesa_site.demo.sample_lake.clock import HOUR, WORKDAY, WorkCalendar, is_workday
from avesa_site.demo.sample_lake.customers import Customers
from avesa_site.demo.sample_lake.dice import Dice
from avesa_site.demo.sample_lake.lives import Life
from avesa_site.demo.sample_lake.members import Staff
from avesa_site.demo.sample_lake.rows import CompanyRow, ContactRow, TicketRow, TimeEntryRow
from avesa_site.demo.sample_lake.service import DUE_WORKDAYS, NEW, priority_of
from avesa_site.demo.sample_lake.tenants import SampleTenant
from avesa_site.demo.sample_lake.time_entries import Session, entry_versions, quarter_hours
from avesa_site.demo.sample_lake.words import BY_DAY, BY_NIGHT, CLOSINGS, LEVELS, OPENINGS, Matter
from avesa_site.demo.sample_lake.workflow import STALLING, Course


@dataclass(frozen=True, slots=True)
class TicketLife:
    """All versions of a ticket and of its time entries, each list in order, and who worked when."""

    versions: list[TicketRow]
    entries: list[list[TimeEntryRow]]
    sessions: list[Session]


class TicketDesk:
    """Opens tickets and simulates each to its end, even beyond the window."""

    def __init__(
        self,
        tenant: SampleTenant,
        calendar: WorkCalendar,
        customers: Customers,
        staff: Staff,
    ) -> None:
        self.tenant, self.calendar = tenant, calendar
        self.customers, self.staff = customers, staff
        self.number = 100_000

    def open(
        self,
        company: Life[CompanyRow],
        moment: int,
        day: date,
        dice: Dice,
        *,
        stuck: bool,
        about: Matter | None = None,
    ) -> TicketLife:
        """Give the life of a ticket opened at that moment, about some matter if none is given; a
        stuck one certainly stalls."""
        self.number += 1
        matters = BY_DAY if self._in_office(moment, day) else BY_NIGHT
        matter = about or matters.draw(dice)
        first = self._first_row(company, moment, matter, dice)
        course = Course(first, matter, self.staff.draw(dice), self.staff, self.calendar, dice)
        course.run(stuck=stuck or dice.chance(STALLING))
        prefix = f"E-{self.number}" if self.tenant.prefixed_keys else str(self.number)
        entries = [
            entry_versions(f"{prefix}{index:02d}", session, first, company, dice)
            for index, session in enumerate(course.sessions, start=1)
        ]
        return TicketLife(course.versions(company), entries, course.sessions)

    def _in_office(self, moment: int, day: date) -> bool:
        hour = (moment - self.calendar.local_midnight(day)) // HOUR
        return is_workday(day) and 7 <= hour < 18

    def _first_row(
        self, company: Life[CompanyRow], moment: int, matter: Matter, dice: Dice
    ) -> TicketRow:
        customer = company.at(moment)
        caller = None
        if not matter.monitored:
            caller = self.customers.caller(customer.company_id, moment, dice)
        severity, impact, urgency = (_level(matter, dice) for _ in range(3))
        priority = priority_of(severity, impact, urgency)
        summary, description = _texts(matter, caller, customer, dice)
        due = self.calendar.later(moment, DUE_WORKDAYS[priority] * WORKDAY)
        budget = quarter_hours(matter.hours * dice.between(1.0, 2.0))
        opener = _opener(matter, caller, dice)
        return TicketRow(
            ticket_id=f"T-{self.number}" if self.tenant.prefixed_keys else str(self.number),
            ticket_number=str(self.number),
            summary=summary,
            description=description,
            status=NEW,
            priority=priority,
            severity=severity,
            impact=impact,
            urgency=urgency,
            company_id=customer.company_id,
            company_name=customer.name,
            contact_id=caller.contact_id if caller else None,
            contact_name=f"{caller.first_name} {caller.last_name}" if caller else None,
            board_name=matter.board,
            type_name=matter.type,
            subtype_name=matter.subtype,
            item_name=matter.item,
            team_name=matter.team,
            owner_id=None,
            owner_name=None,
            created_by=opener,
            created_date=moment,
            required_date=due if matter.planned or dice.chance(0.35) else None,
            first_response_date=None,
            closed_date=None,
            closed_by=None,
            budget_hours=budget if matter.planned or dice.chance(0.6) else None,
            actual_hours=Decimal("0.00"),
            approved=None if matter.monitored else not matter.planned,
            updated_at=moment,
            last_updated_by=opener,
        )


def _level(matter: Matter, dice: Dice) -> str:
    roll, low, medium = dice.random(), matter.odds[0], matter.odds[1]
    return LEVELS[0] if roll < low else LEVELS[1] if roll < low + medium else LEVELS[2]


def _opener(matter: Matter, caller: ContactRow | None, dice: Dice) -> str:
    if matter.monitored:
        return "monitoring"
    if caller and caller.email and dice.chance(0.6):
        return caller.email
    return "portal" if dice.chance(0.5) else "dispatch"


def _texts(
    matter: Matter, caller: ContactRow | None, customer: CompanyRow, dice: Dice
) -> tuple[str, str | None]:
    code = customer.company_identifier[:6]
    words = {
        "device": f"{code}-NB{dice.whole(1, 89):03d}",
        "server": f"{code}-SRV{dice.whole(1, 9):02d}",
        "printer": f"{code}-PRT{dice.whole(1, 14):02d}",
        "person": f"{caller.first_name} {caller.last_name}" if caller else "a colleague",
        "site": customer.city or "the head office",
        "n": dice.whole(2, 9),
    }
    summary = dice.pick(matter.summaries).format_map(words)
    if dice.chance(0.08):
        return summary, None
    detail = dice.pick(matter.details).format_map(words)
    if matter.monitored:
        return summary, detail
    signature = f"\n{words['person']}" if caller else ""
    return summary, f"{dice.pick(OPENINGS)}\n\n{detail}\n\n{dice.pick(CLOSINGS)}{signature}"
