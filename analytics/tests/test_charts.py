"""The specifications hold the figures and can be drawn without a browser."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from analytics.charts import render, spec
from analytics.metrics import DIMENSIONS, METRICS, MetricResult, Part
from analytics.periods import Period

BERLIN = ZoneInfo("Europe/Berlin")
FIRST = date(2026, 1, 1)  # a Thursday


def part(label, figure, previous):
    return Part((label,), (label,), figure, previous)


def result(name="tickets_opened", days=2, figures=None, parts=()):
    period = Period(FIRST, FIRST + timedelta(days=days), BERLIN)
    buckets = list(period.buckets())
    return MetricResult(
        metric=METRICS[name],
        by=(DIMENSIONS["company"],) if parts else (),
        period=period,
        as_of=datetime(2026, 6, 1, tzinfo=UTC),
        requested_filters=(),
        filters=(),
        figure=1,
        previous=1,
        series=tuple(zip(buckets, figures or range(len(buckets)), strict=True)),
        parts=tuple(parts),
        is_cut=False,
        freshness=(),
        milliseconds=0.0,
    )


def figures(drawn):
    return drawn["datasets"][spec.FIGURES]


@pytest.mark.parametrize("days", [1, 31, 32, 366])
@pytest.mark.parametrize("name", ["tickets_opened", "backlog", "resolution_median"])
def test_every_length_of_period_can_be_drawn(name, days):
    svg = render.svg(spec.over_time([result(name, days)]), "A title")
    assert "A title" in svg
    assert "NaN" not in svg


def test_days_are_labeled_with_their_dates():
    days = figures(spec.over_time([result(), result("tickets_closed")]))
    assert [day["date"] for day in days] == ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]
    assert [day["days"] for day in days] == ["Jan 1, 2026", "Jan 2, 2026"]
    assert [(day["figure0"], day["figure1"]) for day in days] == [(0, 0), (1, 1)]


def test_a_week_names_the_days_it_holds():
    weeks = figures(spec.over_time([result(days=32)]))
    assert [week["days"] for week in weeks[:2]] == [
        "Jan 1, 2026 – Jan 4, 2026 (not complete)",
        "Jan 5, 2026 – Jan 11, 2026",
    ]


def test_gaps_stay_gaps():
    drawn = spec.over_time([result("sla_met", figures=[None, Decimal("50.0")])])
    assert [row["figure0"] for row in figures(drawn)] == [None, 50.0]
    assert [row["text0"] for row in figures(drawn)] == ["nothing to measure", "50.0 %"]


def test_buckets_that_are_not_complete_are_marked():
    weeks = figures(spec.over_time([result(days=40)]))  # from a Thursday to a Monday
    assert [week["partial"] for week in weeks] == [True, False, False, False, False, False, True]
    assert weeks[0]["days"] == "Jan 1, 2026 – Jan 4, 2026 (not complete)"
    months = figures(spec.over_time([result(days=200)]))
    assert [month["partial"] for month in months] == [False] * 5 + [True, True]  # as of 1 June
    days = figures(spec.over_time([replace(result(), as_of=datetime(2026, 1, 2, 12, tzinfo=UTC))]))
    assert [day["partial"] for day in days] == [False, True]


def test_an_axis_leaves_out_zero_only_if_that_would_flatten_the_line_and_states_so():
    near = spec.over_time([result("backlog", figures=[501, 505])])
    assert near["title"]["text"] == "The axis does not start at zero"
    assert "The axis does not start at zero" in render.svg(near, "Open tickets")
    assert "title" not in spec.over_time([result("backlog", figures=[5, 505])])
    assert "title" not in spec.over_time([result("backlog", figures=[3, 3])])
    assert "title" not in spec.over_time([result("tickets_opened", figures=[501, 505])])


def test_axes_have_units_and_whole_numbers_for_tickets():
    axis = lambda name: spec.over_time([result(name)])["layer"][0]["encoding"]["y"]["axis"]  # noqa: E731
    assert axis("sla_met")["labelExpr"].endswith("+ ' %'")
    assert axis("tickets_opened")["tickMinStep"] == 1
    assert "tickMinStep" not in axis("hours_worked")


def test_breakdowns_are_drawn_by_size_and_empty_labels_get_a_name():
    parts = [part("<b> \"x\" 'y'", Decimal("2.50"), 0), part("", 1, None)]
    drawn = spec.by_part(result("hours_by_company", parts=parts))
    assert figures(drawn)[1] == {"label": spec.NOT_GIVEN, "figure": 1, "text": "1.0 h"}
    assert render.png(drawn, "Hours").startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["a\x01b", "a\0b", "a\x1fb", "a\ufffeb", "a\uffffb", "a\ud800b"])
def test_no_label_and_no_title_stops_a_chart_from_being_drawn(name):
    """Each of these characters once ended the process."""
    drawn = spec.by_part(result("hours_by_company", parts=[part(name, 1, 0)]))
    assert "a\ufffdb" in render.svg(drawn, f"Title {name}")
    assert render.png(drawn, f"Title {name}").startswith(b"\x89PNG")
