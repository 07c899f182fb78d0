"""Versions of records and finished loads for tests to put into the warehouse."""

import csv
import io
from datetime import UTC, datetime, timedelta

from analytics.records import listing

FOREVER = datetime(2999, 12, 31, 23, 59, 59, tzinfo=UTC)


def at(text):
    """An aware instant from ISO text, in UTC unless it has an offset."""
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def version(since, until=None, **columns):
    """One version, valid from `since` up to `until` (None: still)."""
    validity = {
        "effective_date": at(since),
        "expiry_date": at(until) if until else FOREVER,
        "is_current": until is None,
    }
    return validity | columns


def company(company_id, since="2026-01-01", until=None, **columns):
    return version(since, until, company_id=company_id, **columns)


def ticket(ticket_id, since="2026-01-01", until=None, **columns):
    instants = {
        name: at(columns[name]) for name in ("created_date", "closed_date") if columns.get(name)
    }
    return version(since, until, ticket_id=ticket_id, **(columns | instants))


def closed_ticket(number, day, hours, *, priority="P2", company="1", board="Desk"):
    """A ticket opened at 8:00 of a day, answered at once and closed `hours` later."""
    opened = at(f"{day}T08:00:00")
    end = opened + timedelta(hours=hours)
    return ticket(
        f"{number}-{day}-{priority}-{company}-{board}",
        "2026-01-01",
        created_date=f"{opened:%Y-%m-%dT%H:%M:%S}",
        first_response_date=opened,
        closed_date=f"{end:%Y-%m-%dT%H:%M:%S}",
        priority=priority,
        company_id=company,
        company_name={"1": "Acorn", "7": "Möller Pharma"}[company],
        board_name=board,
    )


def exported(tenant, wanted):
    """The rows of a listing's CSV file, without the heading."""
    with listing.table_file(tenant, wanted, "csv") as file:
        rows = csv.reader(io.StringIO(file.read().decode("utf-8-sig"), newline=""))
    return list(rows)[1:]


def log_load(
    warehouse, tenant, table_name, load_id=12, finished_at="2026-06-15T10:00:00", kind="bulk"
):
    """Record a finished load, as the loaders do."""
    row = {
        "tenant_id": tenant.id,
        "table_name": table_name,
        "load_id": load_id,
        "kind": kind,
        "finished_at": at(finished_at),
        "newest_file": f"lake/{tenant.id}/canonical/{table_name}/{table_name}-{load_id}.parquet",
        "newest_file_time": at(finished_at),
    }
    warehouse.insert("load_log", list(row), [[value] for value in row.values()])
