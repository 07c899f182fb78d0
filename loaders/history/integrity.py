"""Integrity checks of the stored history, for one tenant's table or for all of them.

In the warehouse: no overlaps, no unexplained gaps, one current version of every key that was not
closed, hashes that match the values. Against the records of loads: counts that reconcile.
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
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.errors import (
    OUTAGES,
    AuthenticationFailed,
    Unanswered,
    Unreachable,
    WarehouseError,
)
from analytics.warehouse.schema import placement
from analytics.warehouse.sql import literal, quote
from common.texts import all_printable
from loaders.history.vanished_keys import closings_of
from loaders.history.version_order import instants, spill
from loaders.models import IntegrityCheck, LoadJob
from loaders.staging.casting import is_unprintable, record_hash
from loaders.staging.scratch_tables import instant, load_of_scratch_table, scratch_tables
from tenants import alerting
from tenants.models import Alert, Tenant

log = logging.getLogger(__name__)

MAX_SAMPLE_KEYS = 5
MAX_TRIES = 5
# Clocks differ: a version that takes effect within this time is not called future.
CLOCK_SKEW = timedelta(minutes=10)

_REPAIR = "Repair the table in the admin, or with manage.py warehouse_integrity --repair."
_UPSTREAM = "Correct the dates upstream, then load everything again (bulk)."
_NOT_UTF8 = "Correct the files upstream (UTF-8), then load everything again (bulk)."
_CONTROL_CHARACTERS = (
    "Load everything again (bulk): that stores them as shown, and rejects rows with one in the key."
)
_RELOAD = "If a repair does not help, load everything again (bulk)."


@dataclass(frozen=True)
class Check:
    """`condition` is true for each faulty row of `_versions`; `advice` tells what helps."""

    name: str
    what: str
    condition: str
    advice: str = _REPAIR

    @property
    def is_repairable(self) -> bool:
        return self.advice == _REPAIR


# Conditions on the rows of `_versions`. `following` is when the next visible version of the key
# takes effect; `was_closing` tells whether a full refresh closed keys at the row's expiry.
CHECKS = (
    Check(
        "overlap",
        "versions that overlap the next one",
        "is_visible AND following < expiry_date",
    ),
    Check(
        "gap",
        "versions followed by a gap, though no full refresh closed the key",
        "is_visible AND following > expiry_date AND NOT was_closing",
    ),
    Check(
        "current_flag",
        "versions whose current flag contradicts their expiry",
        f"is_current != (expiry_date = {SENTINEL_SQL})",
    ),
    Check(
        "several_current",
        "keys with more than one current version",
        "is_current AND currents > 1 AND is_last_current",
    ),
    Check(
        "none_visible",
        "keys without a visible version",
        "visibles = 0 AND is_last",
    ),
    Check(
        "orphaned",
        "invisible rows left by failed loads",
        "expiry_date < effective_date AND NOT is_logged",
    ),
    Check(
        "expiry",
        "versions that expire before they take effect",
        "expiry_date < effective_date AND is_logged",
    ),
    Check(
        "duplicate",
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
        "has_invalid_text",
        _NOT_UTF8,
    ),
    Check(
        "control_characters",
        "versions with control characters in text, which are shown as \ufffd",
        "has_unprintable",
        _CONTROL_CHARACTERS,
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
    """What one check found: how many faults, a sample of the keys, and what to do."""

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

    Rows that an active load has not published yet do not count. Raises the errors in OUTAGES,
    which do not concern the table.
    """
    found: dict[str, Any] = {}
    try:
        versions, keys, faults = find_faults(tenant, table)
        plain = all_printable([asdict(each) for each in faults])
        found = {"versions": versions, "keys": keys, "faults": plain}
        found["error"] = ""
        found["notes"] = _remove_scratch_tables(tenant, table)
        problem = "\n".join(map(str, faults))
    except OUTAGES:
        raise
    except WarehouseError as error:
        found["error"] = problem = f"The table could not be checked: {error}"
    record, _ = IntegrityCheck.objects.update_or_create(
        tenant=tenant, table=table.name, defaults={**found, "checked_at": timezone.now()}
    )
    if problem:
        alerting.raise_alert(Alert.Kind.INTEGRITY, tenant.id, table.name, problem)
    else:
        alerting.all_clear(Alert.Kind.INTEGRITY, tenant.id, table.name)
    return record


def _remove_scratch_tables(tenant: Tenant, table: Table) -> list[str]:
    """Drop the scratch tables of loads that crashed; returns a note about it, if there were any."""
    found = scratch_tables(tenant, table)
    active = set(_active(tenant, table))  # read last: a load is active before it has scratch tables
    left = [name for name in found if load_of_scratch_table(name) not in active]
    for name in left:
        WarehouseClient().run(
            f"DROP TABLE IF EXISTS {placement().qualified(name)}{placement().on_cluster}"
        )
    if not left:
        return []
    loads = ", ".join(map(str, sorted({load_of_scratch_table(name) for name in left})))
    tables = "1 scratch table" if len(left) == 1 else f"{len(left)} scratch tables"
    return [f"Removed {tables} of crashed loads (load {loads})."]


def _active(tenant: Tenant, table: Table) -> list[int]:
    active = LoadJob.objects.filter(tenant=tenant, table=table.name, state__in=LoadJob.ACTIVE)
    return list(active.values_list("pk", flat=True))


def due(latest: datetime) -> Iterator[tuple[Tenant, Table]]:
    """Tables of active tenants that were never checked, or not since `latest`."""
    checked = IntegrityCheck.objects.filter(checked_at__range=(latest, timezone.now()))
    done = set(checked.values_list("tenant_id", "table"))
    for tenant in Tenant.objects.filter(is_active=True):
        for name, table in TABLES.items():
            if (tenant.pk, name) not in done:
                yield tenant, table


def check_due(latest: datetime) -> int:
    """Check every table that is `due`; returns how many have faults. Raises errors such as
    Unreachable, with which no other table could be checked either.
    """
    faulty = 0
    for tenant, table in due(latest):
        try:
            faulty += not check(tenant, table).is_sound
        except (Unreachable, Unanswered, AuthenticationFailed):
            raise
        except WarehouseError as error:  # perhaps of this table alone
            log.warning("%s/%s could not be checked: %s", tenant.id, table.name, error)
    return faulty


def check_all(
    tenants: Iterable[Tenant], tables: Iterable[str] = TABLES
) -> Iterator[IntegrityCheck]:
    """Check these tables of these tenants, one by one."""
    for tenant in tenants:
        for name in tables:
            yield check(tenant, TABLES[name])


def find_faults(tenant: Tenant, table: Table) -> tuple[int, int, list[Fault]]:
    """(versions, keys, faults) of one tenant's table; records nothing. Raises WarehouseError.

    Retries if faults were found and a load started or ended during the check.
    """
    for _ in range(MAX_TRIES):
        before = _activity(tenant, table)
        versions, keys, faults = _stored_faults(tenant, table)
        faults += _count_faults(tenant, table)
        if not faults or _activity(tenant, table) == before:
            break
    return versions, keys, faults


def _activity(tenant: Tenant, table: Table) -> list[tuple[Any, ...]]:
    newest = LoadJob.objects.filter(tenant=tenant, table=table.name).order_by("-pk")
    return list(newest.values_list("pk", "state", "claims", "publishing_began_at")[:5])


# --- The warehouse


def _stored_faults(tenant: Tenant, table: Table) -> tuple[int, int, list[Fault]]:
    """(versions, keys, faults) of the rows in the warehouse."""
    closings = instants(closings_of(tenant.id, table.name))
    parameters = {
        "tenant_id": tenant.id,
        "active": _active(tenant, table),
        "future": instant(timezone.now() + CLOCK_SKEW),
    }
    row = WarehouseClient().rows(_faults_sql(table, closings), parameters, **spill())[0]
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
        f"arraySort(groupUniqArrayIf({MAX_SAMPLE_KEYS})({quote(table.key)}, {each.condition}))"
        for each in CHECKS
    )
    key = quote(table.key)
    versions = _versions(table, closings)
    return f"SELECT countIf(is_visible), uniqExact({key}),\n    {counts}\nFROM ({versions})"


def _has_invalid_text(table: Table) -> str:
    texts = [quote(column.name) for column in table.columns if column.kind.is_text]
    return " OR ".join(f"NOT isValidUTF8(ifNull({name}, ''))" for name in texts)


def _has_unprintable(table: Table) -> str:
    texts = [quote(column.name) for column in table.columns if column.kind.is_text]
    return " OR ".join(is_unprintable(f"ifNull({name}, '')") for name in texts)


def _versions(table: Table, closings: str) -> str:
    """SELECT a tenant's rows, each with what the conditions of CHECKS need to know."""
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
        {record_hash(table)} AS actual_hash, {_has_invalid_text(table)} AS has_invalid_text,
        {_has_unprintable(table)} AS has_unprintable,
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
    """Faults for loads whose counts do not reconcile, in their records or with the stored rows."""
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
    """The loads that made the stored history: the last bulk load and all after it."""
    loads = LoadJob.objects.filter(
        tenant=tenant, table=table.name, state=LoadJob.State.SUCCEEDED, dry_run=False
    ).exclude(kind=LoadJob.Kind.REPAIR)
    last_bulk = loads.filter(kind=LoadJob.Kind.BULK).aggregate(last=Max("pk"))["last"] or 0
    since = loads.filter(pk__gte=last_bulk).annotate(
        files_read=Sum("files__rows_read", default=0),
        files_rejected=Sum("files__rows_rejected", default=0),
        files_hold=Sum(Coalesce("files__rows_in_file", "files__rows_read"), default=0),
    )
    return since.order_by("pk").iterator()


def _stored_by_load(tenant: Tenant, table: Table) -> dict[int, int]:
    rows = WarehouseClient().rows(
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
            f"{job.rows_read} rows were read, but {job.rows_loaded} staged "
            f"and {job.rows_rejected} rejected"
        )
    if job.rows_read != job.files_read or job.rows_rejected != job.files_rejected:
        return f"its files account for {job.files_read} of {job.rows_read} rows read"
    if job.files_hold != job.files_read:
        return f"its files hold {job.files_hold} rows, of which {job.files_read} were read"
    if job.rows_loaded != outcomes:
        return f"{outcomes} of {job.rows_loaded} staged rows are accounted for"
    # A load that was retried after its flip no longer knows which keys it had reopened.
    if stored < inserted or (stored > inserted and job.claims == 1):
        return f"it added {inserted} versions, of which {stored} are stored"
    return ""


def _inserted(job: LoadJob) -> int:
    """How many versions a load added."""
    return int(job.rows_new + job.rows_changed + job.rows_late + job.keys_reopened)


def are_versions_missing(tenant: Tenant, table: Table) -> bool:
    """Whether versions that loads added are no longer stored."""
    stored = _stored_by_load(tenant, table)
    return any(stored.get(job.pk, 0) < _inserted(job) for job in _countable(tenant, table))
