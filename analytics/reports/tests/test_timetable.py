"""Due times, compared with dateutil for a year, in zones with different clock changes."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from dateutil import rrule, tz
from hypothesis import given
from hypothesis import strategies as st

from analytics.reports.timetable import DAILY, LAST_DAY, MONTHLY, WEEKDAYS, WEEKLY, Timetable

ZONES = [
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",  # by half an hour
    "America/Asuncion",  # at midnight
    "Asia/Kathmandu",  # never, and 5:45 ahead
]
YEAR = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
RULES = {
    DAILY: {"freq": rrule.DAILY},
    WEEKDAYS: {"freq": rrule.WEEKLY, "byweekday": range(5)},
    WEEKLY: {"freq": rrule.WEEKLY, "byweekday": 6},
    MONTHLY: {"freq": rrule.MONTHLY, "bymonthday": -1},
}


def by_dateutil(frequency, at, zone_name):
    zone = tz.gettz(zone_name)
    local = rrule.rrule(
        dtstart=datetime(2025, 12, 1, at.hour, at.minute),
        until=datetime(2027, 1, 31),
        **RULES[frequency],
    )
    instants = (tz.resolve_imaginary(each.replace(tzinfo=zone)).astimezone(UTC) for each in local)
    return [each for each in instants if YEAR[0] < each <= YEAR[1]]


@pytest.mark.parametrize("at", [time(0), time(2, 30), time(1, 45), time(7), time(23, 59)])
@pytest.mark.parametrize("frequency", RULES)
@pytest.mark.parametrize("zone", ZONES)
def test_a_year_matches_dateutil(zone, frequency, at):
    table = Timetable(frequency, at, ZoneInfo(zone), weekday=6, day=LAST_DAY)
    assert list(table.between(*YEAR)) == by_dateutil(frequency, at, zone)


def test_a_time_that_does_not_exist_is_due_once_an_hour_later_by_the_clock():
    table = Timetable(DAILY, time(2, 30), ZoneInfo("America/New_York"))
    spring = datetime(2026, 3, 8, 5, tzinfo=UTC)  # midnight before the change
    [due] = table.between(spring, spring + timedelta(hours=23))
    assert due.astimezone(table.zone).isoformat() == "2026-03-08T03:30:00-04:00"


def test_a_time_that_comes_twice_is_due_the_first_time_only():
    table = Timetable(DAILY, time(1, 30), ZoneInfo("America/New_York"))
    autumn = datetime(2026, 11, 1, 4, tzinfo=UTC)
    [due] = table.between(autumn, autumn + timedelta(hours=25))
    assert due.astimezone(table.zone).isoformat() == "2026-11-01T01:30:00-04:00"


def test_every_day_of_a_year_has_exactly_one_due_time():
    for zone in map(ZoneInfo, ZONES):
        for hour in range(24):
            dues = list(Timetable(DAILY, time(hour, 30), zone).between(*YEAR))
            assert len(dues) == len(set(dues)) == 365


def test_the_tenants_day_decides_not_that_of_utc():
    table = Timetable(WEEKLY, time(7), ZoneInfo("Australia/Sydney"), weekday=0)
    [due] = table.next(datetime(2026, 6, 14, 20, 30, tzinfo=UTC), 1)
    assert due == datetime(2026, 6, 14, 21, tzinfo=UTC)
    assert due.astimezone(table.zone).date() == date(2026, 6, 15)  # a Monday


def test_days_of_the_month():
    first = Timetable(MONTHLY, time(7), ZoneInfo("UTC"), day=28)
    last = Timetable(MONTHLY, time(7), ZoneInfo("UTC"), day=LAST_DAY)
    start = datetime(2028, 1, 30, tzinfo=UTC)
    assert [each.day for each in first.next(start, 3)] == [28, 28, 28]
    assert [each.day for each in last.next(start, 4)] == [31, 29, 31, 30]


@given(
    st.sampled_from(ZONES),
    st.sampled_from(list(RULES)),
    st.times().map(lambda at: at.replace(second=0, microsecond=0)),
    st.lists(st.datetimes(YEAR[0].replace(tzinfo=None), YEAR[1].replace(tzinfo=None)), max_size=4),
)
def test_looking_more_often_finds_the_same(zone, frequency, at, looks):
    """Each due time is found once, whenever the planner runs."""
    table = Timetable(frequency, at, ZoneInfo(zone), weekday=2, day=15)
    marks = [YEAR[0], *sorted(each.replace(tzinfo=UTC) for each in looks), YEAR[1]]
    found = [due for a, b in pairwise(marks) for due in table.between(a, b)]
    assert found == list(table.between(*YEAR))
