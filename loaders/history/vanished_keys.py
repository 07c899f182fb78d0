"""Keys that are in no file any more: what a full refresh does with them, and when it did.

It closes them, if its policy allows and nothing is in doubt; keys that come back are opened again.
The moments of closing are kept with the load job, so that a repair knows them.
"""

from dataclasses import dataclass
from datetime import datetime

from analytics.warehouse.catalog import Table
from analytics.warehouse.sql import quote
from loaders.history.version_order import STORED, instant_sql
from loaders.models import LoadJob
from loaders.staging.scratch_tables import ScratchTables, instant
from loaders.staging.sql import TENANT, columns_of, names, rejects_of_run

Vanished = LoadJob.Vanished


@dataclass(frozen=True)
class Snapshot:
    """A full refresh: when the files were taken, and what to do with keys that disappeared.

    `limit` is the percentage of current keys that CLOSE_IF_FEW closes at most. `doubt` is why no
    key may be closed, '' if nothing is in doubt.
    """

    taken_at: datetime
    vanished: Vanished
    limit: int
    doubt: str = ""


def open_returned(scratch: ScratchTables, snapshot: Snapshot) -> int:
    """Stage again what closed keys hold now; returns how many came back."""
    taken_at = instant(snapshot.taken_at)
    return scratch.fill(
        scratch.staged, _reopen_sql(scratch.table, scratch.target, scratch.staged, taken_at)
    )


def close_vanished(scratch: ScratchTables, snapshot: Snapshot) -> tuple[int, tuple[str, ...]]:
    """Plan the end of keys that are in no file, as far as the policy allows: (how many, notes)."""
    gone = _gone_sql(scratch.table, scratch.target, scratch.staged, scratch.keys, scratch.rejects)
    taken_at = instant(snapshot.taken_at)
    count, later = scratch.rows(_count_gone_sql(gone, taken_at))[0]
    notes = (_changed_later(later, snapshot),) if later else ()
    if not count:
        return 0, notes
    current = scratch.value(
        f"SELECT countIf(is_current) FROM {scratch.target} WHERE tenant_id = {{tenant_id:String}}"
    )
    if reason := _why_left_open(snapshot, count, current):
        return 0, (*notes, reason)
    return scratch.fill(scratch.plan, _close_sql(gone, scratch.plan, taken_at)), notes


def _changed_later(count: int, snapshot: Snapshot) -> str:
    """The note on keys that disappeared but changed after the newest file was written."""
    keys = "1 key is" if count == 1 else f"{count:,} keys are"
    return (
        f"{keys} in no file any more, but changed after the newest file was written "
        f"({snapshot.taken_at:%Y-%m-%d %H:%M} UTC), so nothing was closed there. A refresh after "
        "the next delivery decides about them."
    )


def _why_left_open(snapshot: Snapshot, count: int, current: int) -> str:
    """Why keys that disappeared stay open all the same; '' if they are to be closed."""
    which = f"{count:,} of {current:,} current keys are in no file any more"
    if snapshot.vanished is Vanished.IGNORE:
        return f"{which}; they were left open, as this refresh was set to do."
    if snapshot.doubt:
        return f"{which}, but {snapshot.doubt}, so they were left open."
    are_few = count * 100 < current * snapshot.limit
    if snapshot.vanished is Vanished.CLOSE_IF_FEW and not are_few:
        return (
            f"{which}, which is not fewer than {snapshot.limit} %, so they were left open: the "
            "files may be incomplete. If they are right, refresh again and close all."
        )
    return ""


# --- The moments of closing


def note_closing(job: LoadJob, moment: datetime) -> None:
    """Record when a refresh closes keys, before it is published. The record is never deleted."""
    earlier = LoadJob.objects.values_list("closings", flat=True).get(pk=job.pk)
    LoadJob.objects.filter(pk=job.pk).update(closings=[*earlier, instant(moment)])


def closings_of(tenant_id: str, table: str) -> list[str]:
    """The times at which full refreshes closed keys of a tenant's table, in order."""
    jobs = LoadJob.objects.filter(tenant_id=tenant_id, table=table).exclude(closings=[])
    closings = jobs.values_list("closings", flat=True)
    return sorted({moment for of_job in closings for moment in of_job})


# --- Statements


def _reopen_sql(table: Table, target: str, staged: str, taken_at: str) -> str:
    """Stage the newest rows of closed keys again, as of the snapshot.

    Otherwise a key that returns unchanged would stay closed: its version is older than its end.
    """
    key = quote(table.key)
    columns = [name for name in columns_of(table) if name != "effective_date"]
    of_version = ", ".join(f"version.{quote(name)}" for name in columns)
    return f"""INSERT INTO {staged} ({names(columns)}, effective_date)
SELECT {of_version}, greatest({instant_sql(taken_at)}, closed.since)
FROM (
    SELECT * FROM {staged}
    ORDER BY {key}, effective_date DESC, source_time DESC, record_hash DESC
    LIMIT 1 BY {key}
) AS version
INNER JOIN (
    SELECT {key} AS entity, max(expiry_date) AS since FROM {target}
    WHERE {STORED} AND {key} IN (SELECT {key} FROM {staged})
    GROUP BY entity HAVING NOT max(is_current)
) AS closed ON version.{key} = closed.entity
WHERE version.effective_date < closed.since"""


def _gone_sql(table: Table, target: str, staged: str, keys: str, rejects: str) -> str:
    """SELECT the current versions whose key is in no file."""
    key = quote(table.key)
    return f"""SELECT {key} AS entity, effective_date, source_time, record_hash, loaded_at
FROM {target}
WHERE tenant_id = {TENANT} AND is_current
AND {key} NOT IN (SELECT {key} FROM {staged})
AND {key} NOT IN (SELECT entity FROM {keys})
AND {key} NOT IN (SELECT row_key FROM {rejects} WHERE {rejects_of_run(table)})"""


def _count_gone_sql(gone: str, taken_at: str) -> str:
    """SELECT how many of the versions in `gone` are older than the snapshot, and how many not."""
    is_older = f"effective_date < {instant_sql(taken_at)}"
    return f"SELECT countIf({is_older}), countIf(NOT {is_older}) FROM ({gone})"


def _close_sql(gone: str, into: str, taken_at: str) -> str:
    """Plan that the versions in `gone` expire at the snapshot, if they are older than it."""
    return f"""INSERT INTO {into}
SELECT entity, effective_date, source_time, record_hash, loaded_at,
    {instant_sql(taken_at)}, false, false, true, ''
FROM ({gone}) WHERE effective_date < {instant_sql(taken_at)}"""
