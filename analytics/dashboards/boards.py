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


def figure(name: str) -> Tile:
    return Tile(TileType.FIGURE, (name,), METRICS[name].title)


def chart(*names: str, title: str = "") -> Tile:
    return Tile(TileType.CHART, names, title or METRICS[names[0]].title)


def parts(name: str, by: str = "", title: str = "") -> Tile:
    return Tile(TileType.PARTS, (name,), title or METRICS[name].title, (by,) if by else ())


OVERVIEW = Dashboard(
    "overview",
    "Overview",
    (
        figure("tickets_opened"),
        figure("tickets_closed"),
        figure("backlog"),
        figure("sla_met"),
        figure("resolution_median"),
        figure("hours_worked"),
        figure("utilization"),
        figure("companies_active"),
        chart("tickets_opened", "tickets_closed", title="Tickets opened and closed"),
        chart("backlog"),
        parts("backlog_by_priority"),
        parts("tickets_by_company"),
    ),
)
SERVICE = Dashboard(
    "service",
    "Service",
    (
        figure("tickets_net"),
        figure("close_rate"),
        figure("unassigned"),
        figure("reopened"),
        figure("first_response_median"),
        figure("first_response_p90"),
        figure("resolution_median"),
        figure("resolution_p90"),
        figure("same_day_rate"),
        figure("sla_met"),
        figure("hours_per_ticket"),
        figure("budget_used"),
        figure("backlog"),
        chart("tickets_opened", "tickets_closed", title="Tickets opened and closed"),
        chart("resolution_median", "first_response_median", title="Median times, in hours"),
        parts("backlog_by_age"),
        parts("backlog_by_priority"),
        parts("backlog_by_board"),
        parts("tickets_by_category"),
    ),
)
PEOPLE = Dashboard(
    "people",
    "People & time",
    (
        figure("hours_worked"),
        figure("billable_hours"),
        figure("utilization"),
        figure("after_hours"),
        chart("hours_worked", "billable_hours", title="Hours worked and billable"),
        chart("utilization"),
        chart("time_entry_lag"),
        parts("leader_board"),
        parts("hours_by_technician"),
        parts("nonbillable_by_work_type"),
    ),
)
CUSTOMERS = Dashboard(
    "customers",
    "Customers",
    (
        figure("companies_total"),
        figure("companies_active"),
        figure("companies_new"),
        figure("companies_lost"),
        chart("companies_total", "companies_active", title="Companies, all and active"),
        chart("contacts_per_company"),
        parts("revenue_by_segment"),
        parts("employees_by_segment"),
        parts("tickets_by_company"),
        parts("hours_by_company"),
    ),
)

DASHBOARDS = {each.slug: each for each in (OVERVIEW, SERVICE, PEOPLE, CUSTOMERS)}
