"""Records and their histories as JSON."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from ninja import Field, Schema

from analytics.records.history import MAX_VERSIONS, Version, record_history
from tenants.models import Tenant


class FieldChange(Schema):
    field: str
    before: Any = Field(description="Its value in the previous version.")
    after: Any = Field(description="Its value in this version.")


class Lineage(Schema):
    """The load and file that a version came from."""

    id: int = Field(description="The load that stored it.")
    loaded_at: datetime
    file: str = Field(description="The file, below the tenant's canonical/ folder.")
    file_time: datetime = Field(description="When the file was last modified.")


class RecordVersion(Schema):
    """The values of a record during one period of time. Timestamps are UTC."""

    effective_date: datetime = Field(description="Start of its validity.")
    expiry_date: datetime | None = Field(
        description="End of its validity; null if it is still valid."
    )
    is_current: bool
    after_gap: bool = Field(
        description="Whether the record did not exist just before this version."
    )
    changes: list[FieldChange] = Field(
        description="Changes from the previous version; [] for the first."
    )
    values: dict[str, Any] = Field(description="All columns of the data dictionary.")
    load: Lineage


class RecordHistory(Schema):
    """Every version of a record, oldest first."""

    table: str
    tenant_id: str
    id: str
    is_cut: bool = Field(
        description=f"Whether only the newest {MAX_VERSIONS} versions are returned."
    )
    versions: list[RecordVersion]


def history_of(tenant: Tenant, table: str, record_id: str) -> dict[str, Any]:
    """The fields of a RecordHistory. `record_id` may be written as in addresses.

    Raises RecordNotFound, WarehouseError.
    """
    found = record_history(tenant, table, record_id)
    return {
        "table": table,
        "tenant_id": tenant.id,
        "id": found.key,
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
    """A column's value in JSON: decimals become numbers, as everywhere in this API."""
    return float(value) if isinstance(value, Decimal) else value
