"""Periods: whole days in a tenant's time zone, and their query strings.

A day begins at the tenant's local midnight, so it has 23 or 25 hours when the clocks change.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
MAX_DAYS = 1096
EARLIEST, LATEST = date(1971, 1, 1), date(2148, 12, 31)  # what the warehouse's Date can hold
DEFAULT_DAYS = 30
UNITS = ("day", "week", "month")
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Comparison(StrEnum):
    """What a period is compared with."""

    BEFORE = "before"
    YEAR = "year"

    @property
    def label(self) -> str:
        return {"before": "The period before", "year": "The same days a year before"}[self.value]


class PeriodError(ValueError):
    """An invalid period. `field` is the invalid parameter, `message` the reason."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True)
class Period:
    """The days from `start` up to, not including, `end`, in `zone`.

    Figures are compared with those of the `previous` period: that of the same length just before,
    or the same days a year before. `unit` is that of its buckets, one of UNITS; "" chooses one
    that suits the length.
    """

    start: date
    end: date
    zone: ZoneInfo
    compared_with: Comparison = Comparison.BEFORE
    unit: str = ""

    @property
    def last_day(self) -> date:
        return self.end - DAY

    @property
    def days(self) -> int:
        return (self.end - self.start).days

    @property
    def starts_at(self) -> datetime:
        """The first instant of the period, in UTC."""
        return midnight(self.start, self.zone)

    @property
    def ends_at(self) -> datetime:
        """The first instant after the period, in UTC."""
        return midnight(self.end, self.zone)

    def up_to(self, instant: datetime) -> "Period":
        """The part that had started by `instant`; the whole period if none of it had."""
        end = instant.astimezone(self.zone).date() + DAY
        return replace(self, end=end) if self.start < end < self.end else self

    @property
    def previous(self) -> "Period":
        """What figures of this period are compared with."""
        if self.compared_with is Comparison.YEAR:
            last = _a_year_before(self.last_day)
            return Period(_a_year_before(self.start), last + DAY, self.zone)
        return Period(self.start - (self.end - self.start), self.start, self.zone)

    @property
    def bucket_unit(self) -> str:
        """The resolution of a chart of this period: day, week or month."""
        if self.unit:
            return self.unit
        return "day" if self.days <= 31 else "week" if self.days <= 184 else "month"

    def buckets(self) -> Iterator["Period"]:
        """The period, split into days, or at Mondays, or at the first of each month."""
        start = self.start
        while start < self.end:
            end = min(_next_cut(start, self.bucket_unit), self.end)
            yield Period(start, end, self.zone)
            start = end


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The instant, in UTC, at which `day` begins in `zone`.

    Where the clocks skip midnight, it is the moment of the change; where midnight comes twice,
    the first.
    """
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def _next_cut(day: date, unit: str) -> date:
    if unit == "day":
        return day + DAY
    if unit == "week":
        return day + timedelta(days=7 - day.weekday())
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def today_in(zone: ZoneInfo, now: datetime) -> date:
    return now.astimezone(zone).date()


def known_as_of(zone: ZoneInfo, as_of: datetime | None) -> datetime:
    """`as_of`, or an instant after now that is the same all day, so that results can be cached."""
    return as_of or midnight(today_in(zone, datetime.now(UTC)) + DAY, zone)


# --- Presets

PRESETS = {
    "yesterday": "Yesterday",
    "last-week": "Last week",
    "last-7-days": "7 days",
    "last-30-days": "30 days",
    "last-90-days": "90 days",
    "this-month": "This month",
    "last-month": "Last month",
    "last-12-months": "12 months",
}
# The presets that pages offer; the others are for reports.
PAGE_PRESETS = {name: PRESETS[name] for name in list(PRESETS)[2:]}
DEFAULT_PRESET = "last-30-days"


def preset(name: str, zone: ZoneInfo, now: datetime, *, field: str = "period") -> Period:
    """The period called `name`, a key of PRESETS. Those named "last n" end with today; months are
    whole, except for the one that is not over.

    A week begins on Monday (ISO 8601).
    """
    if name not in PRESETS:
        raise PeriodError(field, f"Use one of {', '.join(PRESETS)}.")
    today = today_in(zone, now)
    first_of_month = today.replace(day=1)
    if name == "last-month":
        return Period((first_of_month - DAY).replace(day=1), first_of_month, zone)
    if name == "yesterday":
        return Period(today - DAY, today, zone)
    if name == "last-week":
        monday = today - timedelta(days=today.weekday())
        return Period(monday - timedelta(days=7), monday, zone)
    start = {
        "this-month": first_of_month,
        "last-12-months": _first_of_month(today.year * 12 + today.month - 11),
    }.get(name)
    if start is None:
        start = today - timedelta(days=int(name.split("-")[1]) - 1)
    return Period(start, today + DAY, zone)


def last_days(count: int, zone: ZoneInfo, now: datetime) -> Period:
    """The `count` days that end with today."""
    today = today_in(zone, now)
    return Period(today - timedelta(days=count - 1), today + DAY, zone)


def _first_of_month(number: int) -> date:
    """The first day of a month, counted from the year 0: 12 x year + month."""
    return date((number - 1) // 12, (number - 1) % 12 + 1, 1)


def _a_year_before(day: date) -> date:
    try:
        return day.replace(year=day.year - 1)
    except ValueError:  # 29 February
        return day.replace(year=day.year - 1, day=28)


# --- Query strings


def parse_day(text: str, field: str) -> date:
    """An ISO date, such as 2026-03-31."""
    try:
        # fromisoformat also takes week dates and dates without hyphens.
        day = date.fromisoformat(text if _ISO_DATE.fullmatch(text) else "")
    except ValueError:
        raise PeriodError(field, "Use a date such as 2026-03-31.") from None
    if not EARLIEST <= day <= LATEST:
        raise PeriodError(field, f"Use a date from {EARLIEST} to {LATEST}.")
    return day


def between(
    start: str,
    end: str,
    zone: ZoneInfo,
    now: datetime,
    fields: tuple[str, str] = ("start", "end"),
) -> Period:
    """The days from `start` to `end`, both included, as ISO dates; `fields` are named in errors.

    `end` defaults to today, `start` to 30 days that end with `end`.
    """
    last = parse_day(end, fields[1]) if end else today_in(zone, now)
    first = parse_day(start, fields[0]) if start else last - timedelta(days=DEFAULT_DAYS - 1)
    if first > last:
        raise PeriodError(fields[0], f"Use a date on or before {fields[1]} ({last}).")
    if (last - first).days >= MAX_DAYS:
        raise PeriodError(fields[0], f"Use a period of at most {MAX_DAYS:,} days.")
    return Period(first, last + DAY, zone)


def from_query(query: Mapping[str, str], zone: ZoneInfo, now: datetime) -> tuple[Period, str]:
    """The period in a page's query string and the name of its preset ("" for custom dates)."""
    start, end = query.get("start", ""), query.get("end", "")
    name = "" if start or end else query.get("period") or DEFAULT_PRESET
    period = preset(name, zone, now) if name else between(start, end, zone, now)
    return replace(period, compared_with=_comparison(query.get("compare", ""), period)), name


def _comparison(text: str, period: Period) -> Comparison:
    if text not in ("", *Comparison):
        raise PeriodError("compare", f"Use {' or '.join(Comparison)}.")
    comparison = Comparison(text) if text else Comparison.BEFORE
    if comparison is Comparison.YEAR and period.start <= _a_year_before(period.last_day):
        raise PeriodError("compare", "Use a period of at most a year, or compare=before.")
    return comparison


def parse_instant(text: str, field: str, zone: ZoneInfo) -> datetime:
    """An ISO instant with an offset, or the last millisecond of a day such as 2026-03-31."""
    if "T" not in text:
        return midnight(parse_day(text, field) + DAY, zone) - timedelta(milliseconds=1)
    try:
        instant = datetime.fromisoformat(text)
        parse_day(f"{instant.date()}", field)
        if instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise PeriodError(field, "Use a date, or a time such as 2026-03-31T07:00:00Z.")


def as_of_from_query(query: Mapping[str, str], zone: ZoneInfo, now: datetime) -> datetime | None:
    """The last millisecond of the day `as_of`; None if it is empty, today or later."""
    text = query.get("as_of", "")
    if not text:
        return None
    at = midnight(parse_day(text, "as_of") + DAY, zone) - timedelta(milliseconds=1)
    return at if at < now else None
