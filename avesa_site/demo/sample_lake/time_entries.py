"""Time entries: the work on tickets and projects, and what technicians do besides."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from avesa_site.demo.sample_lake.clock import DAY, HOUR, MINUTE, OPENS, WorkCalendar, is_workday
from avesa_site.demo.sample_lake.customers import Customers
from avesa_site.demo.sample_lake.dice import Dice, Weighted
from avesa_site.demo.sample_lake.lives import Life
from avesa_site.demo.sample_lake.members import Member, Staff
from avesa_site.demo.sample_lake.rows import CompanyRow, TicketRow, TimeEntryRow
from avesa_site.demo.sample_lake.tenants import SampleTenant
from avesa_site.demo.sample_lake.words import INTERNAL_WORK, PROJECT_NOTES, WORK_NOTES

SERVICE_TICKET, PROJECT_TICKET, CHARGE_CODE = "ServiceTicket", "ProjectTicket", "ChargeCode"
BILLABLE, COVERED, FREE = "Billable", "DoNotBill", "NoCharge"

# Projects are sold by the hour; what went wrong is not billed.
PROJECT_BILLING = Weighted(((BILLABLE, 94), (FREE, 6)))
# Typical billing of a company's segment.
BILLING = {
    "Managed Services": Weighted(((COVERED, 80), (BILLABLE, 15), (FREE, 5))),
    "Co-Managed IT": Weighted(((COVERED, 60), (BILLABLE, 34), (FREE, 6))),
    "Break-Fix": Weighted(((BILLABLE, 90), (FREE, 10))),
    "Projects Only": Weighted(((BILLABLE, 94), (FREE, 6))),
}
AGREEMENTS = {
    "Managed Services": ("Managed Services Gold", "Managed Services Silver", "Managed Workplace"),
    "Co-Managed IT": ("Co-Managed IT, 20 h block", "Co-Managed IT, 40 h block"),
}


@dataclass(frozen=True, slots=True)
class Session:
    """A piece of work on a ticket, ``hours`` net of what is deducted."""

    start: int
    end: int
    entered: int
    hours: Decimal
    member: Member
    after_hours: bool


def quarter_hours(hours: float) -> Decimal:
    """Round to quarters of an hour, at least one, as time is booked."""
    return Decimal(max(1, round(hours * 4)) * 25).scaleb(-2)


def entry_versions(
    entry_id: str, session: Session, ticket: TicketRow, company: Life[CompanyRow], dice: Dice
) -> list[TimeEntryRow]:
    """Give the entry of a session and, for one in eight, its later correction."""
    customer = company.at(session.entered)
    agreements = AGREEMENTS.get(customer.company_type)
    member = session.member
    row = TimeEntryRow(
        entry_id=entry_id,
        company_id=customer.company_id,
        company_name=customer.name,
        ticket_id=ticket.ticket_id,
        charge_to_type=SERVICE_TICKET,
        member_id=member.member_id,
        member_name=member.name,
        work_type_name=_work_type(session, member, dice),
        work_role_name=member.role,
        # One agreement per company, so that it does not change from entry to entry.
        agreement_name=agreements[int(customer.company_id[-1]) % len(agreements)]
        if agreements
        else None,
        billable_option=BILLING[customer.company_type].draw(dice),
        time_start=session.start,
        time_end=session.end,
        actual_hours=session.hours,
        hours_deduct=None,
        notes=dice.pick(WORK_NOTES) if dice.chance(0.8) else None,
        date_entered=session.entered,
        entered_by=member.login if dice.chance(0.95) else "dispatch",
        updated_at=session.entered,
    )
    if dice.chance(0.12):
        return [row, _corrected(row, dice)]
    return [row]


def _work_type(session: Session, member: Member, dice: Dice) -> str:
    if session.after_hours:
        return "After Hours"
    if member.role == "Field Technician" and session.hours >= 1:
        return "On-site" if dice.chance(0.6) else "Remote"
    return "Remote" if dice.chance(0.75) else "Telephone"


def _corrected(row: TimeEntryRow, dice: Dice) -> TimeEntryRow:
    moment = row.updated_at + int(dice.between(0.02, 9) * DAY)
    if dice.chance(0.5):
        option = FREE if row.billable_option != FREE else BILLABLE
        return row._replace(billable_option=option, updated_at=moment)
    return row._replace(notes=f"{row.notes or ''}\n[checked]".lstrip(), updated_at=moment)


class ProjectWork:
    """The longest part of a technician's day: a customer's project. One entry for each working day
    on which the technician works on tickets, too."""

    def __init__(
        self, tenant: SampleTenant, calendar: WorkCalendar, customers: Customers, seed: int
    ) -> None:
        self.tenant, self.calendar, self.customers, self.seed = tenant, calendar, customers, seed
        self._done: set[tuple[str, date]] = set()

    def beside(self, session: Session) -> TimeEntryRow | None:
        """Give the entry of the session's day, unless an earlier session had it."""
        day = self.calendar.local_day(session.start)
        place = session.member.member_id, day
        if place in self._done or not is_workday(day):
            return None
        self._done.add(place)
        dice = Dice(self.seed, self.tenant.tenant_id, "project", *place)
        return self._entry(session.member, day, dice)

    def _entry(self, member: Member, day: date, dice: Dice) -> TimeEntryRow:
        start = self.calendar.local_midnight(day) + OPENS * HOUR + dice.whole(0, 6) * 30 * MINUTE
        hours = quarter_hours(min(7.5, max(2.0, dice.lognormal(4.6, 0.25))))
        lunch = Decimal("0.50") if hours >= 4 else None
        end = start + int((hours + (lunch or 0)) * HOUR)
        entered = end + dice.whole(20_000, 2 * HOUR)
        customer = self.customers.between(start, entered).draw(dice).at(entered)
        number = f"8{member.member_id}{day:%y%m%d}"  # far from those of tickets and internal work
        return TimeEntryRow(
            entry_id=f"E-{number}" if self.tenant.prefixed_keys else number,
            company_id=customer.company_id,
            company_name=customer.name,
            ticket_id=None,
            charge_to_type=PROJECT_TICKET,
            member_id=member.member_id,
            member_name=member.name,
            work_type_name="Project",
            work_role_name=member.role,
            agreement_name=None,
            billable_option=PROJECT_BILLING.draw(dice),
            time_start=start,
            time_end=end,
            actual_hours=hours,
            hours_deduct=lunch,
            notes=dice.pick(PROJECT_NOTES) if dice.chance(0.7) else None,
            date_entered=entered,
            entered_by=member.login,
            updated_at=entered,
        )


class InternalWork:
    """Meetings, training and the like: entries without a ticket or a customer."""

    def __init__(
        self, tenant: SampleTenant, calendar: WorkCalendar, staff: Staff, per_day: float
    ) -> None:
        self.tenant, self.calendar, self.staff, self.per_day = tenant, calendar, staff, per_day
        # Numbers far above those derived from tickets, so that the two never meet.
        self.number = 9_000_000_000

    def of_day(self, day: date, dice: Dice) -> list[TimeEntryRow]:
        if not is_workday(day):
            return []
        return [self._entry(day, dice) for _ in range(dice.poisson(self.per_day))]

    def _entry(self, day: date, dice: Dice) -> TimeEntryRow:
        self.number += 1
        member = self.staff.draw(dice)
        index = dice.whole(0, len(INTERNAL_WORK) - 1)
        work_type, notes = INTERNAL_WORK[index]
        quarter = dice.whole(0, 4 * 8)
        start = self.calendar.local_midnight(day) + OPENS * HOUR + quarter * 15 * MINUTE
        hours = quarter_hours(min(6.0, dice.lognormal(0.9, 0.6)))
        lunch = Decimal("0.50") if hours >= 4 else None
        end = start + int((hours + (lunch or 0)) * HOUR)
        entered = end + dice.whole(20_000, 5 * HOUR)
        return TimeEntryRow(
            entry_id=f"E-{self.number}" if self.tenant.prefixed_keys else str(self.number),
            company_id=None,
            company_name=None,
            # In files with "charge_to_id", it is the charge code here, not a ticket.
            ticket_id=str(index + 1) if self.tenant.aliased else None,
            charge_to_type=CHARGE_CODE,
            member_id=member.member_id,
            member_name=member.name,
            work_type_name=work_type,
            work_role_name=member.role,
            agreement_name=None,
            billable_option="DoNotBill",
            time_start=start,
            time_end=end,
            actual_hours=hours,
            hours_deduct=lunch,
            notes=notes if dice.chance(0.7) else None,
            date_entered=entered,
            entered_by=member.login,
            updated_at=entered,
        )
