"""Charts: rows of figures in, one Vega-Lite specification out.

The same specification is drawn by browsers, in mails and in documents. It is coloured for paper;
the pages' script puts the colours of the reader's light or dark theme in place of these.
"""

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

import altair as alt

from analytics.periods import Period

Rows = Sequence[dict[str, Any]]
Spec = dict[str, Any]
Drawing = Callable[[Rows, Period], Spec]

HEIGHT = 240
PADDING = {"left": 0, "right": 0, "top": 0, "bottom": 6}  # below, room for the tails of letters
FIGURES = "figures"
INK, MUTED, GRID = "#1c2430", "#5b6675", "#e3e7ec"
CATEGORY = ["#2459c9", "#0f8a78"]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
DAY_FORMAT = "%b %-d"
HOURS = ",.2~f"
MOVING_DAYS = 7


def company_growth(rows: Rows, period: Period) -> Spec:
    """Rows of date, total_companies, active_companies; one band per row, however long it is."""
    return _with(rows, _company_growth())


@cache
def _company_growth() -> Spec:
    series = ["Total", "Active"]
    active = _series("active_companies", series[1], series).mark_area(
        opacity=0.25, line={"strokeWidth": 2}, interpolate="monotone"
    )
    total = _series("total_companies", series[0], series).mark_line(
        strokeWidth=2, interpolate="monotone", point={"filled": True, "size": 28}
    )
    hover = _hover({"total_companies": "Total", "active_companies": "Active"})
    layers = alt.layer(active, total, hover).encode(x=_days())
    return _spec(layers, "Total and active companies over time")


def ticket_counts(rows: Rows, period: Period) -> Spec:
    """Rows of date, ticket_count, closed_count, one per day; added up by the period's buckets."""
    return _with(_added_up(rows, period), _ticket_counts(period.bucket_unit))


def _added_up(rows: Rows, period: Period) -> Rows:
    """Ticket counts per bucket: its first day as `date`, the days it holds as `days`."""
    added = []
    for bucket in period.buckets():
        held = [row for row in rows if bucket.start <= row["date"] < bucket.end]
        counts = {name: sum(row[name] for row in held) for name in ("ticket_count", "closed_count")}
        added.append({"date": bucket.start, "days": _days_of(bucket), **counts})
    return added


def _days_of(bucket: Period) -> str:
    first, last = (f"{day:%b} {day.day}, {day.year}" for day in (bucket.start, bucket.last_day))
    return first if bucket.days == 1 else f"{first} – {last}"


@cache
def _ticket_counts(unit: str) -> Spec:
    fields = {"ticket_count": "Opened", "closed_count": "Closed"}
    series = list(fields.values())
    side_by_side = alt.XOffset("series:N", scale=alt.Scale(domain=series))
    bars = [
        _series(field, name, series).mark_bar(cornerRadiusEnd=2).encode(xOffset=side_by_side)
        for field, name in fields.items()
    ]
    hover = _hover(fields, when=alt.Tooltip("days:N", title=unit.title()))
    layers = alt.layer(*bars, hover).encode(x=_days())
    return _spec(layers, f"Tickets opened and closed per {unit}")


def ticket_hours(rows: Rows, period: Period) -> Spec:
    """Rows of date, avg_hours (None on days without), one per day. Gaps are not bridged.

    Periods too long for a line from day to day show dots around their moving mean.
    """
    return _with(rows, _ticket_hours() if period.bucket_unit == "day" else _many_ticket_hours())


@cache
def _ticket_hours() -> Spec:
    series = ["Average hours"]
    line = _series("avg_hours", series[0], series, number=HOURS).mark_line(
        strokeWidth=2, point={"filled": True, "size": 30}, invalid="break-paths-show-domains"
    )
    layers = alt.layer(line, _hover({"avg_hours": series[0]}, ",.2f")).encode(x=_days())
    return _spec(layers, "Average hours of the tickets closed each day")


@cache
def _many_ticket_hours() -> Spec:
    series = [f"Tickets of {MOVING_DAYS} days", "One day"]
    line = _series("moving", series[0], series, number=HOURS)
    # Every ticket weighs the same, not every day: one closed on a Sunday must not weigh a Monday.
    known = "datum.avg_hours === null ? 0 : datum.closed_count"
    line = (
        line.transform_calculate(closed=known)
        .transform_calculate(hours="datum.closed * datum.avg_hours")
        .transform_window(
            all_hours="sum(hours)",
            all_closed="sum(closed)",
            day="row_number()",
            frame=[1 - MOVING_DAYS, 0],
        )
        .transform_calculate(moving="datum.all_closed ? datum.all_hours / datum.all_closed : null")
        .transform_filter(f"datum.day >= {MOVING_DAYS}")  # the first days have too few before them
    )
    dots = _series("avg_hours", series[1], series, number=HOURS)
    hover = _hover({"avg_hours": "Average hours"}, ",.2f")
    layers = alt.layer(
        dots.mark_circle(size=16, opacity=0.5), line.mark_line(strokeWidth=2), hover
    ).encode(x=_days())
    return _spec(layers, "Average hours of the tickets closed each day, and their moving mean")


def _series(field: str, name: str, names: list[str], *, number: str = "~s") -> alt.Chart:
    """One measure in the colour that stands for `name` among `names`."""
    key = alt.Legend(title=None, orient="top", symbolType="square", symbolOpacity=1)
    axis = alt.Axis(tickCount=5, tickMinStep=0 if number == HOURS else 1, format=number)
    return (
        alt.Chart()
        .transform_calculate(series=f"'{name}'")
        .encode(
            y=alt.Y(f"{field}:Q", title=None, axis=axis),
            color=alt.Color("series:N", scale=alt.Scale(domain=names), legend=key),
        )
    )


def _hover(
    fields: dict[str, str], number: str = ",d", when: alt.Tooltip | None = None
) -> alt.Chart:
    """A full-height band under the pointer that tells the figures of its day, or of `when`."""
    pointer = alt.selection_point(on="pointerover", clear="pointerout", empty=False)
    day = alt.Tooltip("date:O", timeUnit="utcyearmonthdate", format="%a, %b %-d, %Y", title="Day")
    figures = [
        alt.Tooltip(f"{field}:Q", title=title, format=number) for field, title in fields.items()
    ]
    band: alt.Chart = alt.Chart().mark_bar(color="#7f8ea3", cursor="default", aria=False)
    shown: alt.Chart = band.encode(
        y=alt.value(0),
        y2=alt.value(HEIGHT),
        opacity=alt.condition(pointer, alt.value(0.14), alt.value(0)),
        tooltip=[when or day, *figures],
    ).add_params(pointer)
    return shown


def _days() -> alt.X:
    """One band per row, with as many of the days written below as there is room for."""
    axis = alt.Axis(
        format=DAY_FORMAT, grid=False, labelAngle=0, labelOverlap="parity", labelSeparation=8
    )
    return alt.X("date:O", timeUnit="utcyearmonthdate", title=None, axis=axis)


def _with(rows: Rows, spec: Spec) -> Spec:
    """`spec`, which Altair takes a while to make and which never changes, with its figures."""
    return {**spec, "datasets": {FIGURES: [_plain(row) for row in rows]}}


def _spec(chart: alt.LayerChart, description: str) -> Spec:
    """The finished specification but for its figures, as wide as what holds it."""
    spec: Spec = (
        chart.properties(
            data=alt.NamedData(name=FIGURES),
            width="container",
            height=HEIGHT,
            description=description,
            autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
            background="transparent",
        )
        .configure(font=FONT, range={"category": CATEGORY}, padding=PADDING)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=MUTED,
            labelFontSize=11,
            gridColor=GRID,
            domain=False,
            ticks=False,
            labelPadding=8,
        )
        .configure_legend(labelColor=INK, labelFontSize=12)
        .to_dict()
    )
    return spec


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    """As JSON has it. A day is written as UTC's: charts must not shift it by a browser's zone."""
    if isinstance(value, date):
        return f"{value}T00:00:00Z"
    return float(value) if isinstance(value, Decimal) else value
