"""The dashboards: which tiles each page shows."""

from dataclasses import dataclass
from enum import StrEnum

from analytics.metrics import METRICS, Metric, MetricQuery


class TileType(StrEnum):
    FIGURE = "figure"
    CHART = "chart"
    PARTS = "parts"


@dataclass(frozen=True)
class Tile:
    """One figure with its sparkline, a chart of one or two metrics, or a breakdown.

    A breakdown is `by` these dimensions, or by the metric's own.
    """

    type: TileType
    names: tuple[str, ...]
    title: str
    by: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        return "-".join([self.type, *self.names, *self.by]).replace("_", "-")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(METRICS[name] for name in self.names)

    @property
    def queries(self) -> tuple[MetricQuery, ...]:
        """What the tile shows of its metrics; only breakdowns need their parts."""
        by = (self.by or None) if self.type is TileType.PARTS else ()
        return tuple(MetricQuery.named(name, by) for name in self.names)


@dataclass(frozen=True)
class Dashboard:
    slug: str
    title: str
    tiles: tuple[Tile, ...]


def _figure(name: str) -> Tile:
    return Tile(TileType.FIGURE, (name,), METRICS[name].title)


def _chart(*names: str, title: str = "") -> Tile:
    return Tile(TileType.CHART, names, title or METRICS[names[0]].title)


def _parts(name: str) -> Tile:
    return Tile(TileType.PARTS, (name,), METRICS[name].title)


OVERVIEW = Dashboard(
    "overview",
    "Overview",
    (
        _figure("tickets_opened"),
        _figure("tickets_closed"),
        _figure("backlog"),
        _figure("sla_met"),
        _figure("resolution_median"),
        _figure("hours_worked"),
        _figure("utilization"),
        _figure("companies_active"),
        _chart("tickets_opened", "tickets_closed", title="Tickets opened and closed"),
        _chart("backlog"),
        _parts("backlog_by_priority"),
        _parts("tickets_by_company"),
    ),
)
SERVICE = Dashboard(
    "service",
    "Service",
    (
        _figure("tickets_net"),
        _figure("close_rate"),
        _figure("unassigned"),
        _figure("reopened"),
        _figure("first_response_median"),
        _figure("first_response_p90"),
        _figure("resolution_median"),
        _figure("resolution_p90"),
        _figure("same_day_rate"),
        _figure("sla_met"),
        _figure("hours_per_ticket"),
        _figure("backlog"),
        _chart("tickets_opened", "tickets_closed", title="Tickets opened and closed"),
        _chart("resolution_median", "first_response_median", title="Median times, in hours"),
        _parts("backlog_by_age"),
        _parts("backlog_by_priority"),
        _parts("backlog_by_board"),
        _parts("tickets_by_category"),
    ),
)
PEOPLE = Dashboard(
    "people",
    "People & time",
    (
        _figure("hours_worked"),
        _figure("billable_hours"),
        _figure("utilization"),
        _figure("after_hours"),
        _chart("hours_worked", "billable_hours", title="Hours worked and billable"),
        _chart("utilization"),
        _chart("time_entry_lag"),
        _parts("leader_board"),
        _parts("hours_by_technician"),
        _parts("nonbillable_by_work_type"),
    ),
)
CUSTOMERS = Dashboard(
    "customers",
    "Customers",
    (
        _figure("companies_total"),
        _figure("companies_active"),
        _figure("companies_new"),
        _figure("companies_lost"),
        _chart("companies_total", "companies_active", title="Companies, all and active"),
        _chart("contacts_per_company"),
        _parts("revenue_by_segment"),
        _parts("employees_by_segment"),
        _parts("tickets_by_company"),
        _parts("hours_by_company"),
    ),
)

DASHBOARDS = {each.slug: each for each in (OVERVIEW, SERVICE, PEOPLE, CUSTOMERS)}
