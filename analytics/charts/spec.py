"""Charts: turns a metric's result into a Vega-Lite specification.

Browsers, emails and PDFs draw the same specification. Its colors are for paper; on pages, a
script replaces them with those of the light or dark theme.
"""

from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from typing import Any

import altair as alt

from analytics.metrics import Figure, MetricResult, Part
from analytics.periods import Period

Spec = dict[str, Any]

HEIGHT = 240
PART_HEIGHT = 26
MAX_PARTS = 15
PADDING = {"left": 0, "right": 0, "top": 0, "bottom": 6}  # room for descenders below
FIGURES = "figures"
INK, MUTED, GRID = "#1c2430", "#5b6675", "#e3e7ec"
CATEGORY = ["#2459c9", "#0f8a78"]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
DAY_FORMAT = "%b %-d"
NUMBER = ",.2~f"
NOT_GIVEN = "not given"


def over_time(results: Sequence[MetricResult]) -> Spec:
    """One or two metrics over time: bars for sums and counts, lines for everything else."""
    first = results[0]
    titles = tuple(each.metric.title for each in results)
    are_bars = first.metric.aggregate.is_additive and not first.metric.is_state
    rows = [
        {"date": f"{bucket.start}T00:00:00Z", "days": days_of(bucket)}
        | {f"figure{number}": _plain(each.series[row][1]) for number, each in enumerate(results)}
        for row, (bucket, _) in enumerate(first.series)
    ]
    return _with(rows, _over_time(titles, first.period.bucket_unit, are_bars))


@cache
def _over_time(titles: tuple[str, ...], unit: str, are_bars: bool) -> Spec:
    fields = {f"figure{number}": title for number, title in enumerate(titles)}
    layers = [_bars(*each, titles) if are_bars else _line(*each, titles) for each in fields.items()]
    hover = _hover(fields, unit)
    chart = alt.layer(*layers, hover).encode(x=_days())
    return _spec(chart.properties(height=HEIGHT), f"{' and '.join(titles)}, per {unit}")


def _bars(field: str, title: str, titles: Sequence[str]) -> alt.Chart:
    side_by_side = alt.XOffset("series:N", scale=alt.Scale(domain=list(titles)))
    bars: alt.Chart = _series(field, title, titles).mark_bar(cornerRadiusEnd=2)
    shown: alt.Chart = bars.encode(xOffset=side_by_side)
    return shown


def _line(field: str, title: str, titles: Sequence[str]) -> alt.Chart:
    line: alt.Chart = _series(field, title, titles).mark_line(
        strokeWidth=2, point={"filled": True, "size": 24}, invalid="break-paths-show-domains"
    )
    return line


def by_part(result: MetricResult) -> Spec:
    """A breakdown as bars: the largest labels, or all labels if the metric orders them."""
    is_ordered = any(dimension.is_ordered for dimension in result.by)
    shown = result.parts if is_ordered else result.parts[:MAX_PARTS]
    rows = [{"label": label_of(part), "figure": _plain(part.figure)} for part in shown]
    bars = (
        alt.Chart()
        .mark_bar(cornerRadiusEnd=2, color=CATEGORY[0])
        .encode(
            x=alt.X("figure:Q", title=None, axis=_amounts()),
            y=alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelLimit=220)),
            tooltip=[
                alt.Tooltip("label:N", title=result.breakdown),
                alt.Tooltip("figure:Q", title=result.metric.title, format=NUMBER),
            ],
        )
        .properties(height=PART_HEIGHT * max(1, len(rows)))
    )
    return _with(rows, _spec(bars, result.metric.title))


def heat_map(result: MetricResult) -> Spec:
    """A breakdown by two dimensions: a cell for each pair of values, the darker the larger."""
    labels = [_labels(result, place) for place in (0, 1)]
    rows = [
        {
            "row": part.labels[0] or NOT_GIVEN,
            "column": part.labels[1] or NOT_GIVEN,
            "figure": _plain(part.figure),
        }
        for part in result.parts
        if all((part.labels[place] or NOT_GIVEN) in labels[place] for place in (0, 1))
    ]
    titles = [dimension.title for dimension in result.by]
    cells = (
        alt.Chart()
        .mark_rect(stroke="white", strokeWidth=1)
        .encode(
            x=alt.X(
                "column:N",
                title=None,
                sort=labels[1],
                axis=alt.Axis(labelLimit=110, orient="top", labelOverlap=True),
            ),
            y=alt.Y("row:N", title=None, sort=labels[0], axis=alt.Axis(labelLimit=220)),
            color=alt.Color("figure:Q", title=None, scale=alt.Scale(scheme="blues")),
            tooltip=[
                alt.Tooltip("row:N", title=titles[0]),
                alt.Tooltip("column:N", title=titles[1]),
                alt.Tooltip("figure:Q", title=result.metric.title, format=NUMBER),
            ],
        )
        .properties(height=PART_HEIGHT * max(1, len(labels[0])))
    )
    return _with(rows, _spec(cells, f"{result.metric.title} by {result.breakdown}"))


def _labels(result: MetricResult, place: int) -> list[str]:
    """The values of one dimension that are drawn: all in order, or those in the largest parts."""
    seen = dict.fromkeys(part.labels[place] or NOT_GIVEN for part in result.parts)
    dimension = result.by[place]
    if dimension.is_ordered:
        ordered = [label for _, label in dimension.labels]
        return ordered + [label for label in seen if label not in ordered]
    return list(seen)[:MAX_PARTS]


def label_of(part: Part) -> str:
    """The name of a part for people."""
    return " · ".join(label or NOT_GIVEN for label in part.labels)


def days_of(bucket: Period) -> str:
    """The days of a bucket as text, such as Mar 2, 2026."""
    first, last = (f"{day:%b} {day.day}, {day.year}" for day in (bucket.start, bucket.last_day))
    return first if bucket.days == 1 else f"{first} – {last}"


def _series(field: str, title: str, titles: Sequence[str]) -> alt.Chart:
    """One metric, in its own color among `titles`."""
    key: alt.Legend | None = alt.Legend(
        title=None, orient="top", symbolType="square", symbolOpacity=1, labelLimit=240
    )
    if len(titles) == 1:
        key = None  # the heading has the title
    chart: alt.Chart = (
        alt.Chart()
        .transform_calculate(series=f"'{title}'")
        .encode(
            y=alt.Y(f"{field}:Q", title=None, axis=_amounts()),
            color=alt.Color("series:N", scale=alt.Scale(domain=list(titles)), legend=key),
        )
    )
    return chart


def _amounts() -> alt.Axis:
    """12.5, 1,200, 15k, 2M; never 150m for a fraction of an hour."""
    return alt.Axis(
        tickCount=5,
        labelExpr="format(datum.value, abs(datum.value) >= 10000 ? '~s' : ',.2~f')",
    )


def _hover(fields: dict[str, str], unit: str) -> alt.Chart:
    """A full-height band under the pointer, whose tooltip shows the figures of its bucket."""
    pointer = alt.selection_point(on="pointerover", clear="pointerout", empty=False)
    figures = [
        alt.Tooltip(f"{field}:Q", title=title, format=NUMBER) for field, title in fields.items()
    ]
    band: alt.Chart = alt.Chart().mark_bar(color="#7f8ea3", cursor="default", aria=False)
    shown: alt.Chart = band.encode(
        y=alt.value(0),
        y2=alt.value(HEIGHT),
        opacity=alt.condition(pointer, alt.value(0.14), alt.value(0)),
        tooltip=[alt.Tooltip("days:N", title=unit.title()), *figures],
    ).add_params(pointer)
    return shown


def _days() -> alt.X:
    """One band per row, with as many day labels as fit."""
    axis = alt.Axis(
        format=DAY_FORMAT, grid=False, labelAngle=0, labelOverlap="parity", labelSeparation=8
    )
    return alt.X("date:O", timeUnit="utcyearmonthdate", title=None, axis=axis)


def _with(rows: Sequence[dict[str, Any]], spec: Spec) -> Spec:
    """`spec` with its figures. Altair is slow, so the rest of the specification is cached."""
    return {**spec, "datasets": {FIGURES: rows}}


def _spec(chart: alt.Chart | alt.LayerChart, description: str) -> Spec:
    """The specification without its figures, as wide as its container."""
    spec: Spec = (
        chart.properties(
            data=alt.NamedData(name=FIGURES),
            width="container",
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


def _plain(value: Figure) -> float | int | None:
    return float(value) if isinstance(value, Decimal) else value
