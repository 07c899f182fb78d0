"""Periods: local days, clock changes and query strings."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.periods import (
    EARLIEST,
    LATEST,
    PRESETS,
    Period,
    PeriodError,
    as_of_from_query,
    between,
    from_query,
    last_days,
    midnight,
    preset,
)

NEW_YORK = ZoneInfo("America/New_York")
SYDNEY = ZoneInfo("Australia/Sydney")
ZONES = [NEW_YORK, SYDNEY, *map(ZoneInfo, ("UTC", "America/Havana", "Africa/Cairo", "Asia/Tokyo"))]
NOON = datetime(2026, 3, 15, 12, tzinfo=UTC)


def span(period):
    return period.start.isoformat(), period.last_day.isoformat()


# --- Days


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 8), 23), (date(2026, 11, 1), 25), (date(2026, 6, 1), 24)]
)
def test_a_day_has_the_hours_that_its_clocks_show(day, hours):
    period = Period(day, day + timedelta(days=1), NEW_YORK)
    assert period.ends_at - period.starts_at == timedelta(hours=hours)


def test_a_day_without_a_midnight_begins_when_the_clocks_change():
    assert midnight(date(2026, 3, 8), ZoneInfo("America/Havana")) == datetime(
        2026, 3, 8, 5, tzinfo=UTC
    )


def test_a_day_with_two_midnights_begins_at_the_first():
    assert midnight(date(2026, 11, 1), ZoneInfo("America/Havana")) == datetime(
        2026, 11, 1, 4, tzinfo=UTC
    )


@given(
    st.sampled_from(ZONES),
    st.dates(EARLIEST, date(2100, 1, 1)),
    st.integers(min_value=1, max_value=1096),
)
def test_buckets_cover_the_period_without_gap_or_overlap(zone, start, days):
    period = Period(start, start + timedelta(days=days), zone)
    buckets = list(period.buckets())
    assert (buckets[0].starts_at, buckets[-1].ends_at) == (period.starts_at, period.ends_at)
    for left, right in pairwise(buckets):
        assert left.end == right.start
        assert left.starts_at < left.ends_at == right.starts_at
    assert len(buckets) <= 40


@pytest.mark.parametrize(
    ("days", "unit"), [(1, "day"), (31, "day"), (32, "week"), (184, "week"), (185, "month")]
)
def test_longer_periods_are_drawn_more_coarsely(days, unit):
    assert last_days(days, NEW_YORK, NOON).bucket_unit == unit


def test_weeks_are_cut_on_mondays_and_months_on_firsts():
    weeks = Period(date(2026, 1, 1), date(2026, 2, 10), NEW_YORK).buckets()
    assert all(week.start.weekday() == 0 for week in list(weeks)[1:])
    months = Period(date(2025, 12, 15), date(2026, 12, 15), NEW_YORK).buckets()
    assert [month.start.day for month in months][1:] == [1] * 12


def test_a_period_is_cut_after_the_day_of_an_instant():
    period = Period(date(2026, 3, 1), date(2026, 4, 1), SYDNEY)
    assert span(period.up_to(datetime(2026, 3, 14, 13, tzinfo=UTC))) == ("2026-03-01", "2026-03-15")
    assert period.up_to(datetime(2026, 5, 1, tzinfo=UTC)) == period
    assert period.up_to(datetime(2026, 1, 1, tzinfo=UTC)) == period


# --- Presets


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("last-7-days", "2026-03-09", "2026-03-15"),
        ("last-30-days", "2026-02-14", "2026-03-15"),
        ("last-90-days", "2025-12-16", "2026-03-15"),
        ("this-month", "2026-03-01", "2026-03-15"),
        ("last-month", "2026-02-01", "2026-02-28"),
        ("last-12-months", "2025-04-01", "2026-03-15"),
    ],
)
def test_presets(name, first, last):
    assert span(preset(name, NEW_YORK, NOON)) == (first, last)


def test_today_is_the_tenants():
    late = datetime(2026, 3, 31, 14, tzinfo=UTC)  # 1 April in Sydney
    assert span(preset("this-month", SYDNEY, late)) == ("2026-04-01", "2026-04-01")
    assert span(preset("this-month", NEW_YORK, late)) == ("2026-03-01", "2026-03-31")


@pytest.mark.parametrize(
    ("today", "first"),
    [("2028-02-29", "2027-03-01"), ("2028-12-31", "2028-01-01"), ("2029-01-01", "2028-02-01")],
)
def test_twelve_months_are_whole(today, first):
    now = datetime.fromisoformat(f"{today}T12:00:00+00:00")
    assert span(preset("last-12-months", NEW_YORK, now)) == (first, today)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("now", [datetime(2026, 1, 1, tzinfo=UTC), NOON])
def test_no_preset_is_empty(name, now):
    assert preset(name, NEW_YORK, now).days > 0


# --- Query strings


def test_dates_include_the_last_day():
    assert span(between("2026-01-05", "2026-01-05", NEW_YORK, NOON)) == ("2026-01-05", "2026-01-05")


def test_missing_dates_are_today_and_thirty_days():
    assert span(between("", "", NEW_YORK, NOON)) == ("2026-02-14", "2026-03-15")
    assert span(between("2026-03-01", "", NEW_YORK, NOON)) == ("2026-03-01", "2026-03-15")
    assert span(between("", "2026-01-31", NEW_YORK, NOON)) == ("2026-01-02", "2026-01-31")


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        ("2026-02-30", "", "from"),
        ("20260201", "", "from"),
        ("2026-W05-1", "", "from"),
        ("2026-01-01T00:00:00", "", "from"),
        ("٢٠٢٦-٠١-٠١", "", "from"),
        ("\0", "", "from"),
        ("0001-01-01", "2026-01-01", "from"),
        ("2026-01-01", "9999-12-31", "to"),
        ("2026-01-02", "2026-01-01", "from"),
        ("2026-04-01", "", "from"),  # after today
        ("2020-01-01", "2026-01-01", "from"),
    ],
)
def test_wrong_dates_name_the_field_and_the_reason(start, end, field):
    with pytest.raises(PeriodError) as raised:
        between(start, end, NEW_YORK, NOON, ("from", "to"))
    assert raised.value.field == field
    assert raised.value.message


@given(st.text(max_size=12), st.text(max_size=12))
def test_no_text_breaks_the_parser(start, end):
    try:
        period = between(start, end, NEW_YORK, NOON)
    except PeriodError:
        return
    assert EARLIEST <= period.start < period.end <= LATEST + timedelta(days=1)


def test_dates_override_presets_and_the_default_is_used_without_either():
    both = {"start": "2026-01-01", "end": "2026-01-02", "period": "last-month"}
    assert from_query(both, NEW_YORK, NOON)[1] == ""
    assert from_query({"period": "last-month"}, NEW_YORK, NOON)[1] == "last-month"
    assert from_query({}, NEW_YORK, NOON)[1] == "last-30-days"
    with pytest.raises(PeriodError) as raised:
        from_query({"period": "forever"}, NEW_YORK, NOON)
    assert raised.value.field == "period"


def test_an_as_of_date_is_the_end_of_its_local_day():
    assert as_of_from_query({"as_of": "2026-03-08"}, NEW_YORK, NOON) == datetime(
        2026, 3, 9, 3, 59, 59, 999000, tzinfo=UTC
    )


@pytest.mark.parametrize("text", ["", "2026-03-15", "2027-01-01"])
def test_today_and_later_are_no_as_of_date(text):
    assert as_of_from_query({"as_of": text}, NEW_YORK, NOON) is None


@pytest.mark.parametrize(
    ("start", "last", "before"),
    [
        ("2024-02-01", "2024-02-28", ("2023-02-01", "2023-02-28")),
        ("2024-02-28", "2024-02-28", ("2023-02-28", "2023-02-28")),
        ("2024-02-29", "2024-02-29", ("2023-02-28", "2023-02-28")),
        ("2024-02-01", "2024-02-29", ("2023-02-01", "2023-02-28")),
        ("2025-02-28", "2025-03-01", ("2024-02-28", "2024-03-01")),
    ],
)
def test_the_same_days_a_year_before(start, last, before):
    query = {"start": start, "end": last, "compare": "year"}
    period, _ = from_query(query, NEW_YORK, NOON)
    assert span(period.previous) == before


@pytest.mark.parametrize(("start", "is_allowed"), [("2025-01-02", True), ("2025-01-01", False)])
def test_a_comparison_with_a_year_before_needs_a_period_of_at_most_a_year(start, is_allowed):
    query = {"start": start, "end": "2026-01-01", "compare": "year"}
    if is_allowed:
        from_query(query, NEW_YORK, NOON)
    else:
        with pytest.raises(PeriodError, match="compare"):
            from_query(query, NEW_YORK, NOON)
