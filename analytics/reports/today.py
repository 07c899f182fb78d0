"""What a report would show if it were composed from today's data, as of the same instant.

Versions that were loaded since then can change figures of the past, such as late files.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from analytics.dashboards.scope import Moments
from analytics.metrics import METRICS, Figure, Metric, MetricQuery, all_results
from analytics.metrics.differences import Moment
from analytics.metrics.formats import figure_text
from analytics.periods import DAY, Period
from analytics.reports.content import Content, TileContent
from tenants.models import Tenant


@dataclass(frozen=True)
class FigureToday:
    """A figure of a report, as it was sent and as it would be today."""

    metric: Metric
    sent: Figure
    now: Figure

    @property
    def text(self) -> str:
        return figure_text(self.metric, self.now)

    @property
    def is_same(self) -> bool:
        return self.sent == self.now


@dataclass(frozen=True)
class SentFigure:
    """The figure that a report showed. `is_explained`: what is stored still gives it."""

    text: str
    is_explained: bool


def figures_today(tenant: Tenant, content: Content) -> list[list[FigureToday]]:
    """The figures of each tile; those of metrics that no longer exist are left out.

    Tiles with the same period and filters are asked for at once. Raises WarehouseError.
    """
    groups: dict[str, list[int]] = {}
    for number, tile in enumerate(content.tiles):
        groups.setdefault(_question(tile), []).append(number)
    found: list[list[FigureToday]] = [[] for _ in content.tiles]
    for numbers in groups.values():
        tiles = [content.tiles[number] for number in numbers]
        now = _figures(tenant, tiles, content.as_of_instant)
        for number, tile in zip(numbers, tiles, strict=True):
            found[number] = [
                FigureToday(METRICS[name], sent_figure(tile, name), now[name])
                for name in tile.figures
                if name in now
            ]
    return found


def _question(tile: TileContent) -> str:
    return json.dumps([tile.first_day, tile.last_day, tile.asked_filters], sort_keys=True)


def _figures(tenant: Tenant, tiles: Sequence[TileContent], as_of: datetime) -> dict[str, Figure]:
    names = {name: None for tile in tiles for name in tile.figures if name in METRICS}
    queries = [MetricQuery(METRICS[name]) for name in names]
    found = all_results(tenant, queries, _period(tenant, tiles[0]), as_of, tiles[0].asked_filters)
    return {query.metric.name: result.figure for query, result in found.items()}


def sent_figure(tile: TileContent, name: str) -> Figure:
    exact = tile.figures[name]
    if exact is None:
        return None
    return Decimal(exact) if "." in exact else int(exact)


def _period(tenant: Tenant, tile: TileContent) -> Period:
    first, last = date.fromisoformat(tile.first_day), date.fromisoformat(tile.last_day)
    return Period(first, last + DAY, tenant.zone)


def comparison_with_today(tenant: Tenant, content: Content, tile: TileContent) -> Moments:
    """The report's figure, from the loads that it knew, and the same figure from all loads.

    It knew what had been loaded by its as-of instant, and by the newest load that it names: a load
    may finish between the two.
    """
    as_of = content.as_of_instant
    loads = [datetime.fromisoformat(each.loaded_at) for each in content.sources]
    return Moments(
        tenant,
        _period(tenant, tile),
        {name: tuple(values) for name, values in tile.asked_filters.items()},
        Moment(as_of, max([as_of, *loads])),
        Moment(as_of),
    )
