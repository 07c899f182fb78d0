"""Generates the sample lake, one file at a time."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain
from operator import attrgetter
from zoneinfo import ZoneInfo

from avesa_site.demo.sample_lake.clock import (
    HOUR,
    MONTHS_OF_HISTORY,
    OPENS,
    Span,
    Window,
    WorkCalendar,
    days_between,
    is_workday,
    midnight,
    months_before,
)
from avesa_site.demo.sample_lake.companies import company_lives
from avesa_site.demo.sample_lake.contacts import contact_lives
from avesa_site.demo.sample_lake.customers import Customers
from avesa_site.demo.sample_lake.demand import Demand
from avesa_site.demo.sample_lake.dice import Dice
from avesa_site.demo.sample_lake.formats import encode
from avesa_site.demo.sample_lake.lives import Life
from avesa_site.demo.sample_lake.members import Staff
from avesa_site.demo.sample_lake.rows import (
    COMPANIES,
    CONTACTS,
    TABLES,
    TICKETS,
    TIME_ENTRIES,
    CompanyRow,
    ContactRow,
    Row,
    Table,
    TimeEntryRow,
)
from avesa_site.demo.sample_lake.service import CLOSED_STATUSES
from avesa_site.demo.sample_lake.tenants import SAMPLE_TENANTS, SampleTenant
from avesa_site.demo.sample_lake.tickets import TicketDesk, TicketLife
from avesa_site.demo.sample_lake.time_entries import InternalWork, ProjectWork, Session
from avesa_site.demo.sample_lake.words import NEW_PHONES
from avesa_site.demo.sample_lake.workflow import STALLING

PART_ROWS = 200_000

# Of a tenant of size 1 at scale 1.
COMPANY_COUNT = 80
CONTACT_COUNT = 700
TICKET_COUNT = 8_700
INTERNAL_ENTRIES_PER_DAY = 4.6

# A new telephone system's tickets: of all that a day brings, and at least so many a day.
PHONE_TICKETS, MIN_PHONE_TICKETS = 0.5, 0.8

# Maximum age of tickets that are still open when the window starts.
BACKLOG_DAYS = 365
# In the last days before the start, all tickets are generated; before that, only stuck ones.
FRESH_DAYS = 14


@dataclass(frozen=True, slots=True)
class LakeFile:
    """One object of the lake: its key below the bucket, and its content."""

    key: str
    body: bytes


def generate(
    until: date,
    scale: float = 1.0,
    seed: int = 2026,
    *,
    since: date | None = None,
    tenants: Sequence[SampleTenant] = SAMPLE_TENANTS,
    new_phones: date | None = None,
) -> Iterator[LakeFile]:
    """Give every file of the sample lake: history from ``since`` up to the day before ``until``.

    Every version has an ``updated_at`` before ``until``, 00:00 UTC; only a ticket's
    ``required_date``, a planned date, may be later. Without ``since``, history is 24 months long.
    With the same ``since``, a later ``until`` only adds versions and changes none.
    From the day ``new_phones`` on, a large customer of each tenant has a new telephone system, and
    with it urgent tickets that take long.

    The same arguments give the same rows. At most about a month of one tenant is in memory, besides
    its companies and contacts.
    """
    window = Window(since or months_before(until, MONTHS_OF_HISTORY), until)
    for tenant in tenants:
        yield from _TenantLake(tenant, window, scale, seed, new_phones).files()


class _Buffer:
    """Rows of one table, kept until their span's file is written; the first span is the base."""

    def __init__(self, tenant: SampleTenant, table: Table, window: Window) -> None:
        self.tenant, self.table, self.window = tenant, table, window
        self.spans = [Span("base", 0, window.start, separator="/"), *window.spans()]
        self.ends = [span.end for span in self.spans]
        self.rows: list[list[Row]] = [[] for _ in self.spans]
        self._emitted = 0

    def put(self, versions: Sequence[Row]) -> None:
        """Add a record: only its last version to the base, nothing after the window's end."""
        for row in versions:
            if row.updated_at >= self.window.end:
                return
            span = bisect_right(self.ends, row.updated_at)
            if span == 0 and row is not versions[0]:
                self.rows[0].pop()
            self.rows[span].append(row)

    def finished_files(self, moment: int) -> Iterator[LakeFile]:
        """Give the files of all spans that end by then, and drop their rows."""
        while self._emitted < len(self.spans) and self.ends[self._emitted] <= moment:
            span = self.spans[self._emitted]
            rows, self.rows[self._emitted] = self.rows[self._emitted], []
            self._emitted += 1
            yield from self._files(span, sorted(rows, key=attrgetter("updated_at")))

    def _files(self, span: Span, rows: Sequence[Row]) -> Iterator[LakeFile]:
        formats = self.tenant.formats
        suffix = formats[(span.ordinal + TABLES.index(self.table)) % len(formats)]
        folder = f"{self.tenant.tenant_id}/canonical/{self.table.name}"
        numbered = span.ordinal == 0 or len(rows) > PART_ROWS
        for number, first in enumerate(range(0, len(rows), PART_ROWS)):
            part = f"{span.separator}part-{number:04d}" if numbered else ""
            body = encode(
                self.table,
                rows[first : first + PART_ROWS],
                suffix,
                aliased=self.tenant.aliased,
            )
            yield LakeFile(f"{folder}/{span.name}{part}{suffix}", body)


class _TenantLake:
    """One tenant's files: first the two tables in memory, then tickets and time together."""

    def __init__(
        self,
        tenant: SampleTenant,
        window: Window,
        scale: float,
        seed: int,
        new_phones: date | None,
    ) -> None:
        self.tenant, self.window, self.seed, self.new_phones = tenant, window, seed, new_phones
        self.size = tenant.size * scale
        self.calendar = WorkCalendar(
            ZoneInfo(tenant.time_zone),
            window.since - timedelta(days=10 * 365),
            # Enough for every due date in a version before the end.
            window.until + timedelta(days=150),
        )
        self.companies = company_lives(
            tenant, window, self.calendar, self._count(COMPANY_COUNT), seed
        )
        self.contacts = contact_lives(
            tenant, window, self.calendar, self.companies, self._count(CONTACT_COUNT), seed
        )
        self.customers = Customers(self.companies, self.contacts)
        staff = Staff(tenant, scale, seed)
        self.desk = TicketDesk(tenant, self.calendar, self.customers, staff)
        self.internal = InternalWork(
            tenant, self.calendar, staff, INTERNAL_ENTRIES_PER_DAY * self.size
        )
        self.projects = ProjectWork(tenant, self.calendar, self.customers, seed)
        self.demand = Demand(tenant, window, self.calendar, TICKET_COUNT * self.size)

    def files(self) -> Iterator[LakeFile]:
        yield from self._whole_table(COMPANIES, self.companies)
        yield from self._whole_table(CONTACTS, chain.from_iterable(self.contacts.values()))
        yield from self._tickets_and_time()

    def _count(self, at_size_one: int) -> int:
        return max(3, round(at_size_one * self.size))

    def _whole_table(
        self, table: Table, lives: Iterable[Life[CompanyRow] | Life[ContactRow]]
    ) -> Iterator[LakeFile]:
        buffer = _Buffer(self.tenant, table, self.window)
        for life in lives:
            buffer.put(life.versions)
        yield from buffer.finished_files(self.window.end)

    def _tickets_and_time(self) -> Iterator[LakeFile]:
        tickets = _Buffer(self.tenant, TICKETS, self.window)
        entries = _Buffer(self.tenant, TIME_ENTRIES, self.window)
        for day in self._days():
            # All versions from before this day are in the buffers now.
            reached = self.calendar.local_midnight(day)
            yield from tickets.finished_files(reached)
            yield from entries.finished_files(reached)
            for life in (*self._tickets_of(day), *self._about_new_phones(day)):
                tickets.put(life.versions)
                for versions in life.entries:
                    entries.put(versions)
                for session in life.sessions:
                    if self._is_recorded(session) and (work := self.projects.beside(session)):
                        entries.put([work])
            for entry in self._internal_of(day):
                entries.put([entry])
        yield from tickets.finished_files(self.window.end)
        yield from entries.finished_files(self.window.end)

    def _days(self) -> Iterator[date]:
        """Give the local days from the backlog's first to the last that begins in the window."""
        first = self.window.since - timedelta(days=BACKLOG_DAYS)
        for day in days_between(first, self.window.until + timedelta(days=2)):
            if self.calendar.local_midnight(day) < self.window.end:
                yield day

    def _tickets_of(self, day: date) -> Iterator[TicketLife]:
        dice = Dice(self.seed, self.tenant.tenant_id, "tickets", day)
        stuck = day < self.window.since - timedelta(days=FRESH_DAYS)
        callers = self.customers.between(*self.calendar.bounds(day))
        for moment in self.demand.moments(day, dice, STALLING if stuck else 1.0):
            life = self.desk.open(callers.draw(dice), moment, day, dice, stuck=stuck)
            if not _over(life, self.window.start):
                yield life

    def _about_new_phones(self, day: date) -> Iterator[TicketLife]:
        """Give the tickets that a new telephone system brings on a working day."""
        if self.new_phones is None or day < self.new_phones or not is_workday(day):
            return
        dice = Dice(self.seed, self.tenant.tenant_id, "new phones", day)
        customer = self.customers.largest_at(midnight(self.new_phones))
        opens = self.calendar.local_midnight(day) + OPENS * HOUR
        mean = max(MIN_PHONE_TICKETS, PHONE_TICKETS * self.demand.expected(day))
        for moment in sorted(
            opens + int(dice.between(0, 9) * HOUR) for _ in range(dice.poisson(mean))
        ):
            yield self.desk.open(customer, moment, day, dice, stuck=False, about=NEW_PHONES)

    def _is_recorded(self, session: Session) -> bool:
        """Whether the day of a session is in the window; the project work beside it is, then."""
        return self.window.start <= session.start < self.window.end

    def _internal_of(self, day: date) -> Sequence[TimeEntryRow]:
        if day < self.window.since:
            return ()
        return self.internal.of_day(day, Dice(self.seed, self.tenant.tenant_id, "internal", day))


def _over(life: TicketLife, moment: int) -> bool:
    """Whether a ticket was closed, and its last version written, before this moment."""
    latest = life.versions[-1]
    return latest.status in CLOSED_STATUSES and latest.updated_at < moment
