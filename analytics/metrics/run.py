"""Computing a metric: the one way to its figures, for pages, the API, exports and reports."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any

from django.utils import timezone

from analytics.periods import Period
from analytics.warehouse.reader import TenantReader
from tenants.models import Tenant

from .registry import METRICS, STATEMENTS, Metric


@dataclass(frozen=True)
class Freshness:
    """The newest finished load of a table that a metric rests on."""

    table_name: str
    load_id: int
    finished_at: datetime
    newest_file: str
    newest_file_time: datetime

    @property
    def file_name(self) -> str:
        """The file's name without bucket and path, which are nobody's business but ours."""
        return self.newest_file.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class MetricResult:
    """A metric's figures: rows by column name, the instant they are as of, and what they rest on.

    `freshness` holds one entry per table that was ever loaded. `milliseconds` is the statement's.
    """

    metric: Metric
    period: Period
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    as_of: datetime
    freshness: tuple[Freshness, ...]
    milliseconds: float

    @property
    def is_empty(self) -> bool:
        """Whether every figure is zero or unknown."""
        figures = (value for row in self.rows for value in row.values())
        return not any(value for value in figures if not isinstance(value, date))

    @property
    def was_loaded(self) -> bool:
        """Whether there is anything to show: a load, or rows that came by another way."""
        return bool(self.freshness) or not self.is_empty


def run_metric(
    tenant: Tenant,
    name: str,
    period: Period,
    as_of: datetime | None = None,
    freshness: Sequence[Freshness] | None = None,
) -> MetricResult:
    """The metric `name` for `tenant` and `period`, from what was in effect by `as_of`.

    Without `as_of`, nothing that is known is left out. `as_of` must be aware. A caller with several
    metrics may ask `freshness_of` once for all and pass it on. Errors: KeyError for an unknown
    metric, WarehouseError.
    """
    metric = METRICS[name]
    reader = TenantReader(tenant)
    now = timezone.now()
    if as_of is not None:
        period = period.up_to(as_of)  # what came later is unknown then, not zero
    if freshness is None:
        freshness = freshness_of(tenant, metric.tables)
    rows = reader.select(metric.sql, parameters(period, as_of or max(now, period.ends_at)))
    return MetricResult(
        metric=metric,
        period=period,
        columns=rows.columns,
        rows=rows.dicts(),
        as_of=as_of or now,
        freshness=tuple(each for each in freshness if each.table_name in metric.tables),
        milliseconds=rows.milliseconds,
    )


def parameters(period: Period, as_of: datetime) -> dict[str, Any]:
    """What a metric's statement may name, besides the `tenant_id` that the reader binds.

    `bucket_days` and `bucket_ends` are parallel: the last day of each bucket and the instant
    after it.
    """
    buckets = list(period.buckets())
    return {
        "as_of": as_of,
        "starts_at": period.starts_at,
        "ends_at": period.ends_at,
        "first_day": period.start,
        "end_day": period.end,
        "zone": period.zone.key,
        "bucket_days": [bucket.last_day for bucket in buckets],
        "bucket_ends": [f"{bucket.ends_at:%Y-%m-%d %H:%M:%S}" for bucket in buckets],
    }


def freshness_of(tenant: Tenant, tables: Collection[str]) -> tuple[Freshness, ...]:
    """The newest finished load of each of `tables` that was ever loaded."""
    rows = TenantReader(tenant).select(_freshness_sql(), {"tables": list(tables)})
    return tuple(Freshness(**row) for row in rows.dicts())


@cache
def _freshness_sql() -> str:
    return (STATEMENTS / "freshness.sql").read_text()
