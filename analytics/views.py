"""The tenant's pages. Views parse and render; figures come from `run_metric`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_safe

from analytics import charts, periods, vega
from analytics.metrics import METRICS, Metric, MetricResult, freshness_of, run_metric
from analytics.periods import Period, PeriodError
from analytics.warehouse.errors import WarehouseError
from tenants.access import access_tenant, tenants_of
from tenants.models import Tenant, User

log = logging.getLogger(__name__)

FAILED = "These figures cannot be computed at the moment."
OVERVIEW = ("company_analytics", "company_growth", "ticket_trends")


@dataclass(frozen=True)
class Tile:
    """One metric on a page: its result, or why there is none."""

    metric: Metric
    result: MetricResult | None = None
    error: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever loaded that this tile rests on."""
        return self.result is not None and not self.result.was_loaded


@login_required
@require_safe
@never_cache  # nothing of a tenant's stays behind in a browser that somebody logged out of
def overview(request: HttpRequest, tenant_id: str) -> HttpResponse:
    assert isinstance(request.user, User)
    tenant = access_tenant(request.user, tenant_id)
    now = timezone.now()
    problem = None
    try:
        as_of = periods.as_of_from_query(request.GET, tenant.zone, now)
        # Turned back, "30 days" are the thirty before that date.
        period, chosen = periods.from_query(request.GET, tenant.zone, as_of or now)
    except PeriodError as error:
        problem = error
        period, chosen = periods.from_query({}, tenant.zone, now)
        as_of = None
    tiles = _tiles(tenant, OVERVIEW, period, as_of)
    context = {
        "tenant": tenant,
        "tenants": tenants_of(request.user),
        "period": period,
        "presets": periods.PRESETS,
        "chosen": chosen,
        "as_of": as_of,
        "problem": problem,
        "tiles": tiles,
        "companies": _only_row(tiles["company_analytics"]),
        "charts": _charts(tiles),
        "vega_version": vega.VERSION,
    }
    with timezone.override(tenant.zone):
        return render(request, "analytics/overview.html", context, status=400 if problem else 200)


def _tiles(
    tenant: Tenant, names: Sequence[str], period: Period, as_of: datetime | None
) -> dict[str, Tile]:
    """One failing tile must not take the page down: it says so in its own place."""
    metrics = [METRICS[name] for name in names]
    try:
        freshness = freshness_of(tenant, {table for each in metrics for table in each.tables})
    except WarehouseError:
        log.exception("freshness of %s cannot be read", tenant.id)
        return {metric.name: Tile(metric, error=FAILED) for metric in metrics}

    def tile(metric: Metric) -> Tile:
        try:
            return Tile(metric, run_metric(tenant, metric.name, period, as_of, freshness))
        except WarehouseError:
            log.exception("tile %s of %s failed", metric.name, tenant.id)
            return Tile(metric, error=FAILED)

    return {metric.name: tile(metric) for metric in metrics}


def _only_row(tile: Tile) -> dict[str, Any] | None:
    return tile.result.rows[0] if tile.result and not tile.is_empty else None


def _charts(tiles: dict[str, Tile]) -> list[dict[str, Any]]:
    """What the template draws: tile, heading, specification, and the table that says the same."""
    growth, trends = tiles["company_growth"], tiles["ticket_trends"]
    unit = trends.result.period.bucket_unit if trends.result else "day"
    counts = f"Tickets opened and closed per {unit}"
    return [
        _chart("company-growth", "Companies over time", growth, charts.company_growth, {
            "date": "Date", "total_companies": "Total", "active_companies": "Active",
        }),
        _chart("ticket-counts", counts, trends, charts.ticket_counts, {
            "date": "Day", "ticket_count": "Opened", "closed_count": "Closed",
        }),
        _chart("ticket-hours", "Average hours per closed ticket", trends, charts.ticket_hours, {
            "date": "Day", "avg_hours": "Average hours",
        }),
    ]  # fmt: skip


def _chart(
    name: str, heading: str, tile: Tile, draw: charts.Drawing, columns: dict[str, str]
) -> dict[str, Any]:
    chart: dict[str, Any] = {"name": name, "heading": heading, "tile": tile}
    if tile.result is None or tile.is_empty:
        return chart
    chart["columns"] = list(columns.values())
    chart["rows"] = [[row[column] for column in columns] for row in tile.result.rows]
    if any(value is not None for row in chart["rows"] for value in row[1:]):
        chart["spec"] = draw(tile.result.rows, tile.result.period)
    return chart


@require_safe
@cache_control(public=True, max_age=31_536_000, immutable=True)
def vega_script(request: HttpRequest, version: str) -> HttpResponse:
    """The chart library; its version is in the address, so browsers keep it."""
    if version != vega.VERSION:
        raise Http404
    response = HttpResponse(vega.script(), content_type="text/javascript; charset=utf-8")
    response["Content-Encoding"] = "gzip"
    return response
