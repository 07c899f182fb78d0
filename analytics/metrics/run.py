"""Computes a metric, for pages, the API, exports and reports alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from django.utils import timezone

from analytics.metrics import cache
from analytics.metrics.freshness import Freshness, data_version, freshness_of
from analytics.metrics.registry import METRICS, Aggregate, Metric
from analytics.metrics.statement import (
    MAX_LABELS,
    PERIOD,
    PREVIOUS,
    figures_sql,
    filters_of,
    parameters,
)
from analytics.periods import Period, midnight, today_in
from analytics.warehouse.tenant_reader import TenantReader
from tenants.models import Tenant

Figure = int | Decimal | None
_HOUR = Decimal(3_600_000)


@dataclass(frozen=True)
class Part:
    """One row of a breakdown; `label` is "" where the records have no value."""

    label: str
    figure: Figure
    previous: Figure


@dataclass(frozen=True)
class MetricResult:
    """A metric's figures: for the period, the previous period, each bucket and each label.

    Counts are ints, all else Decimals; None where there is nothing to measure. Durations are in
    hours. `parts` is the breakdown, in the metric's order or else the largest first; `is_cut` if
    it has more rows. `filters` are those that were applied. `freshness` has one entry per table
    that was ever loaded. `milliseconds` is how long the statement took, 0.0 from the cache.
    """

    metric: Metric
    period: Period
    as_of: datetime
    requested_filters: dict[str, str]
    filters: dict[str, str]
    figure: Figure
    previous: Figure
    series: tuple[tuple[Period, Figure], ...]
    parts: tuple[Part, ...]
    is_cut: bool
    freshness: tuple[Freshness, ...]
    milliseconds: float

    @property
    def was_loaded(self) -> bool:
        """Whether there is anything to show: a load, or rows that were inserted in another way."""
        return bool(self.freshness) or bool(self.figure)

    @property
    def change(self) -> Decimal | None:
        """Change from the previous figure, in percent (of shares, in percentage points); None if
        it cannot be computed."""
        if self.figure is None or self.previous is None:
            return None
        difference = Decimal(self.figure - self.previous)
        if self.metric.aggregate is not Aggregate.SHARE:
            if not self.previous:
                return None
            difference = difference * 100 / abs(Decimal(self.previous))
        return difference.quantize(Decimal("0.1"), ROUND_HALF_UP)

    @property
    def is_welcome(self) -> bool | None:
        """Whether the change is an improvement; None without a change or a better direction."""
        if not self.change or not self.metric.good:
            return None
        return (self.change > 0) == (self.metric.good == "up")

    @property
    def ignored_filters(self) -> tuple[str, ...]:
        """Requested filters that the metric does not support."""
        return tuple(name for name in self.requested_filters if name not in self.filters)


def run_metric(
    tenant: Tenant,
    name: str,
    period: Period,
    as_of: datetime | None = None,
    filters: Mapping[str, str] | None = None,
    freshness: Sequence[Freshness] | None = None,
    *,
    only_cached: bool = False,
) -> MetricResult:
    """The metric `name` for `tenant` and `period`, from the versions in effect by `as_of`.

    `as_of` must be aware; the default is now. Filters that the metric does not support are
    ignored. To compute several metrics, call `freshness_of` once and pass the result. Raises
    KeyError for an unknown metric and WarehouseError; with `only_cached`, CacheMiss instead of
    computing it.
    """
    metric = METRICS[name]
    query = metric_query(tenant, metric, period, as_of, filters or {})
    if freshness is None:
        freshness = freshness_of(tenant, metric.tables)
    sources = tuple(each for each in freshness if each.table_name in metric.tables)
    sql = figures_sql(metric, query.filters)
    rows, milliseconds = cache.cached(
        tenant,
        metric.name,
        (sql, query.parameters),
        data_version(sources),
        None if only_cached else lambda: _rows(tenant, sql, query.parameters),
    )
    total = _by_span(metric, rows[0][2] if rows and rows[0][0] else [])
    labeled = [
        (label, _by_span(metric, figures)) for is_total, label, figures in rows if not is_total
    ]
    zero: Figure = 0 if metric.aggregate.is_additive else None
    return MetricResult(
        metric=metric,
        period=query.period,
        as_of=as_of or timezone.now(),
        requested_filters=dict(filters or {}),
        filters=query.filters,
        figure=total.get(PERIOD, zero),
        previous=total.get(PREVIOUS, zero),
        series=tuple(
            (bucket, total.get(number, zero))
            for number, bucket in enumerate(query.period.buckets(), PREVIOUS + 1)
        ),
        parts=_parts(metric, labeled, zero) if metric.breakdown else (),
        is_cut=len(labeled) > MAX_LABELS,
        freshness=sources,
        milliseconds=milliseconds,
    )


@dataclass(frozen=True)
class MetricQuery:
    """One query of a metric: the period, cut off at the as-of date, and all parameters."""

    period: Period
    as_of: datetime
    filters: dict[str, str]
    parameters: dict[str, Any]


def metric_query(
    tenant: Tenant,
    metric: Metric,
    period: Period,
    as_of: datetime | None,
    filters: Mapping[str, str],
) -> MetricQuery:
    """The query; its parameters stay the same all day, so that the result can be cached."""
    if as_of is not None:
        period = period.up_to(as_of)  # later days are unknown, not zero
    tomorrow = today_in(tenant.zone, timezone.now()) + timedelta(days=1)
    instant = as_of or max(midnight(tomorrow, tenant.zone), period.ends_at)
    applied = filters_of(metric, filters)
    bound = parameters(tenant, metric, period, instant, applied)
    return MetricQuery(period, instant, applied, bound)


def _rows(tenant: Tenant, sql: str, bound: dict[str, Any]) -> tuple[list[Any], float]:
    found = TenantReader(tenant).select(sql, bound)
    return found.values, found.milliseconds


def _by_span(metric: Metric, figures: Sequence[tuple[int, Any]]) -> dict[int, Figure]:
    return {span: _figure(metric, value) for span, value in figures}


def _figure(metric: Metric, value: Any) -> Figure:
    if value is None or (isinstance(value, int) and not metric.aggregate.is_duration):
        return value
    exact = Decimal(value) / _HOUR if metric.aggregate.is_duration else Decimal(value)
    # Sums are exact, however many decimals are shown.
    places = 2 if metric.aggregate is Aggregate.SUM else metric.places
    return exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def _parts(
    metric: Metric, labeled: Sequence[tuple[str, dict[int, Figure]]], zero: Figure
) -> tuple[Part, ...]:
    found = {
        label: Part(label, figures.get(PERIOD, zero), figures.get(PREVIOUS, zero))
        for label, figures in labeled[:MAX_LABELS]
    }
    ordered = [found.pop(label, Part(label, zero, zero)) for label in metric.labels]
    return (*ordered, *found.values())
