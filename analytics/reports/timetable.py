"""When a schedule is due: local times in a tenant's zone, as instants.

A local time that the clocks skip is due when it would have been without the change (02:30 becomes
03:30); a time that comes twice is due the first time. So each day has at most one due time, as in
RFC 5545 (https://www.rfc-editor.org/rfc/rfc5545#section-3.3.5).
"""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

DAILY, WEEKDAYS, WEEKLY, MONTHLY = "daily", "weekdays", "weekly", "monthly"
LAST_DAY = 0  # of a month
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Timetable:
    """`weekday` counts from Monday = 0 and matters weekly; `day` of the month matters monthly:
    1 to 28, or LAST_DAY."""

    frequency: str
    at: time
    zone: ZoneInfo
    weekday: int = 0
    day: int = 1

    def after(self, instant: datetime) -> Iterator[datetime]:
        """Every due instant later than `instant`, in order, without end; in UTC."""
        day = instant.astimezone(self.zone).date() - _DAY
        last = instant
        while True:
            if self._is_due_on(day):
                due = self._instant(day)
                if due > last:
                    yield due
                    last = due
            day += _DAY

    def next(self, instant: datetime, count: int) -> list[datetime]:
        return list(islice(self.after(instant), count))

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Those later than `start` and not later than `end`."""
        for due in self.after(start):
            if due > end:
                return
            yield due

    def _is_due_on(self, day: date) -> bool:
        if self.frequency == WEEKDAYS:
            return day.weekday() < 5
        if self.frequency == WEEKLY:
            return day.weekday() == self.weekday
        if self.frequency == MONTHLY:
            return day.day == (self.day or monthrange(day.year, day.month)[1])
        return True

    def _instant(self, day: date) -> datetime:
        # fold=0 reads a skipped time with the offset before the change, which moves it forward by
        # the length of the gap, and picks the first of two equal times.
        return datetime.combine(day, self.at, self.zone).astimezone(UTC)
