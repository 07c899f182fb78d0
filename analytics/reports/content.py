"""The content of a report: figures, trends and breakdowns, computed once and stored.

`Content` is plain data that survives JSON unchanged. So a report can be shown, rendered and
compared later with exactly the same figures, whatever has been loaded since.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Self

from analytics import periods
from analytics.charts import spec
from analytics.charts.spec import Spec, days_of, label_of
from analytics.dashboards.boards import DASHBOARDS, Tile, TileType
from analytics.metrics import (
    DIMENSIONS,
    METRICS,
    Figure,
    Freshness,
    MetricQuery,
    MetricResult,
    all_results,
    freshness_of,
    parse_filters,
)
from analytics.metrics.dimensions import Filters, write_value
from analytics.metrics.names import company_names
from analytics.reports.models import Report, ReportTile
from analytics.templatetags.figures import change, figure
from analytics.views.source_lines import filters_text
from analytics.warehouse.catalog import TABLES
from common.texts import all_printable, words
from tenants.models import Alert, Tenant

Rows = list[list[str]]
RECORD_HEADING = [
    "Tile",
    "Figure",
    "Unit",
    "Label",
    "First day",
    "Last day",
    "Value",
    "Previous period",
]
NOTHING = "Nothing in this period."


@dataclass(frozen=True)
class ScopedTile:
    """A tile with its period and filters."""

    tile: Tile
    period: str
    filters: Filters


@dataclass(frozen=True)
class TileContent:
    """The content of one tile. `rows` are texts for people, `records` exact values for programs.

    `figures` are the exact figures of its metrics, by name, and `first_day`, `last_day` and
    `asked_filters` what they were asked for.
    """

    type: str
    title: str
    period: str
    filters: str
    figure: str
    change: str
    tone: str  # "good", "bad" or ""
    spec: Spec | None
    alt: str
    heading: list[str]
    rows: Rows
    records: list[list[str | None]]
    notes: list[str]
    figures: dict[str, str | None]
    first_day: str
    last_day: str
    asked_filters: dict[str, list[str]]


@dataclass(frozen=True)
class Source:
    """The newest load of a table that the figures are based on."""

    table: str
    load_id: int
    file: str
    file_time: str
    loaded_at: str


@dataclass(frozen=True)
class Content:
    """Instants are ISO 8601 in UTC; `zone` is the time zone for days and for display."""

    tenant: str
    report: str
    period: str
    filters: str
    zone: str
    due_at: str
    as_of: str
    notices: list[str]
    tiles: list[TileContent]
    sources: list[Source]

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        tiles = [TileContent(**tile) for tile in plain["tiles"]]
        sources = [Source(**source) for source in plain["sources"]]
        return cls(**plain | {"tiles": tiles, "sources": sources})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def digest(self) -> str:
        """SHA-256 of the whole content, in hexadecimal digits."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def as_of_instant(self) -> datetime:
        return datetime.fromisoformat(self.as_of)

    def printable(self) -> Self:
        """The same content, of text that every program takes."""
        return self.from_json(all_printable(self.to_json()))


def scoped_tiles(report: Report) -> list[ScopedTile]:
    """The tiles of the report's dashboard, or its selected tiles."""
    board = DASHBOARDS.get(report.dashboard)
    if board is None:
        return selected_tiles(report, report.tiles.all())
    return [ScopedTile(tile, report.period, report.filters) for tile in board.tiles]


def selected_tiles(report: Report, tiles: Iterable[ReportTile]) -> list[ScopedTile]:
    """The report's selected tiles, except those whose metrics or dimensions no longer exist."""
    return [
        ScopedTile(
            Tile(TileType(each.type), tuple(each.metrics), _title(each), _by(each)),
            each.period or report.period,
            report.filters | each.filters,
        )
        for each in tiles
        if all(
            name in METRICS and set(_by(each)) <= {*METRICS[name].dimensions}
            for name in each.metrics
        )
    ]


def _by(tile: ReportTile) -> tuple[str, ...]:
    return (tile.dimension,) if tile.dimension else ()


def _title(tile: ReportTile) -> str:
    """The tile's title on a dashboard, else the titles of its metrics and its dimension."""
    if tile.dimension:
        (name,) = tile.metrics
        return f"{METRICS[name].title} by {DIMENSIONS[tile.dimension].title.lower()}"
    for board in DASHBOARDS.values():
        for known in board.tiles:
            if (known.type, known.names) == (tile.type, tuple(tile.metrics)):
                return known.title
    return " and ".join(METRICS[name].title for name in tile.metrics)


def tables_of(tiles: Sequence[ScopedTile]) -> set[str]:
    return {table for each in tiles for metric in each.tile.metrics for table in metric.tables}


def data_problems(report: Report, tiles: Sequence[ScopedTile], now: datetime) -> list[str]:
    """Why these figures may be stale or wrong, as sentences for readers; [] if they are fine.

    The age of the data is the age of the newest file, since a load without a new file changes
    nothing. Raises WarehouseError.
    """
    tables = tables_of(tiles)
    newest = {each.table_name: each for each in freshness_of(report.tenant, tables)}
    since = report.tenant.loading_since
    found = ["New data is being loaded."] if since and now - since < MAX_LOADING_TIME else []
    for name in sorted(tables):
        fresh = newest.get(name)
        label = words(name)
        if fresh is None:
            found.append(f"{label} have never been loaded.")
        elif (hours := (now - fresh.newest_file_time).total_seconds() / 3600) > (
            report.freshness_hours
        ):
            found.append(
                f"The newest data for {label.lower()} is {hours:,.0f} hours old "
                f"(limit: {report.freshness_hours} hours)."
            )
    faults = Alert.objects.filter(
        tenant=report.tenant, kind__in=_FAULT_TEXTS, subject__in=tables, over_at__isnull=True
    )
    return found + [
        _FAULT_TEXTS[each.kind].format(words(each.subject).lower())
        for each in faults.order_by("subject", "kind")
    ]


# Once a load has taken this long, it has died or will not finish soon.
MAX_LOADING_TIME = timedelta(hours=2)
_FAULT_TEXTS: dict[str, str] = {
    Alert.Kind.LOAD: "The last load of {} failed: newer data may be missing.",
    Alert.Kind.INTEGRITY: "The last check of {} found errors that are not fixed yet.",
}


def compose(
    report: Report,
    tiles: Sequence[ScopedTile],
    due_at: datetime,
    as_of: datetime,
    notices: Sequence[str] = (),
) -> Content:
    """The content of `tiles` as of `as_of`; periods such as "last week" are relative to `due_at`.

    `tiles` are those of the report, or of a draft. Raises WarehouseError: a report with missing
    figures is never made.
    """
    tenant = report.tenant
    freshness = freshness_of(tenant, TABLES)
    describe = _filter_describer(tenant, as_of, freshness)
    source_tables = tables_of(tiles)
    composed = Content(
        tenant=tenant.name,
        report=report.name,
        period=_days(tenant, report.period, due_at),
        filters=describe(report.filters),
        zone=tenant.time_zone,
        due_at=_iso(due_at),
        as_of=_iso(as_of),
        notices=list(notices),
        tiles=[
            _tile(tenant, each, due_at, results, describe)
            for each, results in zip(
                tiles, _results(tenant, tiles, due_at, as_of, freshness), strict=True
            )
        ],
        sources=[
            Source(
                each.table_name,
                each.load_id,
                each.file_name,
                _iso(each.newest_file_time),
                _iso(each.finished_at),
            )
            for each in freshness
            if each.table_name in source_tables
        ],
    )
    return composed.printable()


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()


def _days(tenant: Tenant, period: str, due_at: datetime) -> str:
    return days_of(periods.preset(period, tenant.zone, due_at))


def _filter_describer(
    tenant: Tenant, as_of: datetime, freshness: Sequence[Freshness]
) -> Callable[[Filters], str]:
    """A function that describes filters for people, with company names instead of ids."""

    @cache
    def names() -> dict[str, str]:
        return company_names(tenant, as_of, freshness)

    def describe(filters: Filters) -> str:
        found = parse_filters(filters)
        has_company = any(each.dimension == "company" for each in found)
        return filters_text(found, names() if has_company else {})

    return describe


def _results(
    tenant: Tenant,
    tiles: Sequence[ScopedTile],
    due_at: datetime,
    as_of: datetime,
    freshness: Sequence[Freshness],
) -> list[list[MetricResult]]:
    """The figures of each tile; tiles with the same period and filters are asked for at once."""
    groups: dict[str, list[ScopedTile]] = {}
    for each in tiles:
        groups.setdefault(json.dumps([each.period, each.filters], sort_keys=True), []).append(each)
    found: dict[tuple[str, MetricQuery], MetricResult] = {}
    for key, group in groups.items():
        period = periods.preset(group[0].period, tenant.zone, due_at)
        queries = [query for each in group for query in each.tile.queries]
        results = all_results(tenant, queries, period, as_of, group[0].filters, freshness)
        found |= {(key, query): result for query, result in results.items()}
    return [
        [
            found[json.dumps([each.period, each.filters], sort_keys=True), query]
            for query in each.tile.queries
        ]
        for each in tiles
    ]


def _tile(
    tenant: Tenant,
    scoped: ScopedTile,
    due_at: datetime,
    results: Sequence[MetricResult],
    describe: Callable[[Filters], str],
) -> TileContent:
    period = periods.preset(scoped.period, tenant.zone, due_at)
    first = results[0]
    empty = TileContent(
        type=scoped.tile.type.value,
        title=scoped.tile.title,
        period=days_of(period),
        filters=describe(scoped.filters),
        figure=figure(first.metric, first.figure),
        change=change(first),
        tone={True: "good", False: "bad", None: ""}[first.is_welcome],
        spec=None,
        alt="",
        heading=[],
        rows=[],
        records=[],
        notes=_notes(results),
        figures={each.metric.name: _exact(each.figure) for each in results},
        first_day=f"{period.start}",
        last_day=f"{period.last_day}",
        asked_filters={
            each.name: [write_value(value) for value in each.values]
            for each in parse_filters(scoped.filters)
        },
    )
    return _TILE_TYPES[scoped.tile.type](empty, results)


def _notes(results: Sequence[MetricResult]) -> list[str]:
    return [
        f"{each.metric.title}: not filtered by {name}."
        for each in results
        for name in each.ignored_filters
    ]


def _figure_tile(tile: TileContent, results: Sequence[MetricResult]) -> TileContent:
    return replace(tile, records=[_total_record(tile, results[0])])


def _chart_tile(tile: TileContent, results: Sequence[MetricResult]) -> TileContent:
    buckets = [bucket for bucket, _ in results[0].series]
    has_figures = any(value for each in results for _, value in each.series)
    return replace(
        tile,
        spec=spec.over_time(results) if has_figures else None,
        alt=". ".join(_trend_text(each) for each in results) + "." if has_figures else NOTHING,
        heading=["Days", *(each.metric.title for each in results)],
        rows=[
            [days_of(bucket), *(figure(each.metric, each.series[row][1]) for each in results)]
            for row, bucket in enumerate(buckets)
        ],
        records=[
            [
                tile.title,
                each.metric.title,
                each.metric.unit,
                "",
                f"{bucket.start}",
                f"{bucket.last_day}",
                _exact(value),
                None,
            ]
            for each in results
            for bucket, value in each.series
        ],
    )


def _trend_text(result: MetricResult) -> str:
    """A trend in words, for readers who cannot see the chart."""
    known = [(value, bucket) for bucket, value in result.series if value is not None]
    if not known:
        return f"{result.metric.title}: {NOTHING}"
    (low, low_at), (high, high_at) = (
        min(known, key=lambda pair: pair[0]),
        max(known, key=lambda pair: pair[0]),
    )
    metric = result.metric
    when = "at the end of the period" if metric.is_state else "over the period"
    return (
        f"{metric.title}: {figure(metric, result.figure)} {when}, "
        f"lowest {figure(metric, low)} ({days_of(low_at)}), "
        f"highest {figure(metric, high)} ({days_of(high_at)})"
    )


def _parts_tile(tile: TileContent, results: Sequence[MetricResult]) -> TileContent:
    result = results[0]
    metric, period = result.metric, result.period
    notes = [f"Only the first {len(result.parts)} rows are listed."] if result.is_cut else []
    return replace(
        tile,
        alt="" if result.parts else NOTHING,
        heading=[result.breakdown, metric.unit.capitalize(), "Previous period"],
        rows=[
            [label_of(part), figure(metric, part.figure), figure(metric, part.previous)]
            for part in result.parts
        ],
        records=[
            [
                tile.title,
                metric.title,
                metric.unit,
                part.label,
                f"{period.start}",
                f"{period.last_day}",
                _exact(part.figure),
                _exact(part.previous),
            ]
            for part in result.parts
        ],
        notes=tile.notes + notes,
    )


def _total_record(tile: TileContent, result: MetricResult) -> list[str | None]:
    period = result.period
    return [
        tile.title,
        result.metric.title,
        result.metric.unit,
        "",
        f"{period.start}",
        f"{period.last_day}",
        _exact(result.figure),
        _exact(result.previous),
    ]


def _exact(value: Figure) -> str | None:
    return None if value is None else str(value)


_TILE_TYPES = {
    TileType.FIGURE: _figure_tile,
    TileType.CHART: _chart_tile,
    TileType.PARTS: _parts_tile,
}
