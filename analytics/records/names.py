"""What people call a record: a company's name, a ticket's number and summary."""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone

from analytics.periods import known_as_of
from analytics.warehouse.catalog import COMPANIES, CONTACTS, TICKETS, TIME_ENTRIES, Table
from analytics.warehouse.sql import quote
from analytics.warehouse.tenant_reader import TenantReader
from tenants.models import Tenant

Values = Mapping[str, Any]


def _company(values: Values) -> str:
    return values.get("name") or ""


def _contact(values: Values) -> str:
    full = f"{values.get('first_name') or ''} {values.get('last_name') or ''}".strip()
    return full or values.get("email") or ""


def _ticket(values: Values) -> str:
    number, summary = values.get("ticket_number"), values.get("summary") or ""
    return f"#{number.removeprefix('#')} {summary}".strip() if number else summary


def _time_entry(values: Values) -> str:
    return " ".join(_words_of_entry(values))


def _words_of_entry(values: Values) -> Iterator[str]:
    hours, start = values.get("actual_hours"), values.get("time_start")
    if isinstance(hours, Decimal):
        yield f"{hours:,.2f} h"
    if values.get("member_name"):
        yield f"by {values['member_name']}"
    if isinstance(start, datetime):
        day = timezone.localtime(start)
        yield f"on {day.day} {day:%b %Y}"


_NAMED: dict[str, tuple[tuple[str, ...], Callable[[Values], str]]] = {
    COMPANIES.name: (("name",), _company),
    CONTACTS.name: (("first_name", "last_name", "email"), _contact),
    TICKETS.name: (("ticket_number", "summary"), _ticket),
    TIME_ENTRIES.name: (("actual_hours", "member_name", "time_start"), _time_entry),
}


def naming_columns(table: Table) -> tuple[str, ...]:
    """The columns that `title` reads."""
    return _NAMED[table.name][0]


def title(table: Table, values: Values) -> str:
    """The name of a record for people, or its kind and id, such as Ticket 17. Dates are local to
    the page."""
    kind = table.key.removesuffix("_id").capitalize()
    return _NAMED[table.name][1](values) or f"{kind} {values.get(table.key) or ''}"


def titles_of(
    tenant: Tenant, table: Table, keys: Collection[str], as_of: datetime | None = None
) -> dict[str, str]:
    """{id: title} of those records that exist as of `as_of`. Raises WarehouseError."""
    if not keys:
        return {}
    columns = ", ".join(map(quote, dict.fromkeys([table.key, *naming_columns(table)])))
    sql = (
        f"SELECT {columns} FROM {table.name}_as_of(tenant_id = {{tenant_id:String}}, "
        "as_of = {as_of:DateTime64(3, 'UTC')}) "
        f"WHERE {quote(table.key)} IN {{keys:Array(String)}}"
    )
    bound = {"as_of": known_as_of(tenant.zone, as_of), "keys": sorted(keys)}
    rows = TenantReader(tenant).select(sql, bound).dicts()
    return {row[table.key]: title(table, row) for row in rows}
