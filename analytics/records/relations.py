"""How records belong together: a ticket to its company, time entries to their ticket."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analytics.records import listing, names
from analytics.warehouse.catalog import COMPANIES, CONTACTS, TICKETS, TIME_ENTRIES, Table
from tenants.models import Tenant

# (table, column, other table): the column refers to a record of the other table.
_BELONGS = (
    (CONTACTS, "company_id", COMPANIES),
    (TICKETS, "company_id", COMPANIES),
    (TICKETS, "contact_id", CONTACTS),
    (TIME_ENTRIES, "company_id", COMPANIES),
    (TIME_ENTRIES, "ticket_id", TICKETS),
)
# The column with the name that a reference has in the record itself.
_NAMES = {"company_id": "company_name", "contact_id": "contact_name"}
MAX_SHOWN = 5
_SHOWN = {
    "contacts": ("last_name", "first_name", "title", "email"),
    "tickets": ("ticket_number", "summary", "status", "created_date"),
    "time_entries": ("time_start", "member_name", "actual_hours", "notes"),
}


@dataclass(frozen=True)
class Belonging:
    """The newest few records that belong to one, their count, and the condition to list all."""

    table: Table
    where: str
    count: int
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Reference:
    """Another record that a record refers to, and what people call it."""

    table: Table
    key: str
    title: str


def references(table: Table, values: Mapping[str, Any]) -> dict[str, Reference]:
    """{column: what it refers to}, with the names that the record itself has, or else ids."""
    return {
        column: Reference(
            target, values[column], values.get(_NAMES.get(column, "")) or values[column]
        )
        for source, column, target in _BELONGS
        if source is table and values.get(column)
    }


def above(tenant: Tenant, table: Table, values: Mapping[str, Any]) -> dict[str, Reference]:
    """The same with the names of tickets, too. Raises WarehouseError."""
    found = references(table, values)
    ticket = found.get("ticket_id")
    if ticket:
        titles = names.titles_of(tenant, ticket.table, [ticket.key])
        shown = titles.get(ticket.key, ticket.title)
        found["ticket_id"] = Reference(ticket.table, ticket.key, shown)
    return found


def below(tenant: Tenant, table: Table, key: str) -> list[Belonging]:
    """The records that belong to this one, by table. Raises WarehouseError."""
    columns = [(source, column) for source, column, target in _BELONGS if target is table]
    return belonging(tenant, columns, key)


def belonging(
    tenant: Tenant,
    columns: Sequence[tuple[Table, str]],
    value: str,
    as_of: datetime | None = None,
) -> list[Belonging]:
    """The newest records of each table whose column is `value`, by one statement.

    Raises WarehouseError.
    """
    if len(value) > listing.MAX_CHARACTERS or "\0" in value:
        return []  # no condition can have such a value
    wanted = [
        listing.listing(
            table,
            columns=_SHOWN[table.name],
            where=[f"{column}~is~{value}"],
            size=MAX_SHOWN,
            as_of=as_of,
        )
        for table, column in columns
    ]
    pages = listing.first_pages(tenant, wanted)
    return [
        Belonging(each.table, str(each.conditions[0]), count, _SHOWN[each.table.name], rows)
        for each, (rows, count) in zip(wanted, pages, strict=True)
    ]
