"""The rows of a query: for each value, the rest as one, and their series."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from analytics.metrics.dimensions import DIMENSIONS, EXCLUDED, Filters, write_value
from analytics.metrics.freshness import Freshness, freshness_of
from analytics.metrics.query import LABEL, Query, QueryError
from analytics.metrics.registry import Metric
from analytics.metrics.results import OTHER, Figure, MetricQuery, MetricResult, Part, figure_of
from analytics.metrics.run import run_metrics
from analytics.metrics.statement import MAX_GROUPS, By
from analytics.periods import Period
from tenants.models import Tenant


@dataclass(frozen=True)
class Row:
    """Figures in the order of the query's metrics. `series` has one series for each of them."""

    values: tuple[str, ...]
    labels: tuple[str, ...]
    figures: tuple[Figure, ...]
    previous: tuple[Figure, ...]
    series: tuple[tuple[Figure, ...], ...] = ()

    @property
    def label(self) -> str:
        return " · ".join(self.labels)


@dataclass(frozen=True)
class QueryResult:
    """`rows` are the first of the query's order; `other` are the `others` rows after them as one.

    A figure of `other` is None where it cannot be computed: medians and percentiles by two
    dimensions. `results` are those of the metrics, in their order, before they were put in rows.
    """

    query: Query
    results: tuple[MetricResult, ...]
    rows: tuple[Row, ...]
    other: Row | None
    others: int

    @property
    def total(self) -> Row:
        return _summary((), self.results, self.query)

    @property
    def buckets(self) -> list[Period]:
        return [bucket for bucket, _ in self.results[0].series] if self.query.over_time else []

    @property
    def freshness(self) -> list[Freshness]:
        return list(dict.fromkeys(each for result in self.results for each in result.freshness))


def run_query(
    tenant: Tenant, query: Query, as_of: datetime | None = None, filters: Filters | None = None
) -> QueryResult:
    """The rows of a query. At most three statements for each source: for the totals and the order
    of rows; for their series; and for what only a statement without them can tell of the others.

    Raises QueryError and WarehouseError.
    """
    queries = [MetricQuery(metric, query.by) for metric in query.metrics]
    freshness = freshness_of(tenant, {name for each in queries for name in each.tables})
    asked = _Asked(tenant, query.period, as_of, dict(filters or {}), freshness)
    results = asked.results(queries)
    _check_size(results)
    rows = _ordered(query, _rows(query, results))
    shown, rest = rows[: query.limit], rows[query.limit :]
    other = _other(asked, query, results, shown, has_rest=bool(rest))
    if query.over_time:
        shown = _with_series(asked, query, shown)
    return QueryResult(query, results, tuple(shown), other, len(rest))


@dataclass(frozen=True)
class _Asked:
    """What all statements of a query share."""

    tenant: Tenant
    period: Period
    as_of: datetime | None
    filters: dict[str, Any]
    freshness: tuple[Freshness, ...]

    def results(
        self, queries: Sequence[MetricQuery], filters: Filters | None = None
    ) -> tuple[MetricResult, ...]:
        """In the order of the queries, under `filters` besides those of the query itself."""
        found = dict(
            run_metrics(
                self.tenant,
                queries,
                self.period,
                self.as_of,
                self.filters | dict(filters or {}),
                self.freshness,
                MAX_GROUPS,
            )
        )
        return tuple(_checked(found[each]) for each in queries)

    def only(self, dimension: str, rows: Sequence[Row]) -> Filters:
        return {dimension: _written(rows)}

    def without(self, dimension: str, rows: Sequence[Row]) -> Filters:
        name = f"{dimension}{EXCLUDED}"
        return {name: [*self.filters.get(name, ()), *_written(rows)]}


def _written(rows: Sequence[Row]) -> list[str]:
    return [write_value(row.values[0]) for row in rows]


def _checked(result: MetricResult | Exception) -> MetricResult:
    if isinstance(result, Exception):
        raise result
    return result


def _check_size(results: Sequence[MetricResult]) -> None:
    for result in results:
        if result.is_cut:
            raise QueryError(
                "by",
                f"{result.metric.title} by {result.breakdown.lower()} may have more than "
                f"{MAX_GROUPS:,} rows. Use filters, a shorter period or another dimension.",
            )


def _rows(query: Query, results: Sequence[MetricResult]) -> list[Row]:
    """One row for each combination of values that any of the metrics has."""
    if not query.by:
        return [_summary((), results, query)]
    parts = [{part.values: part for part in result.parts} for result in results]
    rows = []
    for values, labels in {v: p.labels for found in parts for v, p in found.items()}.items():
        of_row = [
            found.get(values) or _empty(metric, values, labels)
            for metric, found in zip(query.metrics, parts, strict=True)
        ]
        if not (query.compare or query.is_ordered or any(map(_is_in_period, of_row))):
            continue
        rows.append(
            Row(
                values,
                labels,
                tuple(part.figure for part in of_row),
                tuple(part.previous for part in of_row),
            )
        )
    return rows


def _is_in_period(part: Part) -> bool:
    """Whether the part has facts in the period, and not only in the one before."""
    return any(number is not None for number in part.numbers)


def _empty(metric: Metric, values: tuple[str, ...], labels: tuple[str, ...]) -> Part:
    zero = figure_of(metric, ())
    return Part(values, labels, zero, zero)


def _summary(labels: tuple[str, ...], results: Sequence[MetricResult], query: Query) -> Row:
    """The figures of all facts as one row."""
    return Row(
        (),
        labels,
        tuple(result.figure for result in results),
        tuple(result.previous for result in results),
        tuple(tuple(figure for _, figure in result.series) for result in results)
        if query.over_time
        else (),
    )


def _ordered(query: Query, rows: Sequence[Row]) -> list[Row]:
    """Rows without the figure that they are ordered by come last; those alike by their labels."""
    by_label = sorted(rows, key=lambda row: _label_key(query.by, row))
    if query.order == LABEL:
        return by_label[::-1] if query.is_descending else by_label
    place = [metric.name for metric in query.metrics].index(query.order)
    known = [row for row in by_label if row.figures[place] is not None]
    known.sort(key=lambda row: row.figures[place] or 0, reverse=query.is_descending)
    return known + [row for row in by_label if row.figures[place] is None]


def _label_key(by: By, row: Row) -> tuple[Any, ...]:
    """Labels in the order of their dimension or of the alphabet; those without one last."""
    key = []
    for name, value, label in zip(by, row.values, row.labels, strict=False):
        order = [each for each, _ in DIMENSIONS[name].labels]
        place = order.index(value) if value in order else len(order)
        key.append((not label, place, label.casefold(), value))
    return tuple(key)


def _with_series(asked: _Asked, query: Query, rows: Sequence[Row]) -> list[Row]:
    """The rows with a series for each metric, asked for these rows only."""
    if not query.by or not rows:
        return list(rows)
    results = asked.results(
        [MetricQuery(metric, query.by, over_time=True) for metric in query.metrics],
        asked.only(query.by[0], rows),
    )
    _check_size(results)
    found = [{part.values: part.series for part in result.parts} for result in results]
    empty = [(figure_of(result.metric, ()),) * len(result.series) for result in results]
    return [
        replace(
            row,
            series=tuple(
                series.get(row.values) or nothing
                for series, nothing in zip(found, empty, strict=True)
            ),
        )
        for row in rows
    ]


def _other(
    asked: _Asked,
    query: Query,
    results: Sequence[MetricResult],
    shown: Sequence[Row],
    *,
    has_rest: bool,
) -> Row | None:
    """All rows but those shown as one, or None if there are none.

    Over time, states may have others within the period even if there are none at its end. Medians
    and percentiles, and all figures over time, are asked for once more, without the shown values.
    By two dimensions no filter excludes the shown pairs, and only them.
    """
    is_state_over_time = query.over_time and any(metric.is_state for metric in query.metrics)
    if not query.by or not (has_rest or is_state_over_time):
        return None
    asked_for = [
        MetricQuery(metric)
        for metric in query.metrics
        if len(query.by) == 1 and (query.over_time or metric.aggregate.is_duration)
    ]
    found = asked.results(asked_for, asked.without(query.by[0], shown)) if asked_for else ()
    by_metric = {result.metric: result for result in found}
    if query.over_time:
        row = _summary((OTHER,), found, query)
        return row if has_rest or any(map(any, row.series)) else None
    values = {row.values for row in shown}
    of_metrics = [_other_of(result, by_metric.get(result.metric), values) for result in results]
    return Row(
        (),
        (OTHER,),
        tuple(figure for figure, _ in of_metrics),
        tuple(previous for _, previous in of_metrics),
    )


def _other_of(
    result: MetricResult, asked: MetricResult | None, shown: Collection[tuple[str, ...]]
) -> tuple[Figure, Figure]:
    """The figure of all parts but those with `shown` values, and the one before."""
    if asked:
        return asked.figure, asked.previous
    if result.metric.aggregate.is_duration:
        return None, None
    rest = result.without([part for part in result.parts if part.values in shown])
    return rest.figure, rest.previous
