"""Version 1: metrics, records and histories, with the same results as the pages."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from fractions import Fraction
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.cache import never_cache
from ninja import Field, Router, Schema
from ninja.decorators import decorate_view
from ninja.params.functions import Path, Query
from pydantic import create_model

from analytics.api.base import ERRORS, NotFound, tenant_of
from analytics.api.records import Lineage, RecordHistory, history_of, lineage, plain
from analytics.dashboards.scope import Moments, Scope
from analytics.metrics import (
    DIMENSIONS,
    METRICS,
    Freshness,
    Metric,
    MetricQuery,
    MetricResult,
    run_metric,
)
from analytics.metrics.differences import (
    MAX_RECORDS,
    Differences,
    NewVersion,
    Reading,
    RecordDifference,
    differences,
)
from analytics.metrics.dimensions import EXCLUDED, Filter, write_value
from analytics.periods import MAX_DAYS, PRESETS, PeriodError, as_of_from_query
from analytics.records import listing
from analytics.records.history import record_history
from analytics.warehouse.catalog import TABLES, Table

router = Router()
OPERATORS = ", ".join(listing.OPERATORS)
MAX_LISTED = 1000  # records behind a difference


class MetricOut(Schema):
    """The definition of a metric."""

    name: str
    title: str
    unit: str
    description: str
    dimensions: list[str] = Field(
        description="What it can be filtered by and broken down by, at most two at a time."
    )
    is_state: bool = Field(description="Measured at the end of the period, not over it.")
    breakdown: str = Field(
        description="What it is broken down by unless asked otherwise; or empty."
    )


class Bucket(Schema):
    """A day, week or month of the period."""

    first_day: date
    last_day: date
    figure: float | None


class PartOut(Schema):
    """One row of the breakdown. A value and its label are empty where records have none."""

    values: list[str] = Field(description="One for each dimension; empty where records have none.")
    label: str
    figure: float | None
    previous: float | None


class FreshnessOut(Schema):
    """The newest finished load of a table that the figure is based on."""

    table: str
    load_id: int
    finished_at: datetime
    file: str


class MetricAnswer(Schema):
    """A metric's figures, as JSON numbers; null where there is nothing to measure."""

    metric: MetricOut
    first_day: date
    last_day: date
    as_of: datetime
    filters: dict[str, list[str]] = Field(description="The filters that were applied.")
    not_applied: list[str] = Field(description="Filters that this metric does not support.")
    by: list[str] = Field(description="The dimensions of the breakdown.")
    figure: float | None
    previous: float | None = Field(
        description="The figure of the period that it is compared with; see `compare`."
    )
    series: list[Bucket] = Field(description="The figure for each day, week or month.")
    parts: list[PartOut] = Field(description="The breakdown, if the metric has one.")
    is_cut: bool = Field(description="Whether the breakdown has more rows than these.")
    freshness: list[FreshnessOut]


class RecordsPage(Schema):
    """One page of records. Pass `next` as `after` to get the next page; null on the last page."""

    table: str
    records: list[dict[str, Any]]
    next: str | None


class Record(Schema):
    """The current version of a record, or its last one."""

    table: str
    id: str
    is_current: bool
    values: dict[str, Any] = Field(description="All columns of the data dictionary.")
    load: Lineage


class ReadingOut(Schema):
    """The figure at one of the two moments, with the numbers of its measures."""

    as_of: datetime | None = Field(description="null: now.")
    loaded_by: datetime | None = Field(description="Only what had been loaded by then; null: all.")
    first_day: date
    last_day: date = Field(description="Earlier figures end with their as-of date.")
    figure: float | None
    numbers: list[float | None] = Field(
        description="One for each measure: of shares and ratios, numerator and denominator."
    )


class CauseOut(Schema):
    """What all records that entered, left or changed bring together.

    Of medians and percentiles, `before` and `after` are how many values.
    """

    cause: str
    records: int
    before: list[float]
    after: list[float]
    contribution: float | None


class FieldOut(Schema):
    name: str
    before: Any
    after: Any
    counts: bool = Field(description="Whether the figure or its filters depend on this field.")


class VersionOut(Schema):
    """A version that the earlier moment did not know, and the file and load that brought it."""

    effective_date: datetime
    is_first: bool
    fields: list[FieldOut]
    load_id: int
    loaded_at: datetime
    file: str


class RemovalOut(Schema):
    """The end of a record that was gone from the files, and the full refresh that found it."""

    ended_at: datetime
    load_id: int | None


class RecordOut(Schema):
    """A record that entered, left or changed its value. Of medians, the numbers are lists, in ms.

    Contributions of all records add up to the change before rounding; in shares, in points.
    """

    table: str
    id: str
    title: str
    cause: str
    before: list[float | list[float]]
    after: list[float | list[float]]
    contribution: float | None = Field(description="null where parts do not add up: of medians.")
    versions: list[VersionOut]
    removal: RemovalOut | None


class RebuildOut(Schema):
    """A bulk load or repair between the moments: what it replaced is not stored."""

    table: str
    load_id: int
    kind: str
    finished_at: datetime


class DifferencesAnswer(Schema):
    """Why a figure differs between two moments. `causes` count all records."""

    metric: MetricOut
    filters: dict[str, list[str]] = Field(description="The filters that were applied.")
    before: ReadingOut
    after: ReadingOut
    causes: list[CauseOut]
    records: list[RecordOut] = Field(description="Those that contribute most.")
    is_cut: bool = Field(description="Whether more records are affected than these.")
    rebuilds: list[RebuildOut]


class PeriodIn(Schema):
    """The period and the as-of date."""

    period: str = Field("", description=f"One of {', '.join(PRESETS)}. Default: last-30-days.")
    start: str = Field(
        "",
        description="First day, such as 2026-03-01, instead of `period`. "
        f"At most {MAX_DAYS:,} days before `end`.",
    )
    end: str = Field("", description="Last day, included. Default: today.")
    as_of: str = Field("", description="Show the data as of the end of this day. Default: now.")
    compare: str = Field(
        "", description="before (the period before, the default) or year (the same days then)."
    )


def _filter_fields(name: str) -> dict[str, Any]:
    """The filters of a dimension, such as `priority` and `priority!`."""
    subject = "company_id" if name == "company" else DIMENSIONS[name].title.lower()
    only: Any = Field([], description=f"Only these values of {subject}.")
    excluded: Any = Field([], alias=f"{name}{EXCLUDED}", description=f"None of these of {subject}.")
    return {name: (list[str], only), f"{name}_excluded": (list[str], excluded)}


ScopeIn: Any = create_model(
    "ScopeIn",
    __base__=PeriodIn,
    **{field: kind for name in DIMENSIONS for field, kind in _filter_fields(name).items()},
)


@router.get("/{tenant_id}/metrics", response={200: list[MetricOut], **ERRORS}, tags=["metrics"])
@decorate_view(never_cache)
def metrics(request: HttpRequest, tenant_id: str) -> list[dict[str, Any]]:
    """All metrics with their definitions."""
    tenant_of(request, tenant_id)
    return [_metric(metric) for metric in METRICS.values()]


@router.get("/{tenant_id}/metrics/{name}", response={200: MetricAnswer, **ERRORS}, tags=["metrics"])
@decorate_view(never_cache)
def metric(
    request: HttpRequest,
    tenant_id: str,
    name: str = Path(..., enum=list(METRICS)),
    scope: ScopeIn = Query(...),  # noqa: B008 (how ninja declares parameters)
    by: list[str] = Query(  # noqa: B008
        [], description="Dimensions to break it down by. Default: its own breakdown."
    ),
) -> dict[str, Any]:
    """A metric's figure for a period and the previous one, over time and broken down."""
    tenant = tenant_of(request, tenant_id)
    query = metric_query(name, by or None)
    requested = Scope.of_query(tenant, asked(scope))
    return _answer(
        run_metric(
            tenant,
            name,
            requested.period,
            requested.as_of,
            requested.filters,
            by=query.by,
        )
    )


@router.get(
    "/{tenant_id}/metrics/{name}/differences",
    response={200: DifferencesAnswer, **ERRORS},
    tags=["metrics"],
)
@decorate_view(never_cache)
def metric_differences(
    request: HttpRequest,
    tenant_id: str,
    name: str = Path(..., enum=list(METRICS)),
    scope: ScopeIn = Query(...),  # noqa: B008
    before: str = Query(
        ..., description="The earlier moment: a day, or an instant such as 2026-03-31T07:00:00Z."
    ),
    loaded_by: str = Query(
        "", description="For the earlier figure, count only what had been loaded by then."
    ),
    limit: int = Query(MAX_RECORDS, ge=1, le=MAX_LISTED),
) -> dict[str, Any]:
    """Why a metric's figure differs between two moments, record by record.

    The later moment is `as_of`, which here may be an instant, too.
    """
    tenant = tenant_of(request, tenant_id)
    name = metric_query(name, ()).metric.name
    moments = Moments.of_query(tenant, asked(scope) | {"before": before, "loaded_by": loaded_by})
    return _differences(
        differences(
            tenant,
            name,
            moments.period,
            moments.before,
            moments.after,
            moments.filters,
            limit=limit,
        )
    )


@router.get("/{tenant_id}/tables/{table}", response={200: RecordsPage, **ERRORS}, tags=["records"])
@decorate_view(never_cache)
def records(
    request: HttpRequest,
    tenant_id: str,
    table: str = Path(..., enum=list(TABLES)),
    q: str = Query("", max_length=listing.MAX_CHARACTERS, description="Text to search for."),
    where: list[str] = Query(  # noqa: B008
        [],
        max_length=listing.MAX_CONDITIONS,
        description=f"Conditions such as status~is~Closed. Operators: {OPERATORS}.",
    ),
    columns: list[str] = Query([], description="Columns to return. Default: all."),  # noqa: B008
    sort: str = Query("", description="A column to sort by; -column sorts descending."),
    as_of: str = Query("", description="Show the data as of the end of this day."),
    after: str = Query("", description="The `next` of the previous page."),
    limit: int = Query(listing.PAGE, ge=1, le=listing.MAX_PER_PAGE),
) -> dict[str, Any]:
    """Records of a table, page by page."""
    tenant, shown = tenant_of(request, tenant_id), _table(table)
    wanted = listing.listing(
        shown,
        columns=columns or shown.column_names,
        sort=sort,
        search=q,
        where=where,
        as_of=as_of_from_query({"as_of": as_of}, tenant.zone, timezone.now()),
        after=after,
        size=limit,
    )
    found = listing.page(tenant, wanted)
    names = [column.name for column in wanted.columns]
    return {
        "table": table,
        "records": [{name: plain(row[name]) for name in names} for row in found.rows],
        "next": found.next or None,
    }


@router.get(
    "/{tenant_id}/tables/{table}/{record_key:record_id}/history",
    response={200: RecordHistory, **ERRORS},
    tags=["records"],
)
@decorate_view(never_cache)
def history(
    request: HttpRequest,
    tenant_id: str,
    record_id: str,
    table: str = Path(..., enum=list(TABLES)),
) -> dict[str, Any]:
    """Every version of a record."""
    return history_of(tenant_of(request, tenant_id), _table(table).name, record_id)


@router.get(
    "/{tenant_id}/tables/{table}/{record_key:record_id}",
    response={200: Record, **ERRORS},
    tags=["records"],
)
@decorate_view(never_cache)
def record(
    request: HttpRequest,
    tenant_id: str,
    record_id: str,
    table: str = Path(..., enum=list(TABLES)),
) -> dict[str, Any]:
    """The current version of a record, or its last one."""
    tenant = tenant_of(request, tenant_id)
    found = record_history(tenant, _table(table).name, record_id)
    return {
        "table": table,
        "id": found.key,
        "is_current": found.is_current,
        "values": {name: plain(value) for name, value in found.latest.values.items()},
        "load": lineage(found.latest),
    }


def _table(name: str) -> Table:
    if name not in TABLES:
        raise NotFound("No such table.")
    return TABLES[name]


def _metric(metric: Metric) -> dict[str, Any]:
    return {name: getattr(metric, name) for name in MetricOut.model_fields}


def metric_query(name: str, by: Sequence[str] | None) -> MetricQuery:
    """The metric of an address by these dimensions. Raises NotFound, PeriodError."""
    if name not in METRICS:
        raise NotFound("No such metric.")
    try:
        return MetricQuery.named(name, by)
    except ValueError as error:
        raise PeriodError("by", str(error)) from None


def asked(scope: Any) -> dict[str, Any]:
    """The parameters of a ScopeIn under their names in addresses, such as `priority!`."""
    parameters: dict[str, Any] = scope.dict(by_alias=True)
    return parameters


def filters_out(filters: Iterable[Filter]) -> dict[str, list[str]]:
    """Filters as they are written in addresses."""
    return {each.name: [write_value(value) for value in each.values] for each in filters}


def _answer(result: MetricResult) -> dict[str, Any]:
    return {
        "metric": _metric(result.metric),
        "first_day": result.period.start,
        "last_day": result.period.last_day,
        "as_of": result.as_of,
        "filters": filters_out(result.filters),
        "not_applied": [
            each.name for each in result.requested_filters if each not in result.filters
        ],
        "by": [dimension.name for dimension in result.by],
        "figure": plain(result.figure),
        "previous": plain(result.previous),
        "series": [
            {"first_day": bucket.start, "last_day": bucket.last_day, "figure": plain(figure)}
            for bucket, figure in result.series
        ],
        "parts": [
            {
                "values": part.values,
                "label": part.label,
                "figure": plain(part.figure),
                "previous": plain(part.previous),
            }
            for part in result.parts
        ],
        "is_cut": result.is_cut,
        "freshness": [freshness_out(each) for each in result.freshness],
    }


def freshness_out(freshness: Freshness) -> dict[str, Any]:
    return {
        "table": freshness.table_name,
        "load_id": freshness.load_id,
        "finished_at": freshness.finished_at,
        "file": freshness.file_name,
    }


def _differences(found: Differences) -> dict[str, Any]:
    return {
        "metric": _metric(found.metric),
        "filters": filters_out(found.filters),
        "before": _reading(found.before),
        "after": _reading(found.after),
        "causes": [
            {
                "cause": each.cause.value,
                "records": each.records,
                "before": [plain(number) for number in each.before],
                "after": [plain(number) for number in each.after],
                "contribution": _float(each.contribution),
            }
            for each in found.totals
        ],
        "records": [_record(each) for each in found.records],
        "is_cut": found.is_cut,
        "rebuilds": [
            {
                "table": each.table_name,
                "load_id": each.load_id,
                "kind": each.kind,
                "finished_at": each.finished_at,
            }
            for each in found.rebuilds
        ],
    }


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "as_of": reading.moment.as_of,
        "loaded_by": reading.moment.loaded_by,
        "first_day": reading.period.start,
        "last_day": reading.period.last_day,
        "figure": plain(reading.figure),
        "numbers": [plain(number) for number in reading.numbers],
    }


def _record(found: RecordDifference) -> dict[str, Any]:
    return {
        "table": found.table.name,
        "id": found.key,
        "title": found.title,
        "cause": found.cause.value,
        "before": [plain(number) for number in found.before],
        "after": [plain(number) for number in found.after],
        "contribution": _float(found.contribution),
        "versions": [_version(each) for each in found.versions],
        "removal": found.removal
        and {"ended_at": found.removal.ended_at, "load_id": found.removal.load_id},
    }


def _version(version: NewVersion) -> dict[str, Any]:
    return {
        "effective_date": version.effective_date,
        "is_first": version.is_first,
        "fields": [
            {
                "name": each.name,
                "before": plain(each.before),
                "after": plain(each.after),
                "counts": each.counts,
            }
            for each in version.fields
        ],
        "load_id": version.load_id,
        "loaded_at": version.loaded_at,
        "file": version.file,
    }


def _float(part: Fraction | None) -> float | None:
    return None if part is None else float(part)
