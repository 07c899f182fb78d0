"""Which files of the lake belong to a tenant's table."""

from dataclasses import dataclass, field

from analytics.warehouse.catalog import Table
from tenants.models import Tenant

from .lake import Lake, LakeError, LakeObject

# Characters that ClickHouse would read as a pattern over several objects.
_PATTERN_CHARACTERS = set("{}*?,")

FORMATS = {
    "parquet": (".parquet",),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "csv": (".csv",),
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class Found:
    """The objects under a prefix: those to load, and those set aside with the reason."""

    files: list[LakeObject] = field(default_factory=list)
    set_aside: dict[LakeObject, str] = field(default_factory=dict)


def prefix_of(tenant: Tenant, table: Table) -> str:
    """The only place in the lake that data of `tenant` is taken from."""
    return f"{tenant.id}/canonical/{table.name}/"


def discover(lake: Lake, tenant: Tenant, table: Table) -> Found:
    """Everything under the prefix. LakeError if there is nothing to load."""
    prefix = prefix_of(tenant, table)
    found = Found()
    for each in lake.objects(prefix):
        parts = each.key.removeprefix(prefix).split("/")
        if not each.size or not parts[-1] or any(p.startswith(("_", ".")) for p in parts):
            continue  # folder markers and writers' own notes, such as _SUCCESS and _temporary/
        reason = _unsupported(each)
        if reason:
            found.set_aside[each] = reason
        else:
            found.files.append(each)
    if not found.files and not found.set_aside:
        raise LakeError(
            f"There is no file under s3://{lake.bucket}/{prefix}. Check that the upstream "
            "pipeline has delivered this tenant, that the tenant id is right, and LAKE_BUCKET."
        )
    return found


def _unsupported(each: LakeObject) -> str:
    if format_of(each.key) is None:
        return "Not a format that is loaded: use .parquet, .jsonl or .csv (also .gz, .zst)."
    if "//" in each.key:
        return "Its name holds //, which ClickHouse cannot address. Rename it."
    if _PATTERN_CHARACTERS & set(each.key):
        return "Its name holds one of { } * ? , which stand for patterns. Rename it."
    return ""


def format_of(key: str) -> str | None:
    stem = key.lower()
    if compression_of(key):
        stem = stem.rsplit(".", 1)[0]
    for name, endings in FORMATS.items():
        if stem.endswith(endings) and not (name == "parquet" and compression_of(key)):
            return name
    return None


def compression_of(key: str) -> str | None:
    return next((name for end, name in _COMPRESSIONS.items() if key.lower().endswith(end)), None)
