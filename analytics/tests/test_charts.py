"""The specifications hold the figures, drawn finely or coarsely, and compile."""

import json
from datetime import date, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
import vl_convert

from analytics import charts
from analytics.periods import Period

BERLIN = ZoneInfo("Europe/Berlin")


def trends(days):
    """A period from Thursday 1 January 2026 and a row for each of its days."""
    first = date(2026, 1, 1)
    rows = [
        {
            "date": first + timedelta(days=n),
            "ticket_count": n,
            "closed_count": 1,
            "avg_hours": None if n % 2 else Decimal("0.25"),
        }
        for n in range(days)
    ]
    return rows, Period(first, first + timedelta(days=days), BERLIN)


def figures(spec):
    return spec["datasets"][charts.FIGURES]


@pytest.mark.parametrize("days", [1, 31, 32, 366])
@pytest.mark.parametrize("draw", [charts.ticket_counts, charts.ticket_hours])
def test_every_length_of_period_can_be_drawn(draw, days):
    assert "<svg" in vl_convert.vegalite_to_svg(json.dumps({**draw(*trends(days)), "width": 600}))


def test_days_are_told_as_they_are():
    days = figures(charts.ticket_counts(*trends(2)))
    assert [day["date"] for day in days] == ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]
    assert [day["days"] for day in days] == ["Jan 1, 2026", "Jan 2, 2026"]
    assert [day["ticket_count"] for day in days] == [0, 1]


@pytest.mark.parametrize(("days", "unit"), [(31, "day"), (60, "week"), (366, "month")])
def test_counts_are_added_up_and_none_is_lost(days, unit):
    rows, period = trends(days)
    spec = charts.ticket_counts(rows, period)
    assert spec["description"].endswith(f"per {unit}")
    for name in ("ticket_count", "closed_count"):
        assert sum(row[name] for row in figures(spec)) == sum(row[name] for row in rows)


def test_a_week_names_the_days_it_holds():
    weeks = figures(charts.ticket_counts(*trends(32)))
    assert [week["days"] for week in weeks[:2]] == [
        "Jan 1, 2026 – Jan 4, 2026",
        "Jan 5, 2026 – Jan 11, 2026",
    ]


def test_growth_is_drawn_by_its_rows():
    rows = [{"date": date(2026, 1, 1), "total_companies": 3, "active_companies": 2}]
    period = Period(date(2026, 1, 1), date(2026, 1, 2), BERLIN)
    assert figures(charts.company_growth(rows, period))[0]["total_companies"] == 3
