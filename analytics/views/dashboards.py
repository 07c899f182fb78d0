"""Dashboards. Each tile is sent as soon as the statement of its source has been answered."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import timezone

from analytics import links
from analytics.charts import bundle, spec
from analytics.dashboards.boards import DASHBOARDS, OVERVIEW, Dashboard, Tile, TileType
from analytics.dashboards.scope import Scope
from analytics.dashboards.warming import remember
from analytics.metrics import Freshness, MetricQuery, MetricResult, freshness_of, run_metrics
from analytics.views.common import (
    FAILED,
    limited,
    page_context,
    scope_context,
    scope_of,
    tenant_page,
)
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import WarehouseBusy
from tenants.models import Tenant

log = logging.getLogger(__name__)

TILES_GO_HERE = "<!-- tiles -->"
MAX_PARTS = 8
BUSY = "Many figures are being computed for you right now, so this one had to wait for too long."


@tenant_page
@limited("figures")
def dashboard(request: HttpRequest, tenant: Tenant, slug: str = OVERVIEW.slug) -> HttpResponseBase:
    board = DASHBOARDS.get(slug)
    if board is None:
        raise Http404
    context = page_context(request, tenant, slug) | {"dashboard": board}
    freshness = freshness_of(tenant, TABLES)
    if not freshness:
        return render(request, "analytics/welcome.html", context)
    scope, problem = scope_of(request, tenant)
    remember(slug, scope)
    context |= scope_context(scope, problem, freshness)
    return board_page(request, board, scope, freshness, context)


def board_page(
    request: HttpRequest,
    board: Dashboard,
    scope: Scope,
    freshness: tuple[Freshness, ...],
    context: dict[str, Any],
    template: str = "analytics/dashboard.html",
) -> StreamingHttpResponse:
    """The frame that `template` renders with `context`, and the tiles of `board` for `scope`."""
    context |= {"dashboard": board, "vega_version": bundle.VERSION, "tiles_go_here": TILES_GO_HERE}
    results = _results(board, scope, freshness)  # whose statements run while the frame is rendered
    page = render_to_string(template, context, request)
    response = StreamingHttpResponse(
        _streamed(page, board, scope, results), status=400 if context["problem"] else 200
    )
    response["X-Accel-Buffering"] = "no"  # else nginx would buffer the tiles until the last is done
    return response


Results = Iterator[tuple[MetricQuery, MetricResult | Exception]]


def _streamed(page: str, board: Dashboard, scope: Scope, found: Results) -> Iterator[str]:
    """The page up to its tiles, each tile as its figures arrive, and the rest.

    Tiles may come in any order, since each names its slot.
    """
    before, after = page.split(TILES_GO_HERE)
    yield before
    waiting = list(board.tiles)
    results: dict[MetricQuery, MetricResult | Exception] = {}
    for query, result in found:
        if isinstance(result, Exception):
            log.error("%s of %s failed", query.metric.name, scope.tenant.id, exc_info=result)
        results[query] = result
        for tile in [each for each in waiting if results.keys() >= set(each.queries)]:
            waiting.remove(tile)
            yield _rendered(tile, results, scope)
    yield after


def _results(board: Dashboard, scope: Scope, freshness: tuple[Freshness, ...]) -> Results:
    """Every figure of the dashboard, or why it failed, so that only its own tile fails."""
    queries = [query for tile in board.tiles for query in tile.queries]
    return run_metrics(scope.tenant, queries, scope.period, scope.as_of, scope.filters, freshness)


def _rendered(
    tile: Tile, results_by_query: Mapping[MetricQuery, MetricResult | Exception], scope: Scope
) -> str:
    found = [results_by_query[query] for query in tile.queries]
    results = [each for each in found if isinstance(each, MetricResult)]
    is_busy = any(isinstance(each, WarehouseBusy) for each in found)
    context: dict[str, Any] = {
        "tile": tile,
        "scope": scope,
        "tenant": scope.tenant,
        "result": results[0] if results else None,
        "results": results,
        "error": (BUSY if is_busy else FAILED) if len(results) < len(tile.names) else "",
    }
    if tile.type is TileType.CHART and not context["error"]:
        context["spec"] = spec.over_time(results, links.bucket_urls(results, scope))
    if tile.type is TileType.PARTS and results:
        context["parts"] = results[0].parts[:MAX_PARTS]
    with timezone.override(scope.tenant.zone):
        return render_to_string(f"analytics/tiles/{tile.type}.html", context)
