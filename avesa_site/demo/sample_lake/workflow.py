"""Simulates one ticket: who takes it, works on it, waits and closes it, and which ones stall."""

from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from typing import Any

from avesa_site.demo.sample_lake.clock import DAY, HOUR, MINUTE, NEVER, WORKDAY, WorkCalendar
from avesa_site.demo.sample_lake.dice import Dice, Weighted
from avesa_site.demo.sample_lake.lives import Life
from avesa_site.demo.sample_lake.members import Member, Staff
from avesa_site.demo.sample_lake.rows import CompanyRow, TicketRow
from avesa_site.demo.sample_lake.service import (
    ASSIGNED,
    CLOSED,
    IN_PROGRESS,
    PRIORITIES,
    REOPENED,
    RESOLVED,
    RESPONSE_TARGETS,
    SCHEDULED,
    WAITING_CUSTOMER,
    WAITING_VENDOR,
    priority_of,
)
from avesa_site.demo.sample_lake.time_entries import Session, quarter_hours
from avesa_site.demo.sample_lake.words import HIGH, Matter

PAUSES = Weighted(
    ((WAITING_CUSTOMER, 50), (WAITING_VENDOR, 14), (SCHEDULED, 20), (IN_PROGRESS, 16))
)
STALLS = Weighted(
    ((WAITING_CUSTOMER, 34), (WAITING_VENDOR, 22), (SCHEDULED, 18), (IN_PROGRESS, 26))
)
SESSIONS = Weighted(((1, 52), (2, 29), (3, 13), (4, 6)))

# Stuck tickets make up the backlog. With this probability and duration, about one ticket in twenty
# of the 24 months is open at any time.
STALLING = 0.10
STALL_DAYS = 400.0


@dataclass(slots=True)
class Event:
    """An event that creates a new version of the ticket; ``hours`` are added to it."""

    moment: int
    changes: dict[str, Any]
    hours: Decimal = Decimal(0)


@dataclass(slots=True)
class Course:
    """Simulates one ticket. ``moment`` and ``owner`` are its current time and owner.

    Nothing here depends on the window's end, so a ticket's past does not either. After the end of
    the calendar, everything happens at NEVER.
    """

    first: TicketRow
    matter: Matter
    owner: Member
    staff: Staff
    calendar: WorkCalendar
    dice: Dice
    moment: int = 0
    events: list[Event] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)

    def run(self, *, stuck: bool) -> None:
        self.moment = self.first.created_date
        if self.matter.monitored and not stuck and self.dice.chance(0.08):
            self._clear_by_itself()
            return
        self._work(stuck=stuck)
        self._close()
        if self.dice.chance(0.045):
            self._reopen()

    def versions(self, company: Life[CompanyRow]) -> list[TicketRow]:
        """Turn the events into rows: hours accumulate, and no two versions have the same time."""
        row = self.first
        rows = [row]
        # Time is often entered late, so events are not in chronological order.
        for event in sorted(self.events, key=attrgetter("moment")):
            if event.moment >= NEVER:
                break
            moment = max(event.moment, row.updated_at + 1)
            hours = row.actual_hours + event.hours
            row = row._replace(
                company_name=company.at(moment).name,
                actual_hours=hours,
                budget_hours=_budget(row.budget_hours, hours),
                updated_at=moment,
            )._replace(**event.changes)
            rows.append(row)
        return rows

    def _note(self, by: str, **changes: Any) -> None:
        self.events.append(Event(self.moment, {**changes, "last_updated_by": by}))

    def _note_owned(self, **changes: Any) -> None:
        owner = self.owner
        self._note(owner.login, owner_id=owner.member_id, owner_name=owner.name, **changes)

    def _work(self, *, stuck: bool) -> None:
        count = SESSIONS.draw(self.dice) + (1 if self.matter.hours > 3 else 0)
        count += 2 if self.matter.stubborn else 0
        stall_after = self._stall_after(count) if stuck else -1
        self._dispatch()
        if stall_after == 0:
            self._stall(ASSIGNED)
        self._respond()
        for number in range(1, count + 1):
            self._session(self.matter.hours / count**0.6)
            if number == stall_after:
                self._stall(STALLS.draw(self.dice))
                self._resume()
            elif number < count:
                self._pause()
                self._resume()
                self._escalate()

    def _stall_after(self, count: int) -> int:
        """Choose the session after which the ticket stalls; a few stall before the first."""
        return 0 if self.dice.chance(0.1) else self.dice.whole(1, count)

    def _clear_by_itself(self) -> None:
        self.moment += int(self.dice.lognormal(40 * MINUTE, 0.7))
        self._note("monitoring", status=CLOSED, closed_date=self.moment, closed_by="monitoring")

    def _dispatch(self) -> None:
        """Assign the ticket, unless a technician takes it directly."""
        if self.dice.chance(0.3):
            return
        target = RESPONSE_TARGETS[self.first.priority]
        self._wait_for_response(target * self.dice.between(0.02, 0.18))
        owner = self.owner
        self._note("dispatch", status=ASSIGNED, owner_id=owner.member_id, owner_name=owner.name)

    def _respond(self) -> None:
        """Answer: about one in eight answers is late."""
        target = RESPONSE_TARGETS[self.first.priority]
        wait = self.dice.lognormal(0.30 * target, 0.85)
        self._wait_for_response(wait + self.dice.whole(1_000, 60_000))
        self._note_owned(status=IN_PROGRESS, first_response_date=self.moment)
        if self.matter.planned:
            self.moment += 5_000
            self._note("portal", approved=True)

    def _wait_for_response(self, wait: float) -> None:
        if self.first.priority == PRIORITIES[0]:
            self.moment = min(self.moment + int(wait), NEVER)
        else:
            self.moment = self.calendar.later(self.moment, wait)

    def _session(self, median: float) -> None:
        """Add a work session; its time is entered at once, at the end of the day, or later."""
        dice = self.dice
        worker = self.owner if dice.chance(0.9) else self.staff.draw(dice)
        hours = quarter_hours(min(8.0, dice.lognormal(median, 0.55)))
        if self.matter.planned and dice.chance(0.3) and self.moment < NEVER:
            self.moment = max(self.moment, self.calendar.evening(self.moment))
        start = -(-self.moment // MINUTE) * MINUTE + dice.whole(0, 12) * MINUTE
        end = start + int(hours * HOUR)
        entered = self._entered(end)
        after_hours = self.calendar.later(start) > start
        self.sessions.append(Session(start, end, entered, hours, worker, after_hours))
        self.events.append(Event(entered, {"last_updated_by": worker.login}, hours))
        self.moment = end + dice.whole(10_000, 6 * MINUTE)

    def _entered(self, end: int) -> int:
        entered = end + self.dice.whole(20_000, 9 * MINUTE)
        lag = self.dice.random()
        if lag > 0.9:
            some_day = self.calendar.later(end + int(self.dice.between(0.5, 2.5) * DAY))
            return some_day + self.dice.whole(0, HOUR)
        return entered + self.dice.whole(0, 3 * HOUR) if lag > 0.75 else entered

    def _pause(self) -> None:
        self._note(self.owner.login, status=PAUSES.draw(self.dice))
        self.moment = self.calendar.later(self.moment, self.dice.lognormal(9 * HOUR, 0.9))
        self.moment += self.dice.whole(0, MINUTE)

    def _resume(self) -> None:
        self._note_owned(status=IN_PROGRESS)
        self.moment += 1_500

    def _stall(self, status: str) -> None:
        """Stall the ticket, with a reminder or a new owner every month or two."""
        dice = self.dice
        self.moment += 4_000
        self._note_owned(status=status)
        wakes = self.moment + int(dice.exponential(STALL_DAYS) * DAY)
        passed = self.moment
        while True:
            passed += int(dice.lognormal(45, 0.5) * DAY)
            # A reminder moves to the next working day, and must not come after the stall ends.
            if passed + 6 * DAY >= wakes:
                break
            self._remind(passed)
        self.moment = self.calendar.later(wakes) + dice.whole(0, MINUTE)

    def _remind(self, passed: int) -> None:
        if self.dice.chance(0.3):
            self.owner = self.staff.other_than(self.owner, self.dice)
        self.moment = self.calendar.later(passed) + self.dice.whole(0, 3 * HOUR)
        due = self.calendar.later(self.moment, self.dice.whole(5, 20) * WORKDAY)
        self._note_owned(required_date=due if due < NEVER else None)

    def _escalate(self) -> None:
        if not self.dice.chance(0.06):
            return
        self.owner = self.staff.other_than(self.owner, self.dice)
        priority = priority_of(self.first.severity, self.first.impact, HIGH)
        self._note_owned(urgency=HIGH, priority=priority)
        self.moment += 2_000

    def _close(self) -> None:
        by = self.owner.login
        if self.dice.chance(0.3):
            self._note(by, status=CLOSED, closed_date=self.moment, closed_by=by)
            return
        self._note(by, status=RESOLVED, closed_date=self.moment, closed_by=by)
        self.moment = self.calendar.later(self.moment, self.dice.between(0.3, 3.0) * WORKDAY)
        self._note("workflow", status=CLOSED)

    def _reopen(self) -> None:
        self.moment = self.calendar.later(self.moment, self.dice.between(0.2, 6.0) * WORKDAY)
        self.moment += 3_000
        self._note("portal", status=REOPENED, closed_date=None, closed_by=None)
        self.moment = self.calendar.later(self.moment, self.dice.lognormal(2 * HOUR, 0.7)) + 3_000
        self._resume()
        self._session(self.matter.hours / 2)
        self._close()


def _budget(budget: Decimal | None, hours: Decimal) -> Decimal | None:
    """Raise a budget that is exceeded by half to the hours worked."""
    return hours if budget is not None and hours > budget * Decimal("1.5") else budget
