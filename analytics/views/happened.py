"""What happened: the largest movements of a dashboard's figures, in sentences."""

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render

from analytics import links
from analytics.dashboards.boards import DASHBOARDS
from analytics.metrics import freshness_of
from analytics.metrics.movements import THRESHOLD, explained, largest_movements
from analytics.views.common import limited, page_context, scope_context, scope_of, tenant_page
from analytics.warehouse.catalog import TABLES
from tenants.models import Tenant


@tenant_page
@limited("figures")
def happened(request: HttpRequest, tenant: Tenant, slug: str) -> HttpResponseBase:
    """The sentences for the scope in the address: for a script, or as a page without one."""
    board = DASHBOARDS.get(slug)
    if board is None:
        raise Http404
    scope, problem = scope_of(request, tenant)
    freshness = freshness_of(tenant, TABLES)
    metrics = [metric for tile in board.tiles for metric in tile.metrics]
    asked = (scope.period, scope.as_of, scope.filters, freshness)
    found = largest_movements(tenant, metrics, *asked) if freshness else []
    context = {
        "movements": [explained(tenant, each, *asked) for each in found],
        "threshold": THRESHOLD,
        "scope": scope,
        "period": scope.period,
    }
    if request.headers.get("X-Requested-With") == "fetch":
        return render(request, "analytics/happened_list.html", context)
    context |= page_context(request, tenant, slug) | {"dashboard": board}
    context |= scope_context(scope, problem, freshness)
    context["crumbs"] = [links.Crumb(board.title, links.dashboard_url(tenant, slug, scope))]
    return render(request, "analytics/happened.html", context, status=400 if problem else 200)
