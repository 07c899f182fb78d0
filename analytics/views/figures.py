"""One figure in detail: trend, breakdown, definition and data sources."""

from typing import Any

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render

from analytics import links
from analytics.charts import bundle
from analytics.charts import spec as charts
from analytics.dashboards.boards import DASHBOARDS
from analytics.dashboards.scope import Scope
from analytics.metrics import (
    DIMENSIONS,
    METRICS,
    Freshness,
    MetricQuery,
    freshness_of,
)
from analytics.metrics.changes import explain_change
from analytics.periods import PeriodError
from analytics.records import listing
from analytics.views.common import limited, page_context, scope_context, scope_of, tenant_page
from analytics.warehouse.catalog import TABLES
from tenants.models import Tenant


@tenant_page
def catalog(request: HttpRequest, tenant: Tenant) -> HttpResponseBase:
    """Every figure with its definition, grouped by dashboard."""
    groups: dict[str, list[Any]] = {}
    left = dict(METRICS)
    for board in list(DASHBOARDS.values())[1:]:
        names = dict.fromkeys(name for tile in board.tiles for name in tile.names)
        groups[board.title] = [left.pop(name) for name in names if name in left]
    assert not left, f"on no dashboard: {', '.join(left)}"
    context = page_context(request, tenant, "figures") | {"groups": groups}
    return render(request, "analytics/figures.html", context)


@tenant_page
@limited("figures")
def figure(request: HttpRequest, tenant: Tenant, name: str) -> HttpResponseBase:
    if name not in METRICS:
        raise Http404
    scope, problem = scope_of(request, tenant)
    freshness = freshness_of(tenant, TABLES)
    try:
        query = query_of(request, name, scope)
    except ValueError as error:
        problem = problem or PeriodError("by", str(error))
        query = MetricQuery.named(name, _usual_breakdown(name, scope))
    context = page_context(request, tenant, "figures") | scope_context(scope, problem, freshness)
    context |= _figure_context(query, scope, freshness)
    context["crumbs"] = links.way_to_figure(query.metric, scope, context["company_names"])
    if request.GET.get("by"):
        context["other_filters"] |= {"by": query.by}  # so that another period keeps the breakdown
    return render(request, "analytics/figure.html", context, status=400 if problem else 200)


def query_of(request: HttpRequest, name: str, scope: Scope) -> MetricQuery:
    """The figure by the dimensions in the address. Raises ValueError."""
    by = [each for each in request.GET.getlist("by") if each]
    return MetricQuery.named(name, by or _usual_breakdown(name, scope))


def _usual_breakdown(name: str, scope: Scope) -> tuple[str, ...]:
    """What the figure is broken down by unless the user picks: nothing that has only one value."""
    single = [dimension for dimension, values in scope.filters.items() if len(values) == 1]
    return METRICS[name].breakdown_within(single)


def _figure_context(
    query: MetricQuery, scope: Scope, freshness: tuple[Freshness, ...]
) -> dict[str, Any]:
    metric, tenant = query.metric, scope.tenant
    result, found = explain_change(
        tenant, query, scope.period, scope.as_of, scope.filters, freshness
    )
    drill_down = listing.DrillDown(metric, scope.period, scope.filters)
    wanted = listing.listing(TABLES[metric.tables[0]], drill_down=drill_down, as_of=scope.as_of)
    return {
        "metric": metric,
        "result": result,
        "results": [result],
        "reason": found,
        "dimensions": [DIMENSIONS[dimension] for dimension in metric.dimensions],
        "spec": charts.over_time([result], links.bucket_urls([result], scope)),
        "heat_map": charts.heat_map(result, lambda part: links.part_url(result, part, scope))
        if len(query.by) > 1 and result.parts
        else None,
        "vega_version": bundle.VERSION,
        "sources": listing.sources(tenant, wanted),
    }
