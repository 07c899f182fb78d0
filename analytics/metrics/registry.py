"""Every metric, declared once. A new one is a declaration here and its `.sql` file.

The file gives *facts*: one row for each thing that counts, with
`key`    the record it is about, in the first of the metric's tables ('' where there is none);
`at`     when it counts: a moment of the period or, for a metric that is a state, one of `instants`;
`value`  what is summed or ranked, or `part` and `whole` of a ratio; nothing where rows are counted;
`label`  what it is broken down by, where the metric has a `breakdown`;
and the columns that the metric's `filters` name. `statement.py` makes figures of them.
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
        """Whether nothing means zero, and figures of parts add up to that of the whole."""
        return self in (Aggregate.COUNT, Aggregate.SUM)

    @property
    def is_duration(self) -> bool:
        return self in (Aggregate.MEDIAN, Aggregate.P90)


# What pages may filter by, and the column of the facts that each compares with.
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
    """A named figure. `description` is its definition as users read it; `tables` are what it rests
    on, that of the facts' keys first.

    `is_state`: measured at the end of the period, not over it. `breakdown`: what its labels are;
    `labels`: their order, where it is not that of the figures. `good`: whether "up" or "down" is
    welcome. `places`: decimals of the figure.
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
_AT_END = "as it was at the end of the period"
_AT_CLOSING = "Owner, board and priority are those at closing."
_REOPENED = "A ticket that was reopened since is not closed."
_RANK = "the smallest time that {} of them did not exceed"


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
        "Tickets by the day on which they were opened (created_date).",
    ),
    _of_tickets(
        "tickets_closed",
        "Tickets closed",
        f"Tickets by the day on which they were closed (closed_date). {_REOPENED} {_AT_CLOSING}",
        good="up",
    ),
    _of_tickets(
        "tickets_net",
        "Net tickets",
        "Tickets opened minus tickets closed: above zero, the backlog grows.",
        aggregate=Aggregate.SUM,
        good="down",
    ),
    _of_tickets(
        "close_rate",
        "Close rate",
        "Tickets closed in the period per hundred opened in it; above 100 %, the backlog shrinks.",
        unit="%",
        aggregate=Aggregate.SHARE,
        good="up",
        places=1,
    ),
    _of_tickets(
        "backlog",
        "Open tickets",
        f"Tickets without a closing date, {_AT_END}: their version of that moment decides. A "
        "ticket is known from the first version that was loaded of it.",
        is_state=True,
        good="down",
    ),
    _of_tickets(
        "backlog_by_age",
        "Open tickets by age",
        f"Tickets without a closing date, {_AT_END}, by the time since they were opened; the bands "
        "hold from their lower bound up to, not including, their upper one.",
        is_state=True,
        breakdown="Age",
        labels=AGES,
        good="down",
    ),
    _of_tickets(
        "backlog_by_priority",
        "Open tickets by priority",
        f"Tickets without a closing date, {_AT_END}, by the priority they had then.",
        is_state=True,
        breakdown="Priority",
        good="down",
    ),
    _of_tickets(
        "backlog_by_board",
        "Open tickets by board",
        f"Tickets without a closing date, {_AT_END}, by the board they were on then.",
        is_state=True,
        breakdown="Board",
        good="down",
    ),
    _of_tickets(
        "unassigned",
        "New and unassigned",
        f"Tickets without a closing date and without an owner, {_AT_END}.",
        is_state=True,
        good="down",
    ),
    _of_tickets(
        "first_response_median",
        "Time to first response, median",
        "From the opening of a ticket to its first response, of tickets first answered in the "
        f"period: {_RANK.format('half')}. Hours run around the clock.",
        unit="hours",
        aggregate=Aggregate.MEDIAN,
        good="down",
        places=2,
    ),
    _of_tickets(
        "first_response_p90",
        "Time to first response, 90th percentile",
        "From the opening of a ticket to its first response, of tickets first answered in the "
        f"period: {_RANK.format('nine of ten')}. Hours run around the clock.",
        unit="hours",
        aggregate=Aggregate.P90,
        good="down",
        places=2,
    ),
    _of_tickets(
        "resolution_median",
        "Time to resolution, median",
        "From the opening of a ticket to its closing, of tickets closed in the period: "
        f"{_RANK.format('half')}. Hours run around the clock. {_REOPENED}",
        unit="hours",
        aggregate=Aggregate.MEDIAN,
        good="down",
        places=2,
    ),
    _of_tickets(
        "resolution_p90",
        "Time to resolution, 90th percentile",
        "From the opening of a ticket to its closing, of tickets closed in the period: "
        f"{_RANK.format('nine of ten')}. Hours run around the clock. {_REOPENED}",
        unit="hours",
        aggregate=Aggregate.P90,
        good="down",
        places=2,
    ),
    _of_tickets(
        "same_day_rate",
        "Closed on the same day",
        "Of the tickets closed in the period, those closed on the day on which they were opened; "
        "days are those of your time zone.",
        unit="%",
        aggregate=Aggregate.SHARE,
        good="up",
        places=1,
    ),
    _of_tickets(
        "reopened",
        "Tickets reopened",
        "How often a ticket lost its closing date, by the moment at which it did; a ticket can be "
        "reopened more than once.",
        good="down",
    ),
    _of_tickets(
        "tickets_by_company",
        "Tickets by company",
        "Tickets opened in the period, by the present name of their company.",
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
        "Of the tickets closed in the period whose priority has targets, those that were answered "
        "and resolved within both. A ticket closed without a first response was answered by its "
        "closing. Targets are hours around the clock, set for each priority; the priority is that "
        "at closing.",
        unit="%",
        aggregate=Aggregate.SHARE,
        good="up",
        places=1,
    ),
    _of_tickets(
        "hours_per_ticket",
        "Hours per closed ticket",
        "Mean of the actual hours of the tickets closed in the period whose hours are known, as "
        "they were at closing.",
        unit="hours",
        aggregate=Aggregate.RATIO,
        good="down",
        places=2,
    ),
    _of_tickets(
        "leader_board",
        "Closed by technician",
        f"Tickets closed in the period, by who owned them then. {_REOPENED}",
        breakdown="Technician",
        good="up",
    ),
    _of_entries(
        "hours_worked",
        "Hours worked",
        "Actual hours of all time entries, by the start of the work.",
    ),
    _of_entries(
        "hours_by_technician",
        "Hours by technician",
        "Actual hours of all time entries, by the start of the work and by who did it.",
        breakdown="Technician",
    ),
    _of_entries(
        "hours_by_company",
        "Hours by company",
        "Actual hours of all time entries, by the start of the work and by the present name of "
        "the company they were for; work for no company is not given.",
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
        "Billable hours as a share of capacity. The capacity is your daily hours for every day on "
        "which a technician recorded any work; days off do not count.",
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
        "From the end of the work to its entry, of entries made in the period: "
        f"{_RANK.format('half')}.",
        aggregate=Aggregate.MEDIAN,
        good="down",
        places=2,
    ),
    _of_companies(
        "companies_total",
        "Companies",
        f"Companies whose record was valid, {_AT_END}.",
        is_state=True,
        good="up",
    ),
    _of_companies(
        "companies_active",
        "Active companies",
        f"Companies that the source system marks active, {_AT_END}.",
        is_state=True,
        good="up",
    ),
    _of_companies(
        "companies_new",
        "New companies",
        "Companies by the day on which they became known (created_at), active or not.",
        good="up",
    ),
    _of_companies(
        "companies_lost",
        "Companies lost",
        "How often a company that was marked active was no longer so, or was gone, by the moment "
        "from which that holds.",
        good="down",
    ),
    _of_companies(
        "revenue_by_segment",
        "Revenue by segment",
        f"Annual revenue of the active companies, {_AT_END}, by company type, in your currency. "
        "Companies without a figure add nothing.",
        unit="revenue",
        aggregate=Aggregate.SUM,
        is_state=True,
        breakdown="Segment",
        good="up",
    ),
    _of_companies(
        "employees_by_segment",
        "Employees by segment",
        f"Employees of the active companies, {_AT_END}, by company type. Companies without a "
        "figure add nothing.",
        unit="employees",
        aggregate=Aggregate.SUM,
        is_state=True,
        breakdown="Segment",
        good="up",
    ),
    _of_companies(
        "contacts_per_company",
        "Contacts per company",
        f"Active contacts for each active company, {_AT_END}.",
        unit="contacts",
        tables=("contacts", "companies"),
        aggregate=Aggregate.RATIO,
        is_state=True,
        places=2,
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
