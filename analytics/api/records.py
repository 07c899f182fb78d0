"""Records and their histories as JSON."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from ninja import Field, Schema

from analytics.records.history import MAX_VERSIONS, Version, record_history
from tenants.models import Tenant


class FieldChange(Schema):
    field: str
    before: Any = Field(description="Its value in the version before.")
    after: Any = Field(description="Its value in this one.")


class Lineage(Schema):
    """Where a version came from."""

    id: int = Field(description="The load that brought it.")
    loaded_at: datetime
    file: str = Field(description="The file, below the tenant's canonical/ folder.")
    file_time: datetime = Field(description="When the file was last modified.")


class RecordVersion(Schema):
    """What a record said for a while. Instants are UTC."""

    effective_date: datetime = Field(description="From when it was valid.")
    expiry_date: datetime | None = Field(description="Until when; null if it still is.")
    is_current: bool
    after_gap: bool = Field(description="Whether the record was gone before this version.")
    changes: list[FieldChange] = Field(description="Against the version before; [] for the first.")
    values: dict[str, Any] = Field(description="All columns of the data dictionary.")
    load: Lineage


class RecordHistory(Schema):
    """Every version of a record, the oldest first."""

    table: str
    tenant_id: str
    id: str
    is_cut: bool = Field(description=f"Whether versions before the newest {MAX_VERSIONS} exist.")
    versions: list[RecordVersion]


def history_of(tenant: Tenant, table: str, record_id: str) -> dict[str, Any]:
    """A RecordHistory. RecordNotFound, WarehouseError."""
    found = record_history(tenant, table, record_id)
    return {
        "table": table,
        "tenant_id": tenant.id,
        "id": record_id,
        "is_cut": found.is_cut,
        "versions": [_version(version) for version in found.versions],
    }


def _version(version: Version) -> dict[str, Any]:
    return {
        "effective_date": version.effective_date,
        "expiry_date": version.expiry_date,
        "is_current": version.expiry_date is None,
        "after_gap": version.after_gap,
        "changes": [
            {"field": each.field, "before": plain(each.before), "after": plain(each.after)}
            for each in version.changes
        ],
        "values": {name: plain(value) for name, value in version.values.items()},
        "load": lineage(version),
    }


def lineage(version: Version) -> dict[str, Any]:
    return {
        "id": version.load_id,
        "loaded_at": version.loaded_at,
        "file": version.file,
        "file_time": version.file_time,
    }


def plain(value: Any) -> Any:
    """A column's value as JSON has it: amounts and hours are numbers, as everywhere in this API."""
    return float(value) if isinstance(value, Decimal) else value
