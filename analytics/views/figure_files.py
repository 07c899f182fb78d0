"""Figures as files: tables (CSV, XLSX) and pictures (PNG, SVG), each with what it covers."""

from collections.abc import Sequence

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from analytics.charts import render as drawing
from analytics.charts import spec as charts
from analytics.dashboards.scope import Scope
from analytics.metrics import METRICS, MetricQuery, MetricResult, all_results
from analytics.views.common import limited, scope_of, tenant_page
from analytics.views.downloads import (
    bad_download,
    csv_download,
    rendered_download,
    workbook_download,
)
from analytics.views.figures import query_of
from analytics.views.source_lines import figures_line
from analytics.views.workbooks import parts_table, series_table, workbook
from tenants.models import Tenant

KINDS = ("csv", "xlsx", "png", "svg")
SERIES, PARTS = "series", "parts"
MAX_METRICS = 2  # of one chart


@tenant_page
@limited("export")
def figure_file(request: HttpRequest, tenant: Tenant, name: str, kind: str) -> HttpResponseBase:
    """A figure's trend (`of=series`) or breakdown (`of=parts`). A workbook has both."""
    if name not in METRICS or kind not in KINDS:
        raise Http404
    of = SERIES if request.GET.get("of") == SERIES else PARTS
    scope, problem = scope_of(request, tenant)
    if problem:
        return bad_download(problem.field, problem.message)
    try:
        query = query_of(request, name, scope)
        if of == SERIES and kind != "xlsx":
            query = MetricQuery.named(name, ())
    except ValueError as error:
        return bad_download("by", str(error))
    return _file(scope, [query], kind, of, name)


@tenant_page
@limited("export")
def chart_file(request: HttpRequest, tenant: Tenant, kind: str) -> HttpResponseBase:
    """What a tile shows: `metric`, at most two over time, or one with `of=parts` and `by`."""
    names = request.GET.getlist("metric")
    if kind not in KINDS or not names or not set(names) <= METRICS.keys():
        raise Http404
    of = PARTS if request.GET.get("of") == PARTS else SERIES
    if len(names) > (1 if of == PARTS else MAX_METRICS):
        return bad_download("metric", "A chart shows one breakdown, or two metrics over time.")
    scope, problem = scope_of(request, tenant)
    if problem:
        return bad_download(problem.field, problem.message)
    try:
        queries = [query_of(request, names[0], scope)] if of == PARTS else [
            MetricQuery.named(each, ()) for each in names
        ]  # fmt: skip
    except ValueError as error:
        return bad_download("by", str(error))
    return _file(scope, queries, kind, of, "-".join(names))


def _file(
    scope: Scope,
    queries: Sequence[MetricQuery],
    kind: str,
    of: str,
    name: str,
) -> HttpResponseBase:
    tenant = scope.tenant
    found = all_results(tenant, queries, scope.period, scope.as_of, scope.filters)
    results = [found[query] for query in queries]
    label = f"{tenant.id}-{name}-{scope.period.start}-{scope.period.last_day}"
    if kind == "xlsx":
        return workbook_download(label, workbook(tenant, results), tenant.zone)
    if kind == "csv":
        table = parts_table(results[0]) if of == PARTS else series_table(results)
        return csv_download(label, *table, tenant.zone)
    return _picture(tenant, results, kind, of, label)


def _picture(
    tenant: Tenant, results: Sequence[MetricResult], kind: str, of: str, label: str
) -> HttpResponse:
    first = results[0]
    title = " and ".join(each.metric.title for each in results)
    if of == SERIES:
        spec = charts.over_time(results)
    else:
        spec = charts.heat_map(first) if len(first.by) > 1 else charts.by_part(first)
        title = f"{title} by {first.breakdown.lower()}"
    units = " and ".join(dict.fromkeys(each.metric.unit for each in results))
    heading, source = f"{title}, {units}", figures_line(tenant, first)
    if kind == "png":
        make = lambda: drawing.png(spec, heading, source)  # noqa: E731
        return rendered_download(make, "image/png", f"{label}.png")
    return rendered_download(
        lambda: drawing.svg(spec, heading, source).encode(), "image/svg+xml", f"{label}.svg"
    )
