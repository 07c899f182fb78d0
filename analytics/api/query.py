"""The query door of version 1: several metrics by dimensions and over time; and the dimensions.

It is a GET: a query only reads, so its address can be linked, repeated and opened by a spreadsheet,
it needs no CSRF token, and it has the parameters of all other figures.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.cache import never_cache
from ninja import Field, Router, Schema
from ninja.decorators import decorate_view
from ninja.params.functions import Path, Query

from analytics.api.base import ERRORS, NotFound, tenant_of
from analytics.api.records import plain
from analytics.api.v1 import FreshnessOut, ScopeIn, filters_out, freshness_out
from analytics.dashboards.scope import MAX_FILTER_CHARACTERS, Scope
from analytics.metrics import DIMENSIONS, METRICS
from analytics.metrics import query as layer
from analytics.metrics.query import QueryError
from analytics.metrics.rows import QueryResult, Row, run_query
from analytics.metrics.statement import MAX_GROUPS
from analytics.metrics.values import MAX_VALUES, dimension_values
from analytics.periods import UNITS, PeriodError, as_of_from_query
from analytics.views.downloads import csv_download

router = Router()
AUTO = "auto"
BUCKETS = (AUTO, *UNITS)
FORMATS = ("json", "csv")


def _named(names: list[str], most: int) -> dict[str, Any]:
    """Keywords for a list of names in the document; the layer checks them."""
    items = {"type": "string", "enum": names}
    return {"json_schema_extra": {"items": items, "maxItems": most, "uniqueItems": True}}


class QueryIn(ScopeIn):  # type: ignore[misc] # mypy does not know made models
    """What is asked."""

    metric: list[str] = Field(
        description=f"1 to {layer.MAX_METRICS} metrics.",
        **_named(list(METRICS), layer.MAX_METRICS),
    )
    by: list[str] = Field(
        [],
        description="At most two dimensions that all of the metrics have; over time at most one. "
        f"There may be up to {MAX_GROUPS:,} combinations of their values in both periods together.",
        **_named(list(DIMENSIONS), 2),
    )
    buckets: str = Field(
        "",
        description=f"Over time: a series for each row, by {', '.join(UNITS)}, or as {AUTO} what "
        f"suits the period. At most {layer.MAX_BUCKETS} buckets. Default: not over time.",
    )
    compare: str = Field(
        "",
        description="With the figures of the period before (before), or of the same days a year "
        "before (year); not over time. Default: without.",
    )
    sort: str = Field(
        "",
        description=f"A metric of the query, or {layer.LABEL}; -name sorts descending. Default: "
        "the largest first metric first; or the order of the dimension if it has one.",
    )
    limit: int | None = Field(
        None,
        description=f"Return so many rows, and all others as one. At most {layer.MAX_ROWS:,}, and "
        f"at most {layer.MAX_CELLS:,} buckets × rows. Default: {layer.DEFAULT_ROWS}, or fewer if "
        "there are many buckets.",
    )
    format: str = Field("json", description=f"One of {', '.join(FORMATS)}.")


class MetricName(Schema):
    name: str
    title: str
    unit: str


class Days(Schema):
    """A period or bucket."""

    first_day: date
    last_day: date


class RowOut(Schema):
    """Figures by metric, as JSON numbers; null where there is nothing to measure."""

    values: list[str] = Field(description="One for each dimension; empty where records have none.")
    labels: list[str] = Field(description="The same in words for people.")
    figures: dict[str, float | None]
    previous: dict[str, float | None] | None = Field(
        description="Those of the period that it is compared with; null unless asked for."
    )
    series: dict[str, list[float | None]] | None = Field(
        description="One figure for each bucket; null unless over time."
    )


class QueryAnswer(Schema):
    """Rows for the values of the dimensions, or one row without dimensions."""

    metrics: list[MetricName]
    by: list[str]
    period: Days
    previous_period: Days = Field(description="What it is compared with, if asked for.")
    as_of: datetime
    filters: dict[str, list[str]] = Field(description="The filters that were applied.")
    buckets: list[Days]
    rows: list[RowOut]
    other: RowOut | None = Field(
        description="All other rows as one; null if there are none. Medians and percentiles in it "
        "are null by two dimensions."
    )
    others: int = Field(description="The number of other rows.")
    total: RowOut = Field(description="All rows as one.")
    freshness: list[FreshnessOut]


class DimensionOut(Schema):
    """What figures can be filtered by and broken down by."""

    name: str
    title: str
    is_fixed: bool = Field(description="Whether its values are a fixed list, in an order.")
    metrics: list[str] = Field(description="The metrics that have it.")


class ValueOut(Schema):
    """A value of a dimension."""

    value: str
    label: str
    filter: str = Field(description="The value as a filter is written.")
    records: int | None = Field(description="How many records have it; null in a fixed list.")


@router.get(
    "/{tenant_id}/query",
    response={200: QueryAnswer, **ERRORS},
    summary="Metrics by dimensions and over time",
    tags=["metrics"],
    openapi_extra={"responses": {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}},
)
@decorate_view(never_cache)
def query(request: HttpRequest, tenant_id: str, asked: QueryIn = Query(...)) -> Any:  # noqa: B008
    """Several metrics in rows: by dimensions, over time, compared, ordered and limited."""
    tenant = tenant_of(request, tenant_id)
    _check_names(request)
    _check_choice("buckets", asked.buckets, ("", *BUCKETS))
    _check_choice("format", asked.format, FORMATS)
    scope = Scope.of_query(tenant, asked.dict(by_alias=True))
    unit = asked.buckets if asked.buckets in UNITS else ""
    wanted = layer.Query.of(
        asked.metric,
        asked.by,
        replace(scope.period, unit=unit),
        scope.filters,
        sort=asked.sort,
        limit=asked.limit,
        over_time=bool(asked.buckets),
        compare=bool(asked.compare),
    )
    found = run_query(tenant, wanted, scope.as_of, scope.filters)
    if asked.format == "csv":
        label = f"{tenant.id}-query-{wanted.period.start}-{wanted.period.last_day}"
        return csv_download(label, _heading(found), _lines(found), tenant.zone)
    return _answer(found)


def _check_names(request: HttpRequest) -> None:
    """Raise QueryError for a parameter that does not exist, such as a misspelled filter."""
    names = {field.alias or name: name for name, field in QueryIn.model_fields.items()}
    for name in request.GET:
        if name not in names:
            raise QueryError(
                name[:MAX_FILTER_CHARACTERS],
                f"There is no such parameter. Use one of {', '.join(names)}.",
            )


def _check_choice(field: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise QueryError(field, f"Use one of {', '.join(filter(None, valid))}.")


def _answer(found: QueryResult) -> dict[str, Any]:
    first = found.results[0]
    return {
        "metrics": found.query.metrics,
        "by": found.query.by,
        "period": _days(first.period),
        "previous_period": _days(first.period.previous),
        "as_of": first.as_of,
        "filters": filters_out(first.filters),
        "buckets": [_days(bucket) for bucket in found.buckets],
        "rows": [_row(found.query, row) for row in found.rows],
        "other": _row(found.query, found.other) if found.other else None,
        "others": found.others,
        "total": _row(found.query, found.total),
        "freshness": [freshness_out(each) for each in found.freshness],
    }


def _days(period: Any) -> dict[str, date]:
    return {"first_day": period.start, "last_day": period.last_day}


def _row(query: layer.Query, row: Row) -> dict[str, Any]:
    series = [[plain(figure) for figure in each] for each in row.series]
    return {
        "values": row.values,
        "labels": row.labels,
        "figures": _by_name(query, map(plain, row.figures)),
        "previous": _by_name(query, map(plain, row.previous)) if query.compare else None,
        "series": _by_name(query, series) if query.over_time else None,
    }


def _by_name(query: layer.Query, of_metrics: Iterable[Any]) -> dict[str, Any]:
    names = [metric.name for metric in query.metrics]
    return dict(zip(names, of_metrics, strict=True))


# --- CSV: one line for each row, or for each row and bucket


def _heading(found: QueryResult) -> list[str]:
    names = [metric.name for metric in found.query.metrics]
    return [
        *(name for each in found.query.by for name in (each, f"{each}_label")),
        *(("first_day", "last_day") if found.query.over_time else ()),
        *names,
        *(f"{name}_previous" for name in names if found.query.compare),
    ]


def _lines(found: QueryResult) -> Iterator[list[Any]]:
    for row in [*found.rows, *filter(None, [found.other])]:
        cells = _label_cells(found, row)
        if not found.query.over_time:
            yield [*cells, *row.figures, *(row.previous if found.query.compare else ())]
            continue
        for number, bucket in enumerate(found.buckets):
            figures = [each[number] for each in row.series]
            yield [*cells, bucket.start, bucket.last_day, *figures]


def _label_cells(found: QueryResult, row: Row) -> list[str]:
    """The value and the label for each dimension; other rows have only a label."""
    count = len(found.query.by)
    values, labels = [*row.values, "", ""][:count], [*row.labels, "", ""][:count]
    return [cell for pair in zip(values, labels, strict=True) for cell in pair]


# --- Dimensions


@router.get(
    "/{tenant_id}/dimensions", response={200: list[DimensionOut], **ERRORS}, tags=["metrics"]
)
@decorate_view(never_cache)
def dimensions(request: HttpRequest, tenant_id: str) -> list[dict[str, Any]]:
    """All dimensions, and which metrics have them."""
    tenant_of(request, tenant_id)
    return [
        {
            "name": each.name,
            "title": each.title,
            "is_fixed": each.is_ordered,
            "metrics": [name for name, metric in METRICS.items() if each.name in metric.dimensions],
        }
        for each in DIMENSIONS.values()
    ]


@router.get(
    "/{tenant_id}/dimensions/{name}", response={200: list[ValueOut], **ERRORS}, tags=["metrics"]
)
@decorate_view(never_cache)
def values(
    request: HttpRequest,
    tenant_id: str,
    name: str = Path(..., enum=list(DIMENSIONS)),
    q: str = Query("", max_length=MAX_FILTER_CHARACTERS, description="Part of a label."),
    as_of: str = Query("", description="The values as of the end of this day. Default: now."),
    limit: int = Query(100, ge=1, le=MAX_VALUES),
) -> Any:
    """The values of a dimension in the tenant's records, the most used ones first."""
    tenant = tenant_of(request, tenant_id)
    if name not in DIMENSIONS:
        raise NotFound("No such dimension.")
    if "\0" in q:
        raise PeriodError("q", "This is not a valid value.")
    known = as_of_from_query({"as_of": as_of}, tenant.zone, timezone.now())
    return dimension_values(tenant, DIMENSIONS[name], known, q, limit)
