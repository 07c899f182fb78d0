"""Every metric, declared once. A new metric needs a declaration here and a `.sql` file.

A board (analytics/dashboards/boards.py) shows it; `manage.py metric_catalog` writes the docs.

The file selects *facts*: one row for each thing that counts, with
`key`    its record in the first of the metric's tables ('' if there is none);
`at`     when it counts: a moment of the period or, for a metric that is a state, one of `instants`;
`value`  the number to sum or rank, or `part` and `whole` of a ratio; absent where rows are counted;
`label`  its row of the breakdown, if the metric has a `breakdown`;
and the columns that the metric's `filters` use. `statement.py` computes figures from the facts.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path

STATEMENTS = Path(__file__).parent


class Aggregate(Enum):
    """How facts become a figure. NULL values do not count.

    The median and the 90th percentile are nearest-rank: the smallest value that at least half, or
    nine tenths, of all values do not exceed. They are always a value that occurred.
    """

    COUNT = "count()"
    SUM = "ifNull(sum(value), 0)"
    SHARE = "percent"
    RATIO = "ratio"
    MEDIAN = "median"
    P90 = "p90"

    @property
    def is_additive(self) -> bool:
        """Whether no facts mean zero, and figures of labels add up to the total."""
        return self in (Aggregate.COUNT, Aggregate.SUM)

    @property
    def is_duration(self) -> bool:
        return self in (Aggregate.MEDIAN, Aggregate.P90)


# The filters, and the column of the facts that each compares with.
FILTERS = {
    "company": "company_id",
    "board": "board_name",
    "priority": "priority",
    "team": "team_name",
    "technician": "technician",
}
OF_TICKETS = tuple(FILTERS)
OF_ENTRIES = ("company", "technician")
OF_COMPANIES = ("company",)
OF_TECHNICIANS = ("technician",)


@dataclass(frozen=True)
class Metric:
    """A named figure. `description` is its definition for users. `tables` are its data sources,
    the one with the facts' keys first.

    `is_state`: measured at the end of the period, not over it. `breakdown`: the meaning of its
    labels; `labels`: their order, if not by figure. `good`: which direction is an improvement,
    "up" or "down". `places`: decimals of the figure.
    """

    name: str
    title: str
    unit: str
    description: str
    tables: tuple[str, ...]
    filters: tuple[str, ...]
    aggregate: Aggregate = Aggregate.COUNT
    is_state: bool = False
    breakdown: str = ""
    labels: tuple[str, ...] = ()
    good: str = ""
    places: int = 0

    @cached_property
    def facts(self) -> str:
        return (STATEMENTS / f"{self.name}.sql").read_text()


AGES = ("Under 1 day", "1 to 7 days", "7 to 30 days", "30 to 90 days", "90 days and more")
_AT_END = "at the end of the period"
_AT_CLOSING = "Owner, board and priority are those at the time of closing."
_REOPENED = "Tickets reopened later do not count as closed."
_RANK = "{} of them took this long or less"


def _of_tickets(name: str, title: str, description: str, **more: object) -> Metric:
    options = {"unit": "tickets", "tables": ("tickets",), "filters": OF_TICKETS} | more
    return Metric(name=name, title=title, description=description, **options)  # type: ignore[arg-type]


def _of_entries(name: str, title: str, description: str, **more: object) -> Metric:
    options = {
        "unit": "hours",
        "tables": ("time_entries",),
        "filters": OF_ENTRIES,
        "aggregate": Aggregate.SUM,
        "places": 1,
    } | more
    return Metric(name=name, title=title, description=description, **options)  # type: ignore[arg-type]


def _of_companies(name: str, title: str, description: str, **more: object) -> Metric:
    options = {"unit": "companies", "tables": ("companies",), "filters": OF_COMPANIES} | more
    return Metric(name=name, title=title, description=description, **options)  # type: ignore[arg-type]


_ALL = (
    _of_tickets(
        "tickets_opened",
        "Tickets opened",
        "Tickets opened in the period (by created_date).",
    ),
    _of_tickets(
        "tickets_closed",
        "Tickets closed",
        f"Tickets closed in the period (by closed_date). {_REOPENED} {_AT_CLOSING}",
        good="up",
    ),
    _of_tickets(
        "tickets_net",
        "Net tickets",
        "Tickets opened minus tickets closed. Above zero, the backlog is growing.",
        aggregate=Aggregate.SUM,
        good="down",
    ),
    _of_tickets(
        "close_rate",
        "Close rate",
        "Tickets closed in the period per 100 opened in it. Above 100 %, the backlog is shrinking.",
        unit="%",
        aggregate=Aggregate.SHARE,
        good="up",
        places=1,
    ),
    _of_tickets(
        "backlog",
        "Open tickets",
        f"Tickets without a closing date {_AT_END}. A ticket counts from its first loaded version "
        "on.",
        is_state=True,
        good="down",
    ),
    _of_tickets(
        "backlog_by_age",
        "Open tickets by age",
        f"Tickets without a closing date {_AT_END}, by the time since they were opened. Each age "
        "range includes its lower bound but not its upper bound.",
        is_state=True,
        breakdown="Age",
        labels=AGES,
        good="down",
    ),
    _of_tickets(
        "backlog_by_priority",
        "Open tickets by priority",
        f"Tickets without a closing date {_AT_END}, by their priority at that time.",
        is_state=True,
        breakdown="Priority",
        good="down",
    ),
    _of_tickets(
        "backlog_by_board",
        "Open tickets by board",
        f"Tickets without a closing date {_AT_END}, by their board at that time.",
        is_state=True,
        breakdown="Board",
        good="down",
    ),
    _of_tickets(
        "unassigned",
        "New and unassigned",
        f"Tickets without a closing date and without an owner {_AT_END}.",
        is_state=True,
        good="down",
    ),
    _of_tickets(
        "first_response_median",
        "Time to first response, median",
        "Time from opening a ticket to its first response, for tickets first answered in the "
        f"period: {_RANK.format('half')}. Nights and weekends count.",
        unit="hours",
        aggregate=Aggregate.MEDIAN,
        good="down",
        places=2,
    ),
    _of_tickets(
        "first_response_p90",
        "Time to first response, 90th percentile",
        "Time from opening a ticket to its first response, for tickets first answered in the "
        f"period: {_RANK.format('nine in ten')}. Nights and weekends count.",
        unit="hours",
        aggregate=Aggregate.P90,
        good="down",
        places=2,
    ),
    _of_tickets(
        "resolution_median",
        "Time to resolution, median",
        "Time from opening a ticket to closing it, for tickets closed in the period: "
        f"{_RANK.format('half')}. Nights and weekends count. {_REOPENED}",
        unit="hours",
        aggregate=Aggregate.MEDIAN,
        good="down",
        places=2,
    ),
    _of_tickets(
        "resolution_p90",
        "Time to resolution, 90th percentile",
        "Time from opening a ticket to closing it, for tickets closed in the period: "
        f"{_RANK.format('nine in ten')}. Nights and weekends count. {_REOPENED}",
        unit="hours",
        aggregate=Aggregate.P90,
        good="down",
        places=2,
    ),
    _of_tickets(
        "same_day_rate",
        "Closed on the same day",
        "Share of the tickets closed in the period that were closed on the day they were opened, "
        "in your time zone.",
        unit="%",
        aggregate=Aggregate.SHARE,
        good="up",
        places=1,
    ),
    _of_tickets(
        "reopened",
        "Tickets reopened",
        "How often closed tickets were opened again in the period. A ticket can be reopened more "
        "than once.",
        good="down",
    ),
    _of_tickets(
        "tickets_by_company",
        "Tickets by company",
        "Tickets opened in the period, by the current name of their company.",
        tables=("tickets", "companies"),
        breakdown="Company",
    ),
    _of_tickets(
        "tickets_by_category",
        "Tickets by category",
        "Tickets opened in the period, by type and subtype.",
        breakdown="Category",
    ),
    _of_tickets(
        "sla_met",
        "SLA met",
        "Share of the tickets closed in the period that met both targets of their priority, for "
        "first response and for resolution. Priorities without targets do not count. For a ticket "
        "without a first response, the closing counts as the response. Targets are in hours, "
        "nights and weekends included; the priority is that at the time of closing.",
        unit="%",
        aggregate=Aggregate.SHARE,
        good="up",
        places=1,
    ),
    _of_tickets(
        "hours_per_ticket",
        "Hours per closed ticket",
        "Mean actual hours of the tickets closed in the period, as of their closing. Tickets "
        "without hours do not count.",
        unit="hours",
        aggregate=Aggregate.RATIO,
        good="down",
        places=2,
    ),
    _of_tickets(
        "leader_board",
        "Closed by technician",
        f"Tickets closed in the period, by their owner at the time of closing. {_REOPENED}",
        breakdown="Technician",
        good="up",
    ),
    _of_entries(
        "hours_worked",
        "Hours worked",
        "Actual hours of all time entries, dated by the start of the work.",
    ),
    _of_entries(
        "hours_by_technician",
        "Hours by technician",
        "Actual hours of all time entries, dated by the start of the work, by technician.",
        breakdown="Technician",
    ),
    _of_entries(
        "hours_by_company",
        "Hours by company",
        "Actual hours of all time entries, dated by the start of the work, by the current name of "
        "their company. Work for no company is shown as not given.",
        tables=("time_entries", "companies"),
        breakdown="Company",
    ),
    _of_entries(
        "billable_hours",
        "Billable hours",
        "Actual hours of the time entries whose billable option is Billable.",
        good="up",
    ),
    _of_entries(
        "utilization",
        "Billable utilization",
        "Billable hours as a share of capacity. Capacity is your daily hours for each day on which "
        "a technician recorded any work; days off do not count.",
        unit="%",
        filters=OF_TECHNICIANS,
        aggregate=Aggregate.SHARE,
        good="up",
    ),
    _of_entries(
        "nonbillable_by_work_type",
        "Non-billable hours by work type",
        "Actual hours of the time entries that are not Billable, by work type.",
        breakdown="Work type",
        good="down",
    ),
    _of_entries(
        "after_hours",
        "After-hours work",
        "Actual hours of the time entries that begin on a Saturday or Sunday or outside your "
        "business hours, in your time zone.",
        good="down",
    ),
    _of_entries(
        "time_entry_lag",
        "Time-entry lag, median",
        "Time from the end of the work to recording it, for entries made in the period: "
        f"{_RANK.format('half')}.",
        aggregate=Aggregate.MEDIAN,
        good="down",
        places=2,
    ),
    _of_companies(
        "companies_total",
        "Companies",
        f"Companies that existed {_AT_END}.",
        is_state=True,
        good="up",
    ),
    _of_companies(
        "companies_active",
        "Active companies",
        f"Companies marked active in the source system {_AT_END}.",
        is_state=True,
        good="up",
    ),
    _of_companies(
        "companies_new",
        "New companies",
        "Companies created in the period (by created_at), active or not.",
        good="up",
    ),
    _of_companies(
        "companies_lost",
        "Companies lost",
        "How often an active company was marked inactive or removed in the period.",
        good="down",
    ),
    _of_companies(
        "revenue_by_segment",
        "Revenue by segment",
        f"Annual revenue of the companies active {_AT_END}, by company type, in your currency. "
        "Companies without a known revenue add nothing.",
        unit="revenue",
        aggregate=Aggregate.SUM,
        is_state=True,
        breakdown="Segment",
        good="up",
    ),
    _of_companies(
        "employees_by_segment",
        "Employees by segment",
        f"Employees of the companies active {_AT_END}, by company type. Companies without a known "
        "number add nothing.",
        unit="employees",
        aggregate=Aggregate.SUM,
        is_state=True,
        breakdown="Segment",
        good="up",
    ),
    _of_companies(
        "contacts_per_company",
        "Contacts per company",
        f"Active contacts per active company {_AT_END}.",
        unit="contacts",
        tables=("contacts", "companies"),
        aggregate=Aggregate.RATIO,
        is_state=True,
        places=2,
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
