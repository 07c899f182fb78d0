"""The history of one record: all its versions, and what changed between them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analytics.records.addresses import key_sql, read
from analytics.warehouse.catalog import TABLES, Table
from analytics.warehouse.sql import quote
from analytics.warehouse.tenant_reader import TenantReader
from tenants.models import Tenant

# Of longer histories, only the newest versions are shown.
MAX_VERSIONS = 1000


class RecordNotFound(LookupError):
    """The tenant has no such record, or there is no such table."""


@dataclass(frozen=True)
class Change:
    """One field of a version that differs from the version before it."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Version:
    """A record from `effective_date` until `expiry_date` (None: still valid).

    `values` has the catalog's columns in its order. `changes` lists the differences from the
    previous version; the first has none. `after_gap`: the record did not exist in between. `file`
    is the path below the tenant's canonical/ folder.
    """

    effective_date: datetime
    expiry_date: datetime | None
    values: dict[str, Any]
    changes: list[Change]
    after_gap: bool
    load_id: int
    loaded_at: datetime
    file: str
    file_time: datetime


@dataclass(frozen=True)
class RecordHistory:
    """Versions from oldest to newest; `is_cut` if older ones are omitted."""

    table: Table
    key: str
    versions: list[Version]
    is_cut: bool

    @property
    def name(self) -> str:
        """The name of the record's kind, from its key: Ticket for ticket_id."""
        return self.table.key.removesuffix("_id").capitalize()

    @property
    def latest(self) -> Version:
        return self.versions[-1]

    @property
    def is_current(self) -> bool:
        return self.latest.expiry_date is None


def record_history(tenant: Tenant, table_name: str, address: str) -> RecordHistory:
    """All versions of a tenant's record. `address` is its id as `addresses.written`, or as it is.

    Raises RecordNotFound, WarehouseError.
    """
    table = TABLES.get(table_name)
    if table is None:
        raise RecordNotFound(f"There is no table {table_name}.")
    try:
        key, bound = key_sql(table, read(address), "key")
    except ValueError:
        raise RecordNotFound("This address holds no record id.") from None
    found = TenantReader(tenant).select(_select(table, key), bound | {"limit": MAX_VERSIONS + 1})
    rows = found.dicts()[::-1]
    if not rows:
        raise RecordNotFound(f"There is no such record in {table_name}.")
    is_cut = len(rows) > MAX_VERSIONS
    versions: list[Version] = []
    for row in rows[is_cut:]:
        versions.append(_version(tenant, table, row, versions[-1] if versions else None))
    return RecordHistory(table, rows[-1][table.key], versions, is_cut)


def _select(table: Table, key: str) -> str:
    columns = ", ".join(map(quote, table.column_names))
    return f"""SELECT {columns}, effective_date, expiry_date, is_current,
    load_id, loaded_at, source_file, source_time
FROM {table.name}_history(tenant_id = {{tenant_id:String}})
WHERE {quote(table.key)} = {key}
ORDER BY effective_date DESC LIMIT {{limit:UInt64}}"""


def _version(tenant: Tenant, table: Table, row: dict[str, Any], before: Version | None) -> Version:
    values = {name: row[name] for name in table.column_names}
    changes = [
        Change(name, before.values[name], value)
        for name, value in values.items()
        if before and before.values[name] != value
    ]
    return Version(
        effective_date=row["effective_date"],
        expiry_date=None if row["is_current"] else row["expiry_date"],
        values=values,
        changes=changes,
        after_gap=before is not None and before.expiry_date != row["effective_date"],
        load_id=row["load_id"],
        loaded_at=row["loaded_at"],
        file=row["source_file"].partition(f"/{tenant.id}/canonical/")[2],
        file_time=row["source_time"],
    )
