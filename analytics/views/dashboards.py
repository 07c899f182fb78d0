"""Dashboards. Tiles are computed in parallel, and each is sent as soon as it is ready."""

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import timezone

from analytics.charts import bundle, spec
from analytics.dashboards.boards import DASHBOARDS, OVERVIEW, Dashboard, Tile, TileType
from analytics.dashboards.choices import choices
from analytics.dashboards.scope import Scope
from analytics.metrics import CacheMiss, Freshness, MetricResult, freshness_of, run_metric
from analytics.views.common import FAILED, page_context, scope_context, scope_of, tenant_page
from analytics.warehouse.catalog import TABLES
from tenants.models import Tenant

log = logging.getLogger(__name__)

PARALLEL_QUERIES = 4
TILES_GO_HERE = "<!-- tiles -->"
MAX_PARTS = 8


@tenant_page
def dashboard(request: HttpRequest, tenant: Tenant, slug: str = OVERVIEW.slug) -> HttpResponseBase:
    board = DASHBOARDS.get(slug)
    if board is None:
        raise Http404
    context = page_context(request, tenant, slug) | {"dashboard": board}
    freshness = freshness_of(tenant, TABLES)
    offered = choices(tenant, freshness)
    if not freshness:
        return render(request, "analytics/welcome.html", context)
    scope, problem = scope_of(request, tenant)
    context |= scope_context(scope, problem)
    context |= {"choices": offered, "vega_version": bundle.VERSION, "tiles_go_here": TILES_GO_HERE}
    page = render_to_string("analytics/dashboard.html", context, request)
    response = StreamingHttpResponse(
        _streamed(page, board, scope, freshness), status=400 if problem else 200
    )
    response["X-Accel-Buffering"] = "no"  # else nginx would buffer the tiles until the last is done
    return response


def _streamed(
    page: str, board: Dashboard, scope: Scope, freshness: tuple[Freshness, ...]
) -> Iterator[str]:
    """The page up to its tiles, each tile as its figures arrive, and the rest.

    Tiles may come in any order, since each names its slot.
    """
    before, after = page.split(TILES_GO_HERE)
    yield before
    waiting = list(board.tiles)
    results_by_name: dict[str, MetricResult | None] = {}
    for name, result in _results(board, scope, freshness):
        results_by_name[name] = result
        for tile in [each for each in waiting if results_by_name.keys() >= set(each.names)]:
            waiting.remove(tile)
            yield _rendered(tile, results_by_name, scope)
    yield after


def _results(
    board: Dashboard, scope: Scope, freshness: tuple[Freshness, ...]
) -> Iterator[tuple[str, MetricResult | None]]:
    """Every metric of the dashboard: first the cached ones, then the others as they finish."""
    missing = []
    for name in dict.fromkeys(name for tile in board.tiles for name in tile.names):
        try:
            yield name, _query(name, scope, freshness, only_cached=True)
        except CacheMiss:
            missing.append(name)
    if not missing:
        return
    with ThreadPoolExecutor(PARALLEL_QUERIES) as threads:
        futures = {threads.submit(_try_query, name, scope, freshness): name for name in missing}
        try:
            for done in as_completed(futures):
                yield futures[done], done.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)  # the reader may have gone


def _try_query(name: str, scope: Scope, freshness: tuple[Freshness, ...]) -> MetricResult | None:
    """The result, or None if it failed, so that only its own tile fails."""
    try:
        return _query(name, scope, freshness)
    except Exception:
        log.exception("tile %s of %s failed", name, scope.tenant.id)
        return None


def _query(
    name: str, scope: Scope, freshness: tuple[Freshness, ...], *, only_cached: bool = False
) -> MetricResult:
    return run_metric(
        scope.tenant,
        name,
        scope.period,
        scope.as_of,
        scope.filters,
        freshness,
        only_cached=only_cached,
    )


def _rendered(tile: Tile, results_by_name: Mapping[str, MetricResult | None], scope: Scope) -> str:
    results = [result for name in tile.names if (result := results_by_name[name]) is not None]
    context: dict[str, Any] = {
        "tile": tile,
        "scope": scope,
        "tenant": scope.tenant,
        "result": results[0] if results else None,
        "results": results,
        "error": FAILED if len(results) < len(tile.names) else "",
    }
    if tile.type is TileType.CHART and not context["error"]:
        context["spec"] = spec.over_time(results)
    if tile.type is TileType.PARTS and results:
        context["parts"] = results[0].parts[:MAX_PARTS]
    with timezone.override(scope.tenant.zone):
        return render_to_string(f"analytics/tiles/{tile.type}.html", context)
