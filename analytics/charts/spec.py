"""Charts: turns a metric's result into a Vega-Lite specification.

Browsers, emails and PDFs draw the same specification. Its colors are for paper; on pages, a
script replaces them with those of the light or dark theme.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import altair as alt

from analytics.metrics import Aggregate, Figure, MetricResult, Part
from analytics.metrics.formats import figure_text, unit_suffix
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
DAY_FORMAT, MONTH_FORMAT = "%b %-d", "%b ’%y"
TICKS = 5
FLAT = 0.75  # an axis from zero would flatten a line whose lowest value is above this part
DAYS_OF_A_WEEK = 7
NOT_GIVEN = "not given"
CURSOR = alt.ExprRef("datum.hrefs ? 'pointer' : 'default'")  # on pages, a script follows `hrefs`


def over_time(results: Sequence[MetricResult], hrefs: Sequence[Sequence[str]] = ()) -> Spec:
    """One or two metrics over time: bars for sums and counts, lines for everything else.

    `hrefs`: for each bucket, where each metric's bar or point leads to on a page.
    """
    first = results[0]
    metric = first.metric
    rows = []
    for number, (bucket, _) in enumerate(first.series):
        is_partial = _is_partial(bucket, first)
        row = {
            "date": f"{bucket.start}T00:00:00Z",
            "days": f"{days_of(bucket)}{' (not complete)' if is_partial else ''}",
            "partial": is_partial,
        }
        for place, each in enumerate(results):
            value = each.series[number][1]
            row[f"figure{place}"] = _plain(value)
            row[f"text{place}"] = _text(each, value)
        if hrefs:
            row["hrefs"] = list(hrefs[number])
        rows.append(row)
    look = Look(
        tuple(each.metric.title for each in results),
        first.period.bucket_unit,
        are_bars=metric.aggregate.is_additive and not metric.is_state,
        suffix=unit_suffix(metric),
        is_whole=metric.aggregate is Aggregate.COUNT,
        from_zero=not metric.is_state or _is_low(results),
    )
    return _with(rows, _over_time(look))


@dataclass(frozen=True)
class Look:
    """What the specification of a chart over time depends on, besides its figures."""

    titles: tuple[str, ...]
    unit: str
    are_bars: bool
    suffix: str
    is_whole: bool
    from_zero: bool


def _is_partial(bucket: Period, result: MetricResult) -> bool:
    """Whether days of the bucket's week or month are missing, or its last day is not over."""
    if bucket.ends_at > result.as_of + timedelta(milliseconds=1):
        return True
    match result.period.bucket_unit:
        case "week":
            return bucket.days < DAYS_OF_A_WEEK
        case "month":
            return bucket.start.day > 1 or bucket.end.day > 1
    return False


def _text(result: MetricResult, value: Figure) -> str:
    return "nothing to measure" if value is None else figure_text(result.metric, value)


def _is_low(results: Sequence[MetricResult]) -> bool:
    """Whether an axis from zero still shows the line's ups and downs, or there are none."""
    known = [float(v) for each in results for _, v in each.series if v is not None]
    return len(set(known)) <= 1 or min(known) < FLAT * max(known)


@cache
def _over_time(look: Look) -> Spec:
    fields = {f"figure{number}": title for number, title in enumerate(look.titles)}
    layers = [
        layer
        for field, title in fields.items()
        for layer in ([_bars(field, title, look)] if look.are_bars else _lines(field, title, look))
    ]
    hover = _hover(look)
    chart = alt.layer(*layers, hover).encode(x=_days(look.unit))
    if not look.from_zero:
        note = alt.TitleParams(
            "The axis does not start at zero", anchor="start", fontSize=11, fontWeight="normal",
            color=MUTED,
        )  # fmt: skip
        chart = chart.properties(title=note)
    return _spec(chart.properties(height=HEIGHT), f"{' and '.join(look.titles)}, per {look.unit}")


def _bars(field: str, title: str, look: Look) -> alt.Chart:
    side_by_side = alt.XOffset("series:N", scale=alt.Scale(domain=list(look.titles)))
    bars: alt.Chart = _series(field, title, look).mark_bar(cornerRadiusEnd=2)
    shown: alt.Chart = bars.encode(xOffset=side_by_side, opacity=_faint_if_partial())
    return shown


def _lines(field: str, title: str, look: Look) -> list[alt.Chart]:
    """The line, above a dashed one that bridges buckets without a figure."""
    bridge = (
        _series(field, title, look)
        .transform_filter(f"isValid(datum.{field})")
        .mark_line(strokeWidth=1.5, strokeDash=[2, 4], opacity=0.6)
    )
    line = _series(field, title, look).mark_line(strokeWidth=2, invalid="break-paths-show-domains")
    points = (
        _series(field, title, look)
        .transform_filter(f"isValid(datum.{field})")
        .mark_point(filled=True, size=24)
        .encode(opacity=_faint_if_partial())
    )
    return [bridge, line, points]


def _faint_if_partial() -> Any:
    return alt.condition("datum.partial", alt.value(0.45), alt.value(1))


def by_part(result: MetricResult) -> Spec:
    """A breakdown as bars: the largest labels, or all labels if the metric orders them."""
    is_ordered = any(dimension.is_ordered for dimension in result.by)
    shown = result.parts if is_ordered else result.parts[:MAX_PARTS]
    rows = [
        {
            "label": label_of(part),
            "figure": _plain(part.figure),
            "text": _text(result, part.figure),
        }
        for part in shown
    ]
    bars = (
        alt.Chart()
        .mark_bar(cornerRadiusEnd=2, color=CATEGORY[0])
        .encode(
            x=alt.X(
                "figure:Q",
                title=None,
                axis=_amounts(
                    unit_suffix(result.metric),
                    is_whole=result.metric.aggregate is Aggregate.COUNT,
                ),
            ),
            y=alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelLimit=220)),
            tooltip=[
                alt.Tooltip("label:N", title=result.breakdown),
                alt.Tooltip("text:N", title=result.metric.title),
            ],
        )
        .properties(height=PART_HEIGHT * max(1, len(rows)))
    )
    return _with(rows, _spec(bars, result.metric.title))


def heat_map(result: MetricResult, href: Callable[[Part], str] | None = None) -> Spec:
    """A breakdown by two dimensions: a cell for each pair of values, the darker the larger.

    `href` tells where a cell leads to on a page.
    """
    labels = [_labels(result, place) for place in (0, 1)]
    rows = [
        {
            "row": part.labels[0] or NOT_GIVEN,
            "column": part.labels[1] or NOT_GIVEN,
            "figure": _plain(part.figure),
            "text": _text(result, part.figure),
        }
        | ({"hrefs": [href(part)]} if href else {})
        for part in result.parts
        if all((part.labels[place] or NOT_GIVEN) in labels[place] for place in (0, 1))
    ]
    titles = [dimension.title for dimension in result.by]
    cells = (
        alt.Chart()
        .mark_rect(stroke="white", strokeWidth=1, cursor=CURSOR)
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
                alt.Tooltip("text:N", title=result.metric.title),
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


def _series(field: str, title: str, look: Look) -> alt.Chart:
    """One metric, in its own color among the titles."""
    titles = look.titles
    key: alt.Legend | None = alt.Legend(
        title=None, orient="top", symbolType="square", symbolOpacity=1, labelLimit=240
    )
    if len(titles) == 1:
        key = None  # the heading has the title
    chart: alt.Chart = (
        alt.Chart()
        .transform_calculate(series=f"'{title}'")
        .encode(
            y=alt.Y(
                f"{field}:Q",
                title=None,
                axis=_amounts(look.suffix, is_whole=look.is_whole),
                # The axis ends at a gridline, so that nothing rises above the last one.
                scale=alt.Scale(nice=TICKS, zero=look.from_zero),
            ),
            color=alt.Color("series:N", scale=alt.Scale(domain=list(titles)), legend=key),
        )
    )
    return chart


def _amounts(suffix: str = "", *, is_whole: bool = False) -> alt.Axis:
    """12.5, 1,200, 15k, 2M, with the unit; never 150m for a fraction, nor half a ticket."""
    return alt.Axis(
        tickCount=TICKS,
        tickMinStep=1 if is_whole else alt.Undefined,
        labelExpr=f"format(datum.value, abs(datum.value) >= 10000 ? '~s' : ',.2~f') + '{suffix}'",
    )


def _hover(look: Look) -> alt.Chart:
    """A full-height band under the pointer, whose tooltip shows the figures of its bucket."""
    pointer = alt.selection_point(on="pointerover", clear="pointerout", empty=False)
    figures = [
        alt.Tooltip(f"text{number}:N", title=title) for number, title in enumerate(look.titles)
    ]
    band: alt.Chart = alt.Chart().mark_bar(color="#7f8ea3", cursor=CURSOR, aria=False)
    shown: alt.Chart = band.encode(
        y=alt.value(0),
        y2=alt.value(HEIGHT),
        opacity=alt.condition(pointer, alt.value(0.14), alt.value(0)),
        tooltip=[alt.Tooltip("days:N", title=look.unit.title()), *figures],
    ).add_params(pointer)
    return shown


def _days(unit: str) -> alt.X:
    """One band per row, with as many labels as fit."""
    axis = alt.Axis(
        format=MONTH_FORMAT if unit == "month" else DAY_FORMAT,
        grid=False,
        labelAngle=0,
        labelOverlap="parity",
        labelSeparation=8,
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
