"""Computing a metric: the one way to its figures, for pages, the API, exports and reports."""

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
    """One label of a breakdown; "" where the records say nothing."""

    label: str
    figure: Figure
    previous: Figure


@dataclass(frozen=True)
class MetricResult:
    """A metric's figure for a period, for the one before, for each of its buckets and labels.

    Counts are ints, all else Decimals; None where there is nothing to measure. Durations are in
    hours. `parts` come in the metric's order, the largest first unless it has one of its own;
    `is_cut` if there are more. `filters` are those that were applied. `freshness` holds one entry
    per table that was ever loaded; `milliseconds` is what the statement took, 0.0 from the cache.
    """

    metric: Metric
    period: Period
    as_of: datetime
    asked_filters: dict[str, str]
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
        """Whether there is anything to show: a load, or rows that came by another way."""
        return bool(self.freshness) or bool(self.figure)

    @property
    def change(self) -> Decimal | None:
        """From the previous figure to this one, in percent, of shares in percentage points; None
        where that says nothing."""
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
        """Whether the change is for the better; None if there is none or nobody can tell."""
        if not self.change or not self.metric.good:
            return None
        return (self.change > 0) == (self.metric.good == "up")

    @property
    def ignored_filters(self) -> tuple[str, ...]:
        """Filters that were asked for and that the metric does not know."""
        return tuple(name for name in self.asked_filters if name not in self.filters)


def run_metric(
    tenant: Tenant,
    name: str,
    period: Period,
    as_of: datetime | None = None,
    filters: Mapping[str, str] | None = None,
    freshness: Sequence[Freshness] | None = None,
    *,
    only_kept: bool = False,
) -> MetricResult:
    """The metric `name` for `tenant` and `period`, from what was in effect by `as_of`.

    Without `as_of`, nothing that is known is left out. `as_of` must be aware. Filters that the
    metric does not know are left aside. Whoever wants several metrics may ask `freshness_of` once
    for all and pass it on. Errors: KeyError for an unknown metric, WarehouseError; with `only_kept`
    NotCached instead of computing it.
    """
    metric = METRICS[name]
    asked = question(tenant, metric, period, as_of, filters or {})
    if freshness is None:
        freshness = freshness_of(tenant, metric.tables)
    rests_on = tuple(each for each in freshness if each.table_name in metric.tables)
    sql = figures_sql(metric, asked.filters)
    rows, milliseconds = cache.cached(
        tenant,
        metric.name,
        (sql, asked.parameters),
        data_version(rests_on),
        None if only_kept else lambda: _rows(tenant, sql, asked.parameters),
    )
    total = _by_span(metric, rows[0][2] if rows and rows[0][0] else [])
    labeled = [
        (label, _by_span(metric, figures)) for is_total, label, figures in rows if not is_total
    ]
    zero: Figure = 0 if metric.aggregate.is_additive else None
    return MetricResult(
        metric=metric,
        period=asked.period,
        as_of=as_of or timezone.now(),
        asked_filters=dict(filters or {}),
        filters=asked.filters,
        figure=total.get(PERIOD, zero),
        previous=total.get(PREVIOUS, zero),
        series=tuple(
            (bucket, total.get(number, zero))
            for number, bucket in enumerate(asked.period.buckets(), PREVIOUS + 1)
        ),
        parts=_parts(metric, labeled, zero) if metric.breakdown else (),
        is_cut=len(labeled) > MAX_LABELS,
        freshness=rests_on,
        milliseconds=milliseconds,
    )


@dataclass(frozen=True)
class Question:
    """What is asked of the warehouse: the period as far as it had begun, and all parameters."""

    period: Period
    as_of: datetime
    filters: dict[str, str]
    parameters: dict[str, Any]


def question(
    tenant: Tenant,
    metric: Metric,
    period: Period,
    as_of: datetime | None,
    filters: Mapping[str, str],
) -> Question:
    """The same parameters for the same question all day long, so that answers can be kept."""
    if as_of is not None:
        period = period.up_to(as_of)  # what came later is unknown then, not zero
    tomorrow = today_in(tenant.zone, timezone.now()) + timedelta(days=1)
    instant = as_of or max(midnight(tomorrow, tenant.zone), period.ends_at)
    applied = filters_of(metric, filters)
    return Question(period, instant, applied, parameters(tenant, metric, period, instant, applied))


def _rows(tenant: Tenant, sql: str, bound: dict[str, Any]) -> tuple[list[Any], float]:
    found = TenantReader(tenant).select(sql, bound)
    return found.values, found.milliseconds


def _by_span(metric: Metric, figures: Sequence[tuple[int, Any]]) -> dict[int, Figure]:
    return {span: _figure(metric, value) for span, value in figures}


def _figure(metric: Metric, value: Any) -> Figure:
    if value is None or (isinstance(value, int) and not metric.aggregate.is_duration):
        return value
    exact = Decimal(value) / _HOUR if metric.aggregate.is_duration else Decimal(value)
    # Sums are exact, whatever decimals they are shown with.
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
