"""The rows of each table: the canonical columns of the data contract, in order.

The annotations are the only declaration; file types and reading back are derived from them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import Annotated, NamedTuple, Union, get_args, get_origin, get_type_hints

Value = str | int | bool | Decimal | None


class Kind(Enum):
    TEXT = "text"
    FLAG = "flag"
    COUNT = "count"
    MONEY = "money"
    HOURS = "hours"
    MOMENT = "moment"


Text = Annotated[str, Kind.TEXT]
Flag = Annotated[bool, Kind.FLAG]
Count = Annotated[int, Kind.COUNT]
Money = Annotated[Decimal, Kind.MONEY]
Hours = Annotated[Decimal, Kind.HOURS]
Moment = Annotated[int, Kind.MOMENT]  # UTC milliseconds


class CompanyRow(NamedTuple):
    company_id: Text
    name: Text
    company_identifier: Text
    domain: Text | None
    website: Text | None
    industry: Text | None
    size_category: Text | None
    company_type: Text
    status: Text
    is_active: Flag
    address_line1: Text | None
    address_line2: Text | None
    city: Text | None
    state: Text | None
    zip: Text | None
    country: Text | None
    phone_number: Text | None
    territory_name: Text | None
    number_of_employees: Count | None
    annual_revenue: Money | None
    created_at: Moment
    updated_at: Moment
    last_updated_by: Text


class ContactRow(NamedTuple):
    contact_id: Text
    company_id: Text
    company_name: Text
    first_name: Text
    last_name: Text
    title: Text | None
    department: Text | None
    email: Text | None
    phone_number: Text | None
    city: Text | None
    state: Text | None
    country: Text | None
    is_active: Flag
    created_at: Moment
    updated_at: Moment


class TicketRow(NamedTuple):
    ticket_id: Text
    ticket_number: Text
    summary: Text
    description: Text | None
    status: Text
    priority: Text
    severity: Text
    impact: Text
    urgency: Text
    company_id: Text
    company_name: Text
    contact_id: Text | None
    contact_name: Text | None
    board_name: Text
    type_name: Text
    subtype_name: Text
    item_name: Text | None
    team_name: Text
    owner_id: Text | None
    owner_name: Text | None
    created_by: Text
    created_date: Moment
    required_date: Moment | None
    first_response_date: Moment | None
    closed_date: Moment | None
    closed_by: Text | None
    budget_hours: Hours | None
    actual_hours: Hours
    approved: Flag | None
    updated_at: Moment
    last_updated_by: Text


class TimeEntryRow(NamedTuple):
    entry_id: Text
    company_id: Text | None
    company_name: Text | None
    ticket_id: Text | None
    charge_to_type: Text
    member_id: Text
    member_name: Text
    work_type_name: Text
    work_role_name: Text
    agreement_name: Text | None
    billable_option: Text
    time_start: Moment
    time_end: Moment
    actual_hours: Hours
    hours_deduct: Hours | None
    notes: Text | None
    date_entered: Moment
    entered_by: Text
    updated_at: Moment


Row = CompanyRow | ContactRow | TicketRow | TimeEntryRow


@dataclass(frozen=True, slots=True)
class Column:
    """A column, with its other name (and negation) in the files of an aliased tenant."""

    name: str
    kind: Kind
    alias: str
    alias_negated: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    row: type[Row]
    columns: tuple[Column, ...]


_ALIASES = {
    "companies": {
        "company_id": "id",
        "name": "company_name",
        "created_at": "created_date",
        "updated_at": "last_updated",
    },
    "contacts": {
        "contact_id": "id",
        "email": "default_email_address",
        "phone_number": "default_phone_number",
        "is_active": "inactive_flag",
        "updated_at": "last_updated",
    },
    "tickets": {"ticket_id": "id", "updated_at": "last_updated"},
    "time_entries": {"entry_id": "id", "ticket_id": "charge_to_id", "updated_at": "last_updated"},
}


def _kind(annotation: object) -> Kind:
    if get_origin(annotation) in (Union, UnionType):
        annotation = get_args(annotation)[0]
    return next(extra for extra in get_args(annotation) if isinstance(extra, Kind))


def _columns(name: str, row: type[Row]) -> Iterator[Column]:
    for column, annotation in get_type_hints(row, include_extras=True).items():
        alias = _ALIASES[name].get(column, column)
        yield Column(column, _kind(annotation), alias, alias_negated=alias == "inactive_flag")


def _table(name: str, row: type[Row]) -> Table:
    return Table(name, row, tuple(_columns(name, row)))


COMPANIES = _table("companies", CompanyRow)
CONTACTS = _table("contacts", ContactRow)
TICKETS = _table("tickets", TicketRow)
TIME_ENTRIES = _table("time_entries", TimeEntryRow)
TABLES = (COMPANIES, CONTACTS, TICKETS, TIME_ENTRIES)
