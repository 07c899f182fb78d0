"""Which files of the lake belong to a tenant's table."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Max
from django.utils import timezone

from analytics.warehouse.catalog import Table
from common.texts import REPLACEMENT
from loaders.lake.results import FileOutcome
from loaders.lake.s3 import Lake, LakeObject, NoFiles
from loaders.models import LoadedFile, LoadJob
from tenants.models import Tenant

# Characters that ClickHouse would read as a pattern over several objects.
_PATTERN_CHARACTERS = set("{}*?,")
# None belongs into a file's name, not even a tab or a line end, which text may hold.
_CONTROL_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_NAME_SHOWN = 1000  # of 1,024 characters that S3 allows

FORMATS = {
    "parquet": (".parquet",),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "csv": (".csv",),
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class Examined:
    """What the last load that looked at a key found there, and what it made of it."""

    etag: str
    last_modified: datetime
    outcome: FileOutcome

    def is_same(self, each: LakeObject) -> bool:
        """Whether nothing was written to the key since, not even what had been there before."""
        return (self.etag, self.last_modified) == (each.etag, each.last_modified)


@dataclass(frozen=True)
class Found:
    """The objects under a prefix: those to load, and those quarantined with the reason."""

    files: list[LakeObject] = field(default_factory=list)
    quarantine: dict[LakeObject, str] = field(default_factory=dict)

    @property
    def listing(self) -> str:
        """A digest that changes when any of the objects does."""
        lines = sorted(
            f"{each.key}\0{each.etag}\0{each.last_modified.isoformat()}"
            for each in (*self.files, *self.quarantine)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def has_recent_files(self) -> bool:
        """Whether an incremental load would look at some of them again in any case."""
        since = overlap_begins()
        return any(each.last_modified >= since for each in (*self.files, *self.quarantine))


def overlap_begins() -> datetime:
    return timezone.now() - timedelta(minutes=settings.LOAD_OVERLAP_MINUTES)


def prefix_of(tenant: Tenant, table: Table) -> str:
    """The only place in the lake that data of `tenant`'s table is taken from."""
    return f"{home_of(tenant)}{table.name}/"


def home_of(tenant: Tenant) -> str:
    """The only place in the lake that data of `tenant` is taken from."""
    return f"{tenant.id}/canonical/"


def discover(lake: Lake, tenant: Tenant, table: Table) -> Found:
    """Everything under the prefix. NoFiles if there is nothing to load; LakeError."""
    prefix = prefix_of(tenant, table)
    found = Found()
    for each in lake.objects(prefix):
        parts = each.key.removeprefix(prefix).split("/")
        if not parts[-1] or any(p.startswith(("_", ".")) for p in parts):
            continue  # folder markers and writers' own notes, such as _SUCCESS and _temporary/
        reason = _unsupported(each)
        if reason:
            found.quarantine[_with_storable_name(each)] = reason
        else:
            found.files.append(each)
    if not found.files and not found.quarantine:
        raise NoFiles(without_files(lake, prefix))
    return found


def without_files(lake: Lake, prefix: str) -> str:
    """What to do when there is nothing under a prefix."""
    return (
        f"There is no file under s3://{lake.bucket}/{prefix}. Check that the upstream pipeline has "
        "delivered this tenant, that the tenant id is right, and LAKE_BUCKET."
    )


def examined_before(tenant: Tenant, table: Table) -> dict[str, Examined]:
    """What earlier loads last found at each key: loaded, or quarantined with the reason.

    Never by time or order of names: a file that is late or has a smaller name is new all the same.
    """
    return {key: examined for _, key, examined in examinations(tenant, table)}


def examinations(tenant: Tenant, table: Table) -> Iterator[tuple[int, str, Examined]]:
    """(load, key, what it found there), of loads that succeeded, in their order.

    Those before the last one that began history anew do not count, nor does a file that the lake
    refused: no load could examine it.
    """
    loads = LoadJob.objects.filter(
        tenant=tenant, table=table.name, state=LoadJob.State.SUCCEEDED, dry_run=False
    )
    anew = loads.filter(kind=LoadJob.Kind.BULK).aggregate(last=Max("pk"))["last"] or 0
    files = LoadedFile.objects.filter(job__in=loads, job_id__gte=anew).order_by("job_id")
    files = files.exclude(state=LoadedFile.State.REFUSED)
    outcome_fields = ("rows_read", "rows_rejected", "error", "rows_in_file")
    fields = ("job_id", "key", "etag", "last_modified", *outcome_fields)
    for load_id, key, etag, modified, *outcome in files.values_list(*fields).iterator():
        yield load_id, key, Examined(etag, modified, FileOutcome(*outcome))


def _unsupported(each: LakeObject) -> str:
    if not each.size:
        return "It is empty (0 bytes): it was probably not written to its end."
    if format_of(each.key) is None:
        return "Not a format that is loaded: use .parquet, .jsonl or .csv (also .gz, .zst)."
    if _CONTROL_CHARACTERS.search(each.key):
        return "Its name holds control characters, shown as \ufffd. Rename it."
    if not is_addressable(each.key):
        return "Its name holds // or one of { } * ? , which ClickHouse cannot address. Rename it."
    return ""


def _with_storable_name(each: LakeObject) -> LakeObject:
    """With a name that can be stored and shown if the object's own holds control characters.

    No two objects get the same: it ends with a digest of the name.
    """
    if not _CONTROL_CHARACTERS.search(each.key):
        return each
    shown = _CONTROL_CHARACTERS.sub(REPLACEMENT, each.key)[:_NAME_SHOWN]
    digest = hashlib.sha256(each.key.encode(errors="replace")).hexdigest()
    return replace(each, key=f"{shown}~{digest[:16]}")


def is_addressable(key: str) -> bool:
    """Whether ClickHouse takes `key` for the name of one object, and logs and pages can show it."""
    return (
        "//" not in key
        and not _PATTERN_CHARACTERS & set(key)
        and not _CONTROL_CHARACTERS.search(key)
    )


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
