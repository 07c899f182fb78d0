"""Sources: the facts that metrics measure, each with its dimensions and values.

A source has *events*: something that happens at an instant, such as the closing of a ticket, or
that is so at an instant, such as an open ticket at the end of a day. Each event has an instant
(`at`) and the columns of one version of a record: tickets closed have the owner and priority of
their closing, open tickets those of the instant. *Values* are what measures count, sum or rank:
NULL in facts that do not count. *Dimensions* are what facts are filtered and grouped by. *Details*
are what a list of records shows of each fact.

`statement.py` builds statements from these expressions. Parameters: `as_of`; `first_at` and
`last_at`, the limits of the facts that are needed; `instants`, at which states are measured;
`zone`, the tenant's time zone; and the tenant's targets and hours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from analytics.metrics.dimensions import AGES
from analytics.warehouse.catalog import COMPANIES, CONTACTS, TICKETS, TIME_ENTRIES, Table
from analytics.warehouse.sql import tenant_rows

_INSTANT = "DateTime64(3, 'UTC')"
AS_OF = f"{{as_of:{_INSTANT}}}"
FIRST, LAST = f"{{first_at:{_INSTANT}}}", f"{{last_at:{_INSTANT}}}"
INSTANTS = f"{{instants:Array({_INSTANT})}}"
ZONE = "{zone:String}"
_KNOWN = f"effective_date <= {AS_OF}"
VALID = f"{_KNOWN} AND expiry_date > {AS_OF}"


@dataclass(frozen=True)
class Value:
    """What a fact of `event` counts as. `dimensions`: what it can be grouped by, if not by all."""

    event: str
    sql: str
    dimensions: tuple[str, ...] | None = None


class DetailKind(StrEnum):
    DURATION = "duration"  # milliseconds
    DAYS = "days"


@dataclass(frozen=True)
class Detail:
    """A column of a list of records that comes from the fact, not from the record."""

    title: str
    kind: DetailKind
    sql: str


class Read(Protocol):
    """A subquery of a tenant's rows of a table: those that are stored, or were at some time."""

    def __call__(self, table: Table, columns: str, where: str, more: str = "") -> str: ...


def stored(table: Table, columns: str, where: str, more: str = "") -> str:
    """The rows as they are stored now."""
    return tenant_rows(table.shared_name, columns, where, more)


class Rows(Protocol):
    """The rows of a feed: a subquery of `columns` of the facts that lie `within` the limits."""

    def __call__(self, columns: str, within: str, read: Read) -> str: ...


@dataclass(frozen=True, eq=False)
class Feed:
    """Rows with one fact for each of `events`, {event: its instant}; of a state, at `instants`."""

    events: Mapping[str, str]
    rows: Rows
    is_state: bool = False


@dataclass(frozen=True, eq=False)
class Source:
    """`company_name` is the name of the company in the record itself."""

    name: str
    table: Table
    feeds: tuple[Feed, ...]
    dimensions: Mapping[str, str]
    values: Mapping[str, Value]
    company_name: str = "company_name"
    details: Mapping[str, Detail] = field(default_factory=dict)


def within(instant: str) -> str:
    return f"{instant} >= {FIRST} AND {instant} < {LAST}"


def _valid(table: Table) -> Rows:
    """The versions valid as of the as-of instant."""
    return lambda columns, within, read: read(table, columns, f"{VALID} AND ({within})")


def _at_instants(table: Table, condition: str = "") -> Rows:
    """The versions valid at any of the instants."""
    return lambda columns, within, read: read(
        table,
        columns,
        f"effective_date <= arrayMax({INSTANTS}) AND expiry_date > arrayMin({INSTANTS}){condition}",
    )


def _closings(columns: str, within: str, read: Read) -> str:
    """Tickets closed as of the as-of instant, as they were when closed.

    That is the first version with the closing date. Tickets reopened by then are not included.
    """
    one_closing = "OVER (PARTITION BY ticket_id, closed_date"
    return read(
        TICKETS,
        columns,
        f"{_KNOWN} AND effective_date < expiry_date AND {within}",
        f" QUALIFY row_number() {one_closing} ORDER BY effective_date) = 1"
        f" AND max(expiry_date) {one_closing}) > {AS_OF}",
    )


def _reopenings(columns: str, within: str, read: Read) -> str:
    """Versions without a closing date right after a version with one."""
    closed = read(
        TICKETS,
        "ticket_id, expiry_date",
        "effective_date < expiry_date AND closed_date IS NOT NULL"
        f" AND expiry_date >= {FIRST} AND expiry_date < {LAST}",
    )
    return read(
        TICKETS,
        columns,
        f"{_KNOWN} AND effective_date < expiry_date AND {within} AND closed_date IS NULL"
        f" AND (ticket_id, effective_date) IN {closed}",
    )


def _losses(columns: str, within: str, read: Read) -> str:
    """Ends of active versions without an active version right after."""
    active = read(
        COMPANIES,
        "company_id, effective_date",
        "effective_date < expiry_date AND is_active",
    )
    return read(
        COMPANIES,
        columns,
        f"effective_date < expiry_date AND is_active AND expiry_date <= {AS_OF} AND {within}"
        f" AND (company_id, expiry_date) NOT IN {active}",
    )


def _texts(**columns: str) -> dict[str, str]:
    """{dimension: expression} of columns that may be NULL."""
    return {name: f"ifNull({column}, '')" for name, column in columns.items()}


# Records without the id of their company have its name, or nothing.
_COMPANY = "coalesce(nullIf(company_id, ''), company_name, '')"
_LOCAL = {
    "weekday": f"toString(toDayOfWeek(at, 0, {ZONE}))",
    "hour": f"toString(toHour(at, {ZONE}))",
}
_TICKET_DIMENSIONS = {
    "company": _COMPANY,
    **_texts(
        contact="contact_name",
        board="board_name",
        priority="priority",
        severity="severity",
        impact="impact",
        urgency="urgency",
        status="status",
    ),
    "category": "arrayStringConcat(arrayFilter(name -> name != '', "
    "[ifNull(type_name, ''), ifNull(subtype_name, '')]), ' / ')",
    **_texts(
        type="type_name",
        subtype="subtype_name",
        item="item_name",
        team="team_name",
        technician="owner_name",
    ),
}


def _since_opening(instant: str) -> str:
    return f"dateDiff('millisecond', created_date, {instant})"


# Targets are in milliseconds; 0 stands for a priority without targets.
_TARGET = "indexOf({sla_priorities:Array(String)}, ifNull(priority, ''))"


def _target_of(duration: str, number: str = "target") -> str:
    return f"arrayElement({{sla_{duration}:Array(Int64)}}, {number})"


_RESPONSE_TARGET = _target_of("response", _TARGET)
_RESOLUTION_TARGET = _target_of("resolution", _TARGET)
# For a ticket without a first response, the closing counts as the response.
_RESPONSE = _since_opening("ifNull(first_response_date, closed_date)")
_RESOLUTION = _since_opening("closed_date")

TICKET_EVENTS = Source(
    name="tickets",
    table=TICKETS,
    feeds=(
        Feed({"opened": "created_date", "answered": "first_response_date"}, _valid(TICKETS)),
        Feed({"closed": "closed_date"}, _closings),
        Feed({"reopened": "effective_date"}, _reopenings),
    ),
    dimensions=_TICKET_DIMENSIONS | _LOCAL,
    values={
        "opened": Value("opened", "1"),
        "closed": Value("closed", "1"),
        "reopened": Value("reopened", "1"),
        "response_time": Value("answered", _since_opening("first_response_date")),
        "resolution_time": Value("closed", _RESOLUTION),
        "same_day": Value("closed", f"toDate(created_date, {ZONE}) = toDate(closed_date, {ZONE})"),
        "sla_met": Value(
            "closed",
            f"if(({_TARGET} AS target) = 0, NULL, {_RESPONSE} <= {_target_of('response')}"
            f" AND {_RESOLUTION} <= {_target_of('resolution')})",
        ),
        "effort": Value("closed", "actual_hours"),
        "budget": Value("closed", "if(budget_hours > 0, budget_hours, NULL)"),
        "effort_of_budget": Value("closed", "if(budget_hours > 0, ifNull(actual_hours, 0), NULL)"),
    },
    details={
        "response_time": Detail("Time to response", DetailKind.DURATION, _RESPONSE),
        "response_target": Detail("Target for response", DetailKind.DURATION, _RESPONSE_TARGET),
        "resolution_time": Detail("Time to resolution", DetailKind.DURATION, _RESOLUTION),
        "resolution_target": Detail(
            "Target for resolution", DetailKind.DURATION, _RESOLUTION_TARGET
        ),
        "over_target": Detail(
            "Over target",
            DetailKind.DURATION,
            f"greatest(0, {_RESPONSE} - {_RESPONSE_TARGET}, {_RESOLUTION} - {_RESOLUTION_TARGET})",
        ),
    },
)

_OPEN_DAYS = f"{_since_opening('at')} / 86400000"
OPEN_TICKETS = Source(
    name="open_tickets",
    table=TICKETS,
    feeds=(Feed({"open": "at"}, _at_instants(TICKETS, " AND closed_date IS NULL"), is_state=True),),
    dimensions=_TICKET_DIMENSIONS
    | {
        "age": f"multiIf({_OPEN_DAYS} < 1, '{AGES[0]}', {_OPEN_DAYS} < 7, '{AGES[1]}', "
        f"{_OPEN_DAYS} < 30, '{AGES[2]}', {_OPEN_DAYS} < 90, '{AGES[3]}', "
        f"{_OPEN_DAYS} >= 90, '{AGES[4]}', '')"
    },
    values={
        "open": Value("open", "1"),
        "unassigned": Value(
            "open", "if(ifNull(owner_id, '') = '' AND ifNull(owner_name, '') = '', 1, NULL)"
        ),
    },
    details={"days_open": Detail("Days open", DetailKind.DAYS, f"toDecimal64({_OPEN_DAYS}, 2)")},
)

_BILLABLE = "lower(ifNull(billable_option, '')) = 'billable'"
_HOURS = "ifNull(actual_hours, 0)"
_MINUTE = f"(toHour(time_start, {ZONE}) * 60 + toMinute(time_start, {ZONE}))"
_LAG = "dateDiff('millisecond', time_end, date_entered)"
TIME_ENTRY_EVENTS = Source(
    name="time_entries",
    table=TIME_ENTRIES,
    feeds=(Feed({"worked": "time_start", "recorded": "date_entered"}, _valid(TIME_ENTRIES)),),
    dimensions={
        "company": _COMPANY,
        **_texts(
            technician="member_name",
            work_type="work_type_name",
            work_role="work_role_name",
            agreement="agreement_name",
            billable="billable_option",
            charged_to="charge_to_type",
        ),
        **_LOCAL,
    },
    values={
        "hours": Value("worked", _HOURS),
        "billable_hours": Value("worked", f"if({_BILLABLE}, {_HOURS}, NULL)"),
        "nonbillable_hours": Value("worked", f"if({_BILLABLE}, NULL, {_HOURS})"),
        "after_hours": Value(
            "worked",
            f"if(toDayOfWeek(time_start, 0, {ZONE}) > 5 OR {_MINUTE} < {{opens_minute:UInt16}}"
            f" OR {_MINUTE} >= {{closes_minute:UInt16}}, {_HOURS}, NULL)",
        ),
        # A technician's local day, which other dimensions would split.
        "technician_day": Value(
            "worked",
            f"cityHash64(ifNull(member_id, ''), ifNull(member_name, ''),"
            f" toDate(time_start, {ZONE}))",
            dimensions=("technician", "weekday"),
        ),
        "entry_lag": Value("recorded", _LAG),
    },
    details={"entry_lag": Detail("Recorded after", DetailKind.DURATION, _LAG)},
)

COMPANY_STATES = Source(
    name="companies",
    table=COMPANIES,
    feeds=(
        Feed({"exists": "at"}, _at_instants(COMPANIES), is_state=True),
        Feed({"created": "created_at"}, _valid(COMPANIES)),
        Feed({"lost": "expiry_date"}, _losses),
    ),
    dimensions={
        "company": "company_id",
        **_texts(
            segment="company_type",
            industry="industry",
            size="size_category",
            status="status",
            territory="territory_name",
            country="country",
        ),
    },
    values={
        "company": Value("exists", "1"),
        "active_company": Value("exists", "if(is_active, 1, NULL)"),
        "revenue": Value("exists", "if(is_active, ifNull(annual_revenue, 0), NULL)"),
        "employees": Value("exists", "if(is_active, ifNull(number_of_employees, 0), NULL)"),
        "created": Value("created", "1"),
        "lost": Value("lost", "1"),
    },
    company_name="name",
)

CONTACT_STATES = Source(
    name="contacts",
    table=CONTACTS,
    feeds=(Feed({"exists": "at"}, _at_instants(CONTACTS), is_state=True),),
    dimensions={
        "company": _COMPANY,
        **_texts(department="department"),
    },
    values={"active_contact": Value("exists", "if(is_active, 1, NULL)")},
)

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        TICKET_EVENTS,
        OPEN_TICKETS,
        TIME_ENTRY_EVENTS,
        COMPANY_STATES,
        CONTACT_STATES,
    )
}
