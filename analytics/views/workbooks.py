"""Figures as tables for files: over time, by part, and as a workbook with a sheet for each."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from analytics.metrics import Figure, Metric, MetricResult
from analytics.views.source_lines import figures_line
from common.spreadsheets import HOURS, MONEY, PERCENT, WHOLE, Cell, Column, Sheet
from tenants.models import Tenant

PREVIOUS = "Previous period"
Table = tuple[list[str], list[list[Any]]]


def number_format(unit: str, places: int = 0) -> str:
    """Excel's number format for figures of a unit. `sheet_figure` has the figure that fits it."""
    known = {"%": PERCENT, "hours": HOURS, "revenue": MONEY}
    return known.get(unit) or (f"{WHOLE}.{'0' * places}" if places else WHOLE)


def sheet_figure(unit: str, figure: Figure) -> Figure:
    """Percentages are parts of one in spreadsheets."""
    return Decimal(figure) / 100 if unit == "%" and figure is not None else figure


# --- CSV: exact figures, one table


def series_table(results: Sequence[MetricResult]) -> Table:
    """Figures over time; the metrics have the same buckets."""
    heading = ["First day", "Last day", *(_title(each.metric) for each in results)]
    return heading, [
        [bucket.start, bucket.last_day, *(each.series[number][1] for each in results)]
        for number, (bucket, _) in enumerate(results[0].series)
    ]


def parts_table(result: MetricResult) -> Table:
    heading = [*(each.title for each in result.by), _title(result.metric), PREVIOUS]
    return heading, [[*part.labels, part.figure, part.previous] for part in result.parts]


def _title(metric: Metric) -> str:
    return f"{metric.title} ({metric.unit})"


# --- XLSX


def workbook(tenant: Tenant, results: Sequence[MetricResult]) -> list[Sheet]:
    """Sheets called "Total", "By day" and, if the first metric is broken down, "By company"."""
    first = results[0]
    sheets = [_total(results), _over_time(results)]
    if first.by:
        sheets.append(_by_part(first))
    title = " and ".join(each.metric.title for each in results)
    about = figures_line(tenant, first)
    return [replace(each, title=each.title or title, about=about) for each in sheets]


def _total(results: Sequence[MetricResult]) -> Sheet:
    columns = [Column("Figure"), Column("Unit"), Column("This period"), Column(PREVIOUS)]
    rows = [
        [each.metric.title, each.metric.unit, *_cells(each.metric, each.figure, each.previous)]
        for each in results
    ]
    return Sheet("Total", columns, rows)


def _cells(metric: Metric, *figures: Figure) -> list[Cell]:
    shown = number_format(metric.unit, metric.places)
    return [Cell(sheet_figure(metric.unit, each), shown) for each in figures]


def _over_time(results: Sequence[MetricResult]) -> Sheet:
    heading, rows = series_table(results)
    metrics = [each.metric for each in results]
    return Sheet(
        f"By {results[0].period.bucket_unit}",
        [*map(Column, heading[:2]), *map(_column, metrics)],
        [[*row[:2], *_shown(metrics, row[2:])] for row in rows],
    )


def _by_part(result: MetricResult) -> Sheet:
    _, rows = parts_table(result)
    metric, labels = result.metric, len(result.by)
    heading = [Column(each.title) for each in result.by]
    previous = replace(_column(metric), title=PREVIOUS)
    cut = f", the largest {len(result.parts):,}" if result.is_cut else ""
    return Sheet(
        f"By {result.breakdown.lower()}",
        [*heading, _column(metric), previous],
        [[*row[:labels], *_shown([metric, metric], row[labels:])] for row in rows],
        title=f"{metric.title} by {result.breakdown.lower()}{cut}",
    )


def _column(metric: Metric) -> Column:
    return Column(_title(metric), number_format(metric.unit, metric.places))


def _shown(metrics: Sequence[Metric], figures: Sequence[Figure]) -> list[Figure]:
    return [sheet_figure(m.unit, figure) for m, figure in zip(metrics, figures, strict=True)]
