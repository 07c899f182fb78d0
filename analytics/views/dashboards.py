"""Dashboards, whose tiles are computed side by side and sent as each is ready."""

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
from analytics.metrics import Freshness, MetricResult, NotCached, freshness_of, run_metric
from analytics.views.common import FAILED, page_context, scope_context, scope_of, tenant_page
from analytics.warehouse.catalog import TABLES
from tenants.models import Tenant

log = logging.getLogger(__name__)

SIDE_BY_SIDE = 4
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
    response["X-Accel-Buffering"] = "no"  # nginx would hold the tiles back until the last is done
    return response


def _streamed(
    page: str, board: Dashboard, scope: Scope, freshness: tuple[Freshness, ...]
) -> Iterator[str]:
    """The page up to its tiles, each tile as its figures arrive, and the rest.

    Tiles may come in any order: each names the slot that it belongs into.
    """
    before, after = page.split(TILES_GO_HERE)
    yield before
    waiting = list(board.tiles)
    answers: dict[str, MetricResult | None] = {}
    for name, answer in _answers(board, scope, freshness):
        answers[name] = answer
        for tile in [each for each in waiting if answers.keys() >= set(each.names)]:
            waiting.remove(tile)
            yield _rendered(tile, answers, scope)
    yield after


def _answers(
    board: Dashboard, scope: Scope, freshness: tuple[Freshness, ...]
) -> Iterator[tuple[str, MetricResult | None]]:
    """Every metric of the board: first those whose answer is kept, then as they are computed."""
    missing = []
    for name in dict.fromkeys(name for tile in board.tiles for name in tile.names):
        try:
            yield name, _ask(name, scope, freshness, only_kept=True)
        except NotCached:
            missing.append(name)
    if not missing:
        return
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        asked = {threads.submit(_answer, name, scope, freshness): name for name in missing}
        try:
            for done in as_completed(asked):
                yield asked[done], done.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)  # the reader may have gone


def _answer(name: str, scope: Scope, freshness: tuple[Freshness, ...]) -> MetricResult | None:
    """None if it failed: that takes down its own tile only."""
    try:
        return _ask(name, scope, freshness)
    except Exception:
        log.exception("tile %s of %s failed", name, scope.tenant.id)
        return None


def _ask(
    name: str, scope: Scope, freshness: tuple[Freshness, ...], *, only_kept: bool = False
) -> MetricResult:
    return run_metric(
        scope.tenant,
        name,
        scope.period,
        scope.as_of,
        scope.filters,
        freshness,
        only_kept=only_kept,
    )


def _rendered(tile: Tile, answers: Mapping[str, MetricResult | None], scope: Scope) -> str:
    results = [result for name in tile.names if (result := answers[name]) is not None]
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
