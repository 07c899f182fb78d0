"""Every metric, declared once: a measure of a source, in words for users.

A new metric needs a declaration here and, if it measures something new, a value in `sources.py`.
A board (analytics/dashboards/boards.py) shows it; `manage.py metric_catalog` writes the docs.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from analytics.metrics.dimensions import DIMENSIONS, Dimension
from analytics.metrics.sources import SOURCES, Source, Value


class Operation(Enum):
    """How the values of facts become one number. NULL values do not count.

    The median and the 90th percentile are nearest-rank: the smallest value that at least half, or
    nine tenths, of all values do not exceed. They are always a value that occurred.
    """

    COUNT = "count({})"
    SUM = "sum({})"
    # The level is a little lower, since the engine takes the value after an exact boundary.
    MEDIAN = "quantileExact(0.4999999999)({})"
    P90 = "quantileExact(0.8999999999)({})"
    CAPACITY = "uniqExact({}) * toDecimal64({{capacity_hours:String}}, 2)"


class Aggregate(Enum):
    """How a figure is made of its measures: of the first, or of the first and the second."""

    COUNT = "number"
    SUM = "sum"
    DIFFERENCE = "difference"
    SHARE = "share, in percent"
    RATIO = "ratio"
    MEDIAN = "median"
    P90 = "90th percentile"

    @property
    def is_additive(self) -> bool:
        """Whether no facts mean zero, and figures of parts add up to the total."""
        return self in (Aggregate.COUNT, Aggregate.SUM, Aggregate.DIFFERENCE)

    @property
    def is_quotient(self) -> bool:
        return self in (Aggregate.SHARE, Aggregate.RATIO)

    @property
    def is_duration(self) -> bool:
        return self in (Aggregate.MEDIAN, Aggregate.P90)


@dataclass(frozen=True)
class Measure:
    """An operation on a value of a source."""

    operation: Operation
    source_name: str
    value_name: str

    @property
    def source(self) -> Source:
        return SOURCES[self.source_name]

    @property
    def value(self) -> Value:
        return self.source.values[self.value_name]

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of the dimensions that it can be grouped by."""
        allowed = self.value.dimensions
        return tuple(n for n in self.source.dimensions if allowed is None or n in allowed)


@dataclass(frozen=True)
class Metric:
    """A named figure. `description` is its definition for users.

    `breakdown`: the dimension that it is broken down by unless another is chosen. `details`: those
    of its first source that a list of its records shows. `verdict`: for a share, what a record is
    called that is part of it, and one that is not. `good`: which direction is an improvement, "up"
    or "down". `places`: decimals of the figure.
    """

    name: str
    title: str
    unit: str
    description: str
    measures: tuple[Measure, ...]
    aggregate: Aggregate = Aggregate.COUNT
    breakdown: str = ""
    details: tuple[str, ...] = ()
    verdict: tuple[str, str] | None = None
    good: str = ""
    places: int = 0

    @property
    def source(self) -> Source:
        """The source of its records."""
        return self.measures[0].source

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple({each.source.name: each.source for each in self.measures}.values())

    @cached_property
    def is_state(self) -> bool:
        """Whether it is measured at the end of the period, not over it."""
        event = self.measures[0].value.event
        return any(feed.is_state for feed in self.source.feeds if event in feed.events)

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables that it is based on, the one of its records first."""
        return tuple(dict.fromkeys(source.table.name for source in self.sources))

    @cached_property
    def dimensions(self) -> tuple[str, ...]:
        """The names of the dimensions that it can be filtered by and broken down by."""
        first, *others = (each.dimensions for each in self.measures)
        shared = {n for n in first if all(n in other for other in others)}
        return tuple(name for name in DIMENSIONS if name in shared)

    @property
    def usual_breakdown(self) -> tuple[str, ...]:
        """The dimension that answers "for whom?" first: its own, or the first that it has."""
        return (self.breakdown,) if self.breakdown else self.dimensions[:1]

    def breakdown_within(self, filters: Collection[str]) -> tuple[str, ...]:
        """The usual breakdown, or the next dimension if that one is filtered to one value."""
        usual = self.usual_breakdown
        left = [name for name in self.dimensions if name not in filters and name != "contact"]
        return tuple(left[:1]) if set(usual) & set(filters) and left else usual

    @property
    def default_dimension(self) -> Dimension | None:
        return DIMENSIONS[self.breakdown] if self.breakdown else None


def _count(source: str, value: str) -> Measure:
    return Measure(Operation.COUNT, source, value)


def _sum(source: str, value: str) -> Measure:
    return Measure(Operation.SUM, source, value)


def _tickets(value: str) -> Measure:
    return _count("tickets", value)


OPENED, CLOSED, REOPENED = map(_tickets, ("opened", "closed", "reopened"))
OPEN = _count("open_tickets", "open")
HOURS = _sum("time_entries", "hours")
BILLABLE = _sum("time_entries", "billable_hours")
ACTIVE = _count("companies", "active_company")
_SLA_DETAILS = (
    "response_time",
    "response_target",
    "resolution_time",
    "resolution_target",
    "over_target",
)

_AT_END = "at the end of the period"
_AT_CLOSING = "Owner, board and priority are those at the time of closing."
_REOPENED = "Tickets reopened later do not count as closed."
_RANK = "{} of them took this long or less"


def _of_tickets(
    name: str, title: str, description: str, *measures: Measure, **more: object
) -> Metric:
    options = {"unit": "tickets", "measures": measures} | more
    return Metric(name=name, title=title, description=description, **options)  # type: ignore[arg-type]


def _of_entries(
    name: str, title: str, description: str, *measures: Measure, **more: object
) -> Metric:
    options = {
        "unit": "hours",
        "measures": measures,
        "aggregate": Aggregate.SUM,
        "places": 1,
    } | more
    return Metric(name=name, title=title, description=description, **options)  # type: ignore[arg-type]


def _of_companies(
    name: str, title: str, description: str, *measures: Measure, **more: object
) -> Metric:
    options = {"unit": "companies", "measures": measures} | more
    return Metric(name=name, title=title, description=description, **options)  # type: ignore[arg-type]


_ALL = (
    _of_tickets(
        "tickets_opened",
        "Tickets opened",
        "Tickets opened in the period (by created_date).",
        OPENED,
    ),
    _of_tickets(
        "tickets_closed",
        "Tickets closed",
        f"Tickets closed in the period (by closed_date). {_REOPENED} {_AT_CLOSING}",
        CLOSED,
        good="up",
    ),
    _of_tickets(
        "tickets_net",
        "Net tickets",
        "Tickets opened minus tickets closed. Above zero, the backlog is growing.",
        OPENED,
        CLOSED,
        aggregate=Aggregate.DIFFERENCE,
        good="down",
    ),
    _of_tickets(
        "close_rate",
        "Close rate",
        "Tickets closed in the period per 100 opened in it. Above 100 %, the backlog is shrinking.",
        CLOSED,
        OPENED,
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
        OPEN,
        good="down",
        details=("days_open",),
    ),
    _of_tickets(
        "backlog_by_age",
        "Open tickets by age",
        f"Tickets without a closing date {_AT_END}, by the time since they were opened. Each age "
        "range includes its lower bound but not its upper bound.",
        OPEN,
        breakdown="age",
        good="down",
        details=("days_open",),
    ),
    _of_tickets(
        "backlog_by_priority",
        "Open tickets by priority",
        f"Tickets without a closing date {_AT_END}, by their priority at that time.",
        OPEN,
        breakdown="priority",
        good="down",
        details=("days_open",),
    ),
    _of_tickets(
        "backlog_by_board",
        "Open tickets by board",
        f"Tickets without a closing date {_AT_END}, by their board at that time.",
        OPEN,
        breakdown="board",
        good="down",
        details=("days_open",),
    ),
    _of_tickets(
        "unassigned",
        "New and unassigned",
        f"Tickets without a closing date and without an owner {_AT_END}.",
        _count("open_tickets", "unassigned"),
        good="down",
        details=("days_open",),
    ),
    _of_tickets(
        "first_response_median",
        "Time to first response, median",
        "Time from opening a ticket to its first response, for tickets first answered in the "
        f"period: {_RANK.format('half')}. Nights and weekends count.",
        Measure(Operation.MEDIAN, "tickets", "response_time"),
        unit="hours",
        aggregate=Aggregate.MEDIAN,
        good="down",
        places=2,
        details=("response_time",),
    ),
    _of_tickets(
        "first_response_p90",
        "Time to first response, 90th percentile",
        "Time from opening a ticket to its first response, for tickets first answered in the "
        f"period: {_RANK.format('nine in ten')}. Nights and weekends count.",
        Measure(Operation.P90, "tickets", "response_time"),
        unit="hours",
        aggregate=Aggregate.P90,
        good="down",
        places=2,
        details=("response_time",),
    ),
    _of_tickets(
        "resolution_median",
        "Time to resolution, median",
        "Time from opening a ticket to closing it, for tickets closed in the period: "
        f"{_RANK.format('half')}. Nights and weekends count. {_REOPENED}",
        Measure(Operation.MEDIAN, "tickets", "resolution_time"),
        unit="hours",
        aggregate=Aggregate.MEDIAN,
        good="down",
        places=2,
        details=("resolution_time",),
    ),
    _of_tickets(
        "resolution_p90",
        "Time to resolution, 90th percentile",
        "Time from opening a ticket to closing it, for tickets closed in the period: "
        f"{_RANK.format('nine in ten')}. Nights and weekends count. {_REOPENED}",
        Measure(Operation.P90, "tickets", "resolution_time"),
        unit="hours",
        aggregate=Aggregate.P90,
        good="down",
        places=2,
        details=("resolution_time",),
    ),
    _of_tickets(
        "same_day_rate",
        "Closed on the same day",
        "Share of the tickets closed in the period that were closed on the day they were opened, "
        "in your time zone.",
        _sum("tickets", "same_day"),
        _tickets("same_day"),
        unit="%",
        aggregate=Aggregate.SHARE,
        good="up",
        details=("resolution_time",),
        verdict=("Same day", "Later"),
        places=1,
    ),
    _of_tickets(
        "reopened",
        "Tickets reopened",
        "How often closed tickets were opened again in the period. A ticket can be reopened more "
        "than once.",
        REOPENED,
        good="down",
    ),
    _of_tickets(
        "tickets_by_company",
        "Tickets by company",
        "Tickets opened in the period, by the current name of their company.",
        OPENED,
        breakdown="company",
    ),
    _of_tickets(
        "tickets_by_category",
        "Tickets by category",
        "Tickets opened in the period, by type and subtype.",
        OPENED,
        breakdown="category",
    ),
    _of_tickets(
        "sla_met",
        "SLA met",
        "Share of the tickets closed in the period that met both targets of their priority, for "
        "first response and for resolution. Priorities without targets do not count. For a ticket "
        "without a first response, the closing counts as the response. Targets are in hours, "
        "nights and weekends included; the priority is that at the time of closing.",
        _sum("tickets", "sla_met"),
        _tickets("sla_met"),
        unit="%",
        aggregate=Aggregate.SHARE,
        good="up",
        places=1,
        details=_SLA_DETAILS,
        verdict=("Met", "Missed"),
    ),
    _of_tickets(
        "hours_per_ticket",
        "Hours per closed ticket",
        "Mean actual hours of the tickets closed in the period, as of their closing. Tickets "
        "without hours do not count.",
        _sum("tickets", "effort"),
        _tickets("effort"),
        unit="hours",
        aggregate=Aggregate.RATIO,
        good="down",
        places=2,
    ),
    _of_tickets(
        "budget_used",
        "Hours against budget",
        "Actual hours of the tickets closed in the period, as a share of their budget hours, as of "
        "their closing. Above 100 %, they took more hours than planned. Tickets without a budget "
        "do not count.",
        _sum("tickets", "effort_of_budget"),
        _sum("tickets", "budget"),
        unit="%",
        aggregate=Aggregate.SHARE,
        good="down",
        places=1,
    ),
    _of_tickets(
        "leader_board",
        "Closed by technician",
        f"Tickets closed in the period, by their owner at the time of closing. {_REOPENED}",
        CLOSED,
        breakdown="technician",
        good="up",
    ),
    _of_entries(
        "hours_worked",
        "Hours worked",
        "Actual hours of all time entries, dated by the start of the work.",
        HOURS,
    ),
    _of_entries(
        "hours_by_technician",
        "Hours by technician",
        "Actual hours of all time entries, dated by the start of the work, by technician.",
        HOURS,
        breakdown="technician",
    ),
    _of_entries(
        "hours_by_company",
        "Hours by company",
        "Actual hours of all time entries, dated by the start of the work, by the current name of "
        "their company. Work for no company is shown as not given.",
        HOURS,
        breakdown="company",
    ),
    _of_entries(
        "billable_hours",
        "Billable hours",
        "Actual hours of the time entries whose billable option is Billable.",
        BILLABLE,
        good="up",
    ),
    _of_entries(
        "utilization",
        "Billable utilization",
        "Billable hours as a share of capacity. Capacity is your daily hours for each day on which "
        "a technician recorded any work; days off do not count.",
        BILLABLE,
        Measure(Operation.CAPACITY, "time_entries", "technician_day"),
        unit="%",
        aggregate=Aggregate.SHARE,
        good="up",
    ),
    _of_entries(
        "nonbillable_by_work_type",
        "Non-billable hours by work type",
        "Actual hours of the time entries that are not Billable, by work type.",
        _sum("time_entries", "nonbillable_hours"),
        breakdown="work_type",
        good="down",
    ),
    _of_entries(
        "after_hours",
        "After-hours work",
        "Actual hours of the time entries that begin on a Saturday or Sunday or outside your "
        "business hours, in your time zone.",
        _sum("time_entries", "after_hours"),
        good="down",
    ),
    _of_entries(
        "time_entry_lag",
        "Time-entry lag, median",
        "Time from the end of the work to recording it, for entries made in the period: "
        f"{_RANK.format('half')}.",
        Measure(Operation.MEDIAN, "time_entries", "entry_lag"),
        aggregate=Aggregate.MEDIAN,
        good="down",
        places=2,
        details=("entry_lag",),
    ),
    _of_companies(
        "companies_total",
        "Companies",
        f"Companies that existed {_AT_END}.",
        _count("companies", "company"),
        good="up",
    ),
    _of_companies(
        "companies_active",
        "Active companies",
        f"Companies marked active in the source system {_AT_END}.",
        ACTIVE,
        good="up",
    ),
    _of_companies(
        "companies_new",
        "New companies",
        "Companies created in the period (by created_at), active or not.",
        _count("companies", "created"),
        good="up",
    ),
    _of_companies(
        "companies_lost",
        "Companies lost",
        "How often an active company was marked inactive or removed in the period.",
        _count("companies", "lost"),
        good="down",
    ),
    _of_companies(
        "revenue_by_segment",
        "Revenue by segment",
        f"Annual revenue of the companies active {_AT_END}, by company type, in your currency. "
        "Companies without a known revenue add nothing.",
        _sum("companies", "revenue"),
        unit="revenue",
        aggregate=Aggregate.SUM,
        breakdown="segment",
        good="up",
    ),
    _of_companies(
        "employees_by_segment",
        "Employees by segment",
        f"Employees of the companies active {_AT_END}, by company type. Companies without a known "
        "number add nothing.",
        _sum("companies", "employees"),
        unit="employees",
        aggregate=Aggregate.SUM,
        breakdown="segment",
        good="up",
    ),
    _of_companies(
        "contacts_per_company",
        "Contacts per company",
        f"Active contacts per active company {_AT_END}.",
        _count("contacts", "active_contact"),
        ACTIVE,
        unit="contacts",
        aggregate=Aggregate.RATIO,
        places=2,
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
