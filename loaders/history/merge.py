"""Making staged rows history: plan it, prepare it unseen, then publish it in one step.

Small plans are *flipped*: new versions go in unseen, then one lightweight update sets the validity
of all that changes. Large ones, and first loads, *swap* the tenant's partition for a new one.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from analytics.warehouse.errors import Interrupted
from analytics.warehouse.sql import quote
from loaders.history import sql
from loaders.lake.results import LoadFailed, VersionCounts
from loaders.models import LoadJob
from loaders.staging.progress import Progress
from loaders.staging.scratch_tables import ScratchTables, instant

Vanished = LoadJob.Vanished

# A plan that moves more than this part of a tenant's rows is cheaper to swap than to flip.
SWAP_ABOVE = 0.25


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


@dataclass(frozen=True)
class Plan:
    """What a load makes of the staged rows, before anything is written to the target.

    `added` versions are new, and `moved` ones get another validity; new ones are among them. A
    `plain` plan has no row in `scratch.plan`: the staged rows are history as they stand. `stored`
    is how many rows history had.
    """

    versions: VersionCounts
    moved: int
    added: int
    stored: int
    is_plain: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Swap:
    """Ready to be published: `scratch_table` takes the place of the tenant's partition."""

    scratch_table: str


@dataclass(frozen=True)
class Flip:
    """Ready to be published: the validity of `moved` versions is set."""

    moved: int


def plan(
    scratch: ScratchTables, stored: int, snapshot: Snapshot | None, progress: Progress
) -> Plan:
    """Decide what becomes of each staged version. Raises LoadFailed if one is not accounted for.

    `stored` is how many rows the tenant has, or 0 where history begins anew.
    """
    if not stored and _are_keys_unique(scratch):
        rows = scratch.filled(scratch.staged)
        return Plan(VersionCounts(rows_new=rows), rows, rows, 0, is_plain=True)
    progress.step("Comparing with history")
    reopened = closed = 0
    notes: tuple[str, ...] = ()
    if stored and snapshot:
        reopened = _reopen(scratch, snapshot)
    _compare(scratch, stored)
    if stored and snapshot:
        closed, notes = _close(scratch, snapshot)
    made = _account(scratch, stored)
    versions = replace(
        made.versions,
        rows_changed=made.versions.rows_changed - reopened,
        keys_closed=closed,
        keys_reopened=reopened,
    )
    return replace(made, versions=versions, notes=notes)


def prepare(scratch: ScratchTables, made: Plan, progress: Progress) -> Swap | Flip | None:
    """Write what `publish` needs, so that no reader sees it yet. None if nothing changes."""
    if not made.moved:
        scratch.check_intact()
        return None
    if made.is_plain:
        return Swap(scratch.staged)
    if made.moved > made.stored * SWAP_ABOVE:
        return _rebuild(scratch, made, progress)
    return _insert_invisible(scratch, made, progress)


def publish(scratch: ScratchTables, prepared: Swap | Flip) -> None:
    """Make it visible: readers see the old state before this statement, the new one after.

    Raises Interrupted unless what they see now is what was planned.
    """
    match prepared:
        case Swap(scratch_table):
            scratch.swap_in(scratch_table)
        case Flip(moved):
            scratch.run(
                sql.flip(
                    scratch.table,
                    scratch.target,
                    scratch.plan,
                    scratch.moves_for_join_get,
                    scratch.intact,
                ),
                **sql.FLIP_SETTINGS,
            )
            _expect("published", _count_published(scratch, moved), moved)


# --- Planning


def _are_keys_unique(scratch: ScratchTables) -> bool:
    rows, keys = scratch.rows(
        f"SELECT count(), uniqExact(cityHash64({quote(scratch.table.key)})) FROM {scratch.staged}"
    )[0]
    return bool(rows == keys)


def _compare(scratch: ScratchTables, stored: int) -> None:
    """Fill `scratch.plan`; with a history to build on, `scratch.stored` and `touched` as well."""
    table, recalled, touched = scratch.table, "", ""
    if stored:
        recalled, touched = scratch.stored, scratch.touched
        scratch.create(recalled, sql.STORED_COLUMNS)
        scratch.fill(recalled, sql.recall(table, scratch.target, scratch.staged, recalled))
        scratch.create(touched, sql.TOUCHED_COLUMNS)
        scratch.fill(touched, sql.touch(table, scratch.staged, recalled, touched))
    scratch.create(scratch.plan, sql.PLAN_COLUMNS, sql.PLAN_ORDER)
    scratch.fill(
        scratch.plan,
        sql.plan(table, scratch.staged, recalled, touched, scratch.plan),
        **sql.SPILL,
    )


def _account(scratch: ScratchTables, stored: int) -> Plan:
    """Reconcile: every staged row is new, changed, late, unchanged or a duplicate."""
    planned = scratch.rows(
        "SELECT outcome, count(), countIf(moves), countIf(is_new) "
        f"FROM {scratch.plan} GROUP BY outcome"
    )
    counts = {outcome: count for outcome, count, _, _ in planned}
    key = quote(scratch.table.key)
    touched = f"{key} IN (SELECT entity FROM {scratch.touched})" if stored else "true"
    version = f"{key}, effective_date, record_hash"
    staged, versions, untouched = scratch.rows(
        f"SELECT count(), uniqExactIf({version}, {touched}), "
        f"uniqExactIf({version}, NOT ({touched})) FROM {scratch.staged}"
    )[0]
    accounted = sum(counts.get(outcome, 0) for outcome in sql.OUTCOMES)
    if accounted != versions:
        scratch.check_intact()
        raise LoadFailed(
            f"Of {versions} distinct versions that were staged {accounted} are accounted for. "
            "Nothing was changed. Check the table's integrity and repair it; if that does not "
            "help, please report this."
        )
    return Plan(
        VersionCounts(
            rows_new=counts.get("new", 0),
            rows_changed=counts.get("changed", 0),
            rows_late=counts.get("late", 0),
            rows_unchanged=counts.get("unchanged", 0) + untouched,
            rows_duplicate=staged - versions - untouched,
        ),
        moved=sum(moves for _, _, moves, _ in planned),
        added=sum(added for _, _, _, added in planned),
        stored=stored,
    )


# --- Full refresh


def _reopen(scratch: ScratchTables, snapshot: Snapshot) -> int:
    """Stage again what closed keys hold now; returns how many came back."""
    taken_at = instant(snapshot.taken_at)
    return scratch.fill(
        scratch.staged, sql.reopen(scratch.table, scratch.target, scratch.staged, taken_at)
    )


def _close(scratch: ScratchTables, snapshot: Snapshot) -> tuple[int, tuple[str, ...]]:
    """Plan the end of keys that are in no file, as far as the policy allows: (how many, notes)."""
    gone = sql.gone(scratch.table, scratch.target, scratch.staged, scratch.keys, scratch.rejects)
    taken_at = instant(snapshot.taken_at)
    count, later = scratch.rows(sql.count_gone(gone, taken_at))[0]
    notes = (_changed_later(later, snapshot),) if later else ()
    if not count:
        return 0, notes
    current = scratch.value(
        f"SELECT countIf(is_current) FROM {scratch.target} WHERE tenant_id = {{tenant_id:String}}"
    )
    if reason := _why_left_open(snapshot, count, current):
        return 0, (*notes, reason)
    return scratch.fill(scratch.plan, sql.close(gone, scratch.plan, taken_at)), notes


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


# --- Preparing


def _rebuild(scratch: ScratchTables, made: Plan, progress: Progress) -> Swap:
    progress.step("Building the new history")
    target = scratch.target if made.stored else ""
    kept = scratch.value(sql.count_stored(target)) if target else 0
    scratch.create_rebuilt()
    built = scratch.fill(
        scratch.rebuilt,
        sql.rebuild(
            scratch.table, target, scratch.staged, scratch.plan, scratch.rebuilt, scratch.intact
        ),
        **sql.SPILL,
    )
    _expect("built", built, kept + made.added)
    return Swap(scratch.rebuilt)


def _insert_invisible(scratch: ScratchTables, made: Plan, progress: Progress) -> Flip:
    progress.step(f"Adding {made.added} versions")
    scratch.create_moves(sql.MOVES_COLUMNS, sql.MOVES_KEYS)
    moved = scratch.fill(scratch.moves, sql.moves(scratch.plan, scratch.moves))
    added = scratch.run(
        sql.insert_invisible(
            scratch.table, scratch.target, scratch.staged, scratch.plan, scratch.intact
        )
    )
    _expect("added", added, made.added)
    return Flip(moved)


def _count_published(scratch: ScratchTables, moved: int) -> int:
    """How many versions a flip moved: as many as its patch has rows, unless it was merged."""
    names = {"database": scratch.at.database, "table": scratch.table.shared_name}
    if scratch.rows(sql.NEWEST_PATCH, **names) == [(moved,)]:
        return moved
    count = sql.published(scratch.table, scratch.target, scratch.plan)
    return int(scratch.value(f"{count} AND {scratch.intact}"))


def _expect(what: str, rows: int, planned: int) -> None:
    if rows != planned:
        raise Interrupted(f"{planned} rows were to be {what}, but {rows} were. Load again.")
