"""Time in the sample data: UTC milliseconds, the window, and working hours."""

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WORKDAY = 10 * HOUR
OPENS = 8  # local hour

# Later than any date in use. Whatever falls on it is cut off at the window's end.
NEVER = 32_503_680_000_000

MONTHS_OF_HISTORY = 24
DAILY_FILES = 14


def midnight(day: date) -> int:
    """Give the start of a UTC day in milliseconds."""
    return int(datetime.combine(day, time(), UTC).timestamp()) * 1000


def months_before(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def days_between(first: date, end: date) -> Iterator[date]:
    """Give every day from first up to, not including, end."""
    for ordinal in range(first.toordinal(), end.toordinal()):
        yield date.fromordinal(ordinal)


@dataclass(frozen=True, slots=True)
class Span:
    """The period up to ``end`` whose versions go into one file, and that file's name."""

    name: str
    ordinal: int
    end: int
    separator: str = "-"  # before the number of a part


@dataclass(frozen=True)
class Window:
    """History from ``since`` up to, not including, ``until``, both at 00:00 UTC."""

    since: date
    until: date

    @cached_property
    def start(self) -> int:
        return midnight(self.since)

    @cached_property
    def end(self) -> int:
        return midnight(self.until)

    def spans(self) -> list[Span]:
        """Give one span per month, and per day for the last fortnight, oldest first."""
        daily_from = max(self.since, self.until - timedelta(days=DAILY_FILES))
        spans = []
        month = self.since.replace(day=1)
        while month < daily_from:
            following = (month + timedelta(days=32)).replace(day=1)
            ordinal = month.year * 12 + month.month
            end = min(following, daily_from)
            spans.append(Span(f"changes/{month:%Y-%m}", ordinal, midnight(end)))
            month = following
        for day in days_between(daily_from, self.until):
            end_of_day = midnight(day) + DAY
            spans.append(Span(f"changes/{day}", day.toordinal(), end_of_day))
        return spans


class WorkCalendar:
    """Working time in one zone, Monday to Friday 08:00 to 18:00, as one continuous axis.

    Covers the days from ``first`` up to ``end``; later times become NEVER.
    """

    def __init__(self, zone: ZoneInfo, first: date, end: date) -> None:
        self.zone = zone
        self.openings = [
            self.local_midnight(day) + OPENS * HOUR
            for day in days_between(first, end)
            if is_workday(day)
        ]

    def local_midnight(self, day: date) -> int:
        """Give the start of a local day, with the offset that holds at its noon.

        The offset at noon avoids a special case on the Sundays when clocks change: only the early
        hours of those days are off by an hour.
        """
        noon = datetime.combine(day, time(12), self.zone)
        return int(noon.timestamp()) * 1000 - 12 * HOUR

    def local_day(self, moment: int) -> date:
        return datetime.fromtimestamp(moment / 1000, self.zone).date()

    def bounds(self, day: date) -> tuple[int, int]:
        """Give the start of a local day and of the next."""
        start = self.local_midnight(day)
        return start, start + DAY

    def evening(self, moment: int) -> int:
        """Give 20:00 of the last working day that had begun by this moment."""
        return self.openings[bisect_right(self.openings, moment) - 1] + WORKDAY + 2 * HOUR

    def position(self, moment: int) -> int:
        """Count the working time passed before this moment."""
        index = bisect_right(self.openings, moment) - 1
        return index * WORKDAY + min(moment - self.openings[index], WORKDAY)

    def later(self, moment: int, worked: float = 0) -> int:
        """Move on by so much working time; outside working hours, first to the next opening."""
        if moment >= NEVER:
            return NEVER
        index, rest = divmod(self.position(moment) + int(worked), WORKDAY)
        return self.openings[index] + rest if index < len(self.openings) else NEVER


def is_workday(day: date) -> bool:
    return day.weekday() < 5 and (day.month, day.day) not in {(1, 1), (12, 25), (12, 26)}
