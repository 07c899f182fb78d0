"""Is history sound? Checks of one tenant's table, and of all of them.

In the warehouse: validity without overlaps or unexplained gaps, one current version for every key
that was not closed, hashes that match. Against the records of loads: counts that reconcile.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Max, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from analytics.warehouse.catalog import PUBLISHING, SENTINEL_SQL, TABLES, Table
from analytics.warehouse.client import Writer
from analytics.warehouse.errors import (
    OUTAGES,
    AuthenticationFailed,
    Unanswered,
    Unreachable,
    WarehouseError,
)
from analytics.warehouse.schema import placement
from analytics.warehouse.sql import literal, quote
from loaders.history.closings import closings_of
from loaders.history.sql import SPILL, instants
from loaders.models import IntegrityCheck, LoadJob
from loaders.staging.casting import record_hash
from loaders.staging.scratch_tables import instant, load_of_scratch_table, scratch_tables
from tenants import alerting
from tenants.models import Alert, Tenant

log = logging.getLogger(__name__)

SAMPLE = 5
TRIES = 5
# Clocks differ: what takes effect this much from now is not yet called future.
CLOCK_SKEW = timedelta(minutes=10)

_REPAIR = "Repair it: manage.py warehouse_integrity --repair, or in the admin."
_UPSTREAM = "Correct the dates upstream, then load everything again (bulk)."
_GARBLED = "Correct the files upstream (UTF-8), then load everything again (bulk)."
_RELOAD = "If a repair does not mend it, load everything again (bulk)."


@dataclass(frozen=True)
class Check:
    """`key_fault` is a condition over one version with its neighbors; `advice` says what helps."""

    name: str
    what: str
    condition: str
    advice: str = _REPAIR

    @property
    def is_repairable(self) -> bool:
        return self.advice == _REPAIR


# Over the rows of `_versions`: visible versions know the start of the next visible one
# (`following`), and whether a full refresh closed keys when they expired (`was_closing`).
CHECKS = (
    Check(
        "overlap",
        "versions that reach into the next one",
        "is_visible AND following < expiry_date",
    ),
    Check(
        "gap",
        "versions that end where nothing follows and no full refresh closed the key",
        "is_visible AND following > expiry_date AND NOT was_closing",
    ),
    Check(
        "currency",
        "versions whose current flag does not agree with their expiry",
        f"is_current != (expiry_date = {SENTINEL_SQL})",
    ),
    Check(
        "several_current",
        "keys with more than one current version",
        "is_current AND currents > 1 AND is_last_current",
    ),
    Check(
        "none_visible",
        "keys of which no version can be seen",
        "visibles = 0 AND is_last",
    ),
    Check(
        "leftover",
        "rows that no reader sees, left by loads that failed",
        "expiry_date < effective_date AND NOT is_logged",
    ),
    Check(
        "expiry",
        "versions that expire before they take effect",
        "expiry_date < effective_date AND is_logged",
    ),
    Check(
        "repeated",
        "versions that are stored twice",
        "copies > 1 AND is_last_copy",
    ),
    Check(
        "hash",
        "versions whose hash does not match their values",
        "record_hash != actual_hash",
    ),
    Check(
        "encoding",
        "versions with text that is not UTF-8",
        "is_garbled",
        _GARBLED,
    ),
    Check(
        "future",
        "versions that take effect in the future",
        "effective_date > {future:DateTime64(3, 'UTC')}",
        _UPSTREAM,
    ),
)


@dataclass(frozen=True)
class Fault:
    """What a check found: how many, some of the keys, and what to do."""

    check: str
    what: str
    count: int
    keys: list[str]
    advice: str
    is_repairable: bool

    def __str__(self) -> str:
        keys = f" ({', '.join(self.keys)}{', …' if self.count > len(self.keys) else ''})"
        return f"{self.count:,} {self.what}{keys if self.keys else ''}. {self.advice}"


def check(tenant: Tenant, table: Table) -> IntegrityCheck:
    """Check one tenant's table, record what was found, and raise or end its alert.

    What a load that is under way has not shown yet does not count. Raises what is in OUTAGES: that
    says nothing about the table.
    """
    found: dict[str, Any] = {}
    try:
        versions, keys, faults = find_faults(tenant, table)
        found = {"versions": versions, "keys": keys, "faults": [asdict(each) for each in faults]}
        found["error"] = ""
        found["notes"] = _remove_scratch_tables(tenant, table)
        problem = "\n".join(map(str, faults))
    except OUTAGES:
        raise
    except WarehouseError as error:
        found["error"] = problem = f"It could not be checked: {error}"
    record, _ = IntegrityCheck.objects.update_or_create(
        tenant=tenant, table=table.name, defaults={**found, "checked_at": timezone.now()}
    )
    if problem:
        alerting.raise_alert(Alert.Kind.INTEGRITY, tenant.id, table.name, problem)
    else:
        alerting.all_clear(Alert.Kind.INTEGRITY, tenant.id, table.name)
    return record


def _remove_scratch_tables(tenant: Tenant, table: Table) -> list[str]:
    """Drop what loads that are over left behind when they died; notes that say so."""
    found = scratch_tables(tenant, table)
    active = set(_active(tenant, table))  # read later: no load has tables before it is active
    left = [name for name in found if load_of_scratch_table(name) not in active]
    for name in left:
        Writer().run(f"DROP TABLE IF EXISTS {placement().qualified(name)}{placement().on_cluster}")
    if not left:
        return []
    loads = ", ".join(map(str, sorted({load_of_scratch_table(name) for name in left})))
    tables = "1 scratch table" if len(left) == 1 else f"{len(left)} scratch tables"
    return [f"Removed {tables} of loads that died before their end (load {loads})."]


def _active(tenant: Tenant, table: Table) -> list[int]:
    active = LoadJob.objects.filter(tenant=tenant, table=table.name, state__in=LoadJob.ACTIVE)
    return list(active.values_list("pk", flat=True))


def due(latest: datetime) -> Iterator[tuple[Tenant, Table]]:
    """What was never checked, or last before `latest`, of active tenants."""
    checked = IntegrityCheck.objects.filter(checked_at__range=(latest, timezone.now()))
    done = set(checked.values_list("tenant_id", "table"))
    for tenant in Tenant.objects.filter(is_active=True):
        for name, table in TABLES.items():
            if (tenant.pk, name) not in done:
                yield tenant, table


def check_due(latest: datetime) -> int:
    """Check what is `due`; returns how many have faults. Raises Unreachable and the like: then
    there is no use in asking for the others.
    """
    faulty = 0
    for tenant, table in due(latest):
        try:
            faulty += not check(tenant, table).is_sound
        except (Unreachable, Unanswered, AuthenticationFailed):
            raise
        except WarehouseError as error:  # of this table alone, perhaps
            log.warning("%s/%s could not be checked: %s", tenant.id, table.name, error)
    return faulty


def check_all(
    tenants: Iterable[Tenant], tables: Iterable[str] = TABLES
) -> Iterator[IntegrityCheck]:
    """Check these tables of these tenants, one after the other."""
    for tenant in tenants:
        for name in tables:
            yield check(tenant, TABLES[name])


def find_faults(tenant: Tenant, table: Table) -> tuple[int, int, list[Fault]]:
    """(versions, keys, faults) of one tenant's table; nothing is recorded. Raises WarehouseError.

    They are looked for again if a load began or ended meanwhile.
    """
    for _ in range(TRIES):
        before = _activity(tenant, table)
        versions, keys, faults = _stored_faults(tenant, table)
        faults += _count_faults(tenant, table)
        if not faults or _activity(tenant, table) == before:
            break
    return versions, keys, faults


def _activity(tenant: Tenant, table: Table) -> list[tuple[Any, ...]]:
    newest = LoadJob.objects.filter(tenant=tenant, table=table.name).order_by("-pk")
    return list(newest.values_list("pk", "state", "claims", "swapped_at")[:5])


# --- The warehouse


def _stored_faults(tenant: Tenant, table: Table) -> tuple[int, int, list[Fault]]:
    """(versions, keys, faults) of what the warehouse holds."""
    closings = instants(closings_of(tenant.id, table.name))
    parameters = {
        "tenant_id": tenant.id,
        "active": _active(tenant, table),
        "future": instant(timezone.now() + CLOCK_SKEW),
    }
    row = Writer().rows(_faults_sql(table, closings), parameters, **SPILL)[0]
    versions, keys, *found = row
    faults = [
        Fault(each.name, each.what, count, sample, each.advice, each.is_repairable)
        for each, count, sample in zip(CHECKS, found[::2], found[1::2], strict=True)
        if count
    ]
    return versions, keys, faults


def _faults_sql(table: Table, closings: str) -> str:
    counts = ",\n    ".join(
        f"countIf({each.condition}), "
        f"arraySort(groupUniqArrayIf({SAMPLE})({quote(table.key)}, {each.condition}))"
        for each in CHECKS
    )
    key = quote(table.key)
    versions = _versions(table, closings)
    return f"SELECT countIf(is_visible), uniqExact({key}),\n    {counts}\nFROM ({versions})"


def _is_garbled(table: Table) -> str:
    texts = [quote(column.name) for column in table.columns if column.kind.is_text]
    return " OR ".join(f"NOT isValidUTF8(ifNull({name}, ''))" for name in texts)


def _versions(table: Table, closings: str) -> str:
    """The rows of a tenant, each with what its neighbors and its load say of it."""
    key = quote(table.key)
    at = placement()
    log = at.qualified("load_log")
    in_order = (
        f"PARTITION BY {key} ORDER BY is_visible, effective_date, source_time, record_hash, "
        "loaded_at"
    )
    return f"""
SELECT *,
    leadInFrame(effective_date, 1, {SENTINEL_SQL}) OVER onwards AS following,
    countIf(is_current) OVER (PARTITION BY {key}) AS currents,
    countIf(is_visible) OVER (PARTITION BY {key}) AS visibles,
    row_number() OVER (PARTITION BY {key}, is_current ORDER BY effective_date DESC) = 1
        AS is_last_current,
    row_number() OVER (PARTITION BY {key} ORDER BY effective_date DESC) = 1 AS is_last,
    count() OVER (PARTITION BY {key}, effective_date, record_hash, source_time) AS copies,
    row_number() OVER (
        PARTITION BY {key}, effective_date, record_hash, source_time ORDER BY loaded_at DESC
    ) = 1 AS is_last_copy
FROM (
    SELECT {key}, effective_date, expiry_date, is_current, record_hash, source_time, loaded_at,
        {record_hash(table)} AS actual_hash, {_is_garbled(table)} AS is_garbled,
        effective_date < expiry_date AS is_visible,
        has({closings}, expiry_date) AS was_closing,
        load_id IN (
            SELECT load_id FROM {log} FINAL
            WHERE tenant_id = {{tenant_id:String}} AND table_name = '{table.name}'
            AND kind != {literal(PUBLISHING)}
        ) AS is_logged
    FROM {at.qualified(table.shared_name)}
    WHERE tenant_id = {{tenant_id:String}}
    AND NOT (expiry_date < effective_date AND has({{active:Array(UInt64)}}, load_id))
)
WINDOW onwards AS ({in_order} ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)"""


# --- The records


def _count_faults(tenant: Tenant, table: Table) -> list[Fault]:
    """Counts of loads that do not reconcile, in their records or with what is stored."""
    faults = []
    stored = _stored_by_load(tenant, table)
    for job in _countable(tenant, table):
        if problem := _job_problem(job, stored.get(job.pk, 0)):
            faults.append(
                Fault(
                    "counts",
                    f"load that does not reconcile: load {job.pk}, {problem}",
                    1,
                    [],
                    _RELOAD,
                    False,
                )
            )
    return faults


def _countable(tenant: Tenant, table: Table) -> Iterator[LoadJob]:
    """The loads that the stored history rests on: since the last one that began it anew."""
    loads = LoadJob.objects.filter(
        tenant=tenant, table=table.name, state=LoadJob.State.SUCCEEDED, dry_run=False
    ).exclude(kind=LoadJob.Kind.REPAIR)
    anew = loads.filter(kind=LoadJob.Kind.BULK).aggregate(last=Max("pk"))["last"] or 0
    since = loads.filter(pk__gte=anew).annotate(
        files_read=Sum("files__rows_read", default=0),
        files_rejected=Sum("files__rows_rejected", default=0),
        files_hold=Sum(Coalesce("files__rows_in_file", "files__rows_read"), default=0),
    )
    return since.order_by("pk").iterator()


def _stored_by_load(tenant: Tenant, table: Table) -> dict[int, int]:
    rows = Writer().rows(
        f"SELECT load_id, count() FROM {placement().qualified(table.shared_name)} "
        "WHERE tenant_id = {tenant_id:String} AND expiry_date >= effective_date GROUP BY load_id",
        {"tenant_id": tenant.id},
    )
    return dict(rows)


def _job_problem(job: Any, stored: int) -> str:
    outcomes = (
        job.rows_new + job.rows_changed + job.rows_late + job.rows_unchanged + job.rows_duplicate
    )
    inserted = _inserted(job)
    if job.rows_read != job.rows_loaded + job.rows_rejected:
        return (
            f"{job.rows_read} rows read are not {job.rows_loaded} staged "
            f"and {job.rows_rejected} rejected"
        )
    if job.rows_read != job.files_read or job.rows_rejected != job.files_rejected:
        return f"its files account for {job.files_read} of {job.rows_read} rows read"
    if job.files_hold != job.files_read:
        return f"its files hold {job.files_hold} rows, of which {job.files_read} were read"
    if job.rows_loaded != outcomes:
        return f"{outcomes} of {job.rows_loaded} staged rows are accounted for"
    # A run that was taken up again after its flip no longer knows which keys it had reopened.
    if stored < inserted or (stored > inserted and job.claims == 1):
        return f"it brought {inserted} versions, of which {stored} are stored"
    return ""


def _inserted(job: LoadJob) -> int:
    """How many versions a load brought."""
    return int(job.rows_new + job.rows_changed + job.rows_late + job.keys_reopened)


def are_versions_missing(tenant: Tenant, table: Table) -> bool:
    """Whether loads brought versions that are not stored any more."""
    stored = _stored_by_load(tenant, table)
    return any(stored.get(job.pk, 0) < _inserted(job) for job in _countable(tenant, table))
