"""How records belong together: a ticket to its company, time entries to their ticket."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analytics.records import listing
from analytics.warehouse.catalog import COMPANIES, CONTACTS, TABLES, TICKETS, TIME_ENTRIES, Table
from tenants.models import Tenant

# (table, column, other table): the column refers to a record of the other table.
_BELONGS = (
    (CONTACTS, "company_id", COMPANIES),
    (TICKETS, "company_id", COMPANIES),
    (TICKETS, "contact_id", CONTACTS),
    (TIME_ENTRIES, "company_id", COMPANIES),
    (TIME_ENTRIES, "ticket_id", TICKETS),
)
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
    rows: list[tuple[str, list[Any]]]


def above(table: Table, values: Mapping[str, Any]) -> dict[str, str]:
    """{column: table} of the columns that refer to another record."""
    return {
        column: target.name
        for source, column, target in _BELONGS
        if source is table and values.get(column)
    }


def below(tenant: Tenant, table: Table, key: str) -> list[Belonging]:
    """The records that belong to this one, by table. Raises WarehouseError."""
    if len(key) > listing.MAX_CHARACTERS or "\0" in key:
        return []  # no condition can have such a value
    return [
        _belonging(tenant, source, column, key)
        for source, column, target in _BELONGS
        if target is table
    ]


def _belonging(tenant: Tenant, table: Table, column: str, key: str) -> Belonging:
    where = f"{column}~is~{key}"
    columns = _SHOWN[table.name]
    wanted = listing.listing(table, columns=columns, where=[where], size=MAX_SHOWN)
    rows = listing.page(tenant, wanted).rows
    return Belonging(
        table=TABLES[table.name],
        where=where,
        count=listing.count(tenant, wanted),
        columns=columns,
        rows=[(row[table.key], [row[name] for name in columns]) for row in rows],
    )
