"""Making staged rows history: plan, then show it to readers in one step.

Small plans are *flipped*: new versions go in unseen, then one lightweight update sets the validity
of all that changes. Large ones, and first loads, *swap* the partition for one built aside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from analytics.warehouse.errors import Interrupted
from analytics.warehouse.sql import quote
from loaders.history import sql
from loaders.lake.results import LoadFailed, LoadResult
from loaders.models import LoadJob
from loaders.staging.scratch_tables import ScratchTables, instant

Vanished = LoadJob.Vanished

# A plan that moves more than this part of a tenant's rows is cheaper to swap than to flip.
SWAP_ABOVE = 0.25


@dataclass(frozen=True)
class Snapshot:
    """A full refresh: when the files were taken, and what to do with keys that are gone.

    `limit` is the percentage of current keys that CLOSE_IF_FEW closes at most. `doubt` says why
    no key may be closed, '' if nothing speaks against it.
    """

    taken_at: datetime
    vanished: Vanished
    limit: int
    doubt: str = ""


class History:
    """Plans and shows what `scratch.staged` holds; a `dry_run` only plans.

    `stored` is how many rows the tenant has, or 0 where history begins anew.
    """

    def __init__(
        self,
        scratch: ScratchTables,
        result: LoadResult,
        on_step: Callable[[str], None],
        stored: int,
        dry_run: bool = False,
    ) -> None:
        self._scratch = scratch
        self._table = scratch.table
        self._result = result
        self._on_step = on_step
        self._stored = stored
        self._dry_run = dry_run
        self._moves = 0
        self._added = 0
        self._show: Callable[[], None] | None = None

    # --- Planning

    def prepare(self, snapshot: Snapshot | None = None) -> None:
        """Decide what becomes of each version and get it ready, unseen. Then call `show`."""
        if self._is_plain():
            self._result.rows_new = self._result.rows_loaded
            if self._result.rows_new:
                self._prepare_swap(self._scratch.staged)
            else:
                self._scratch.check_intact()
            return
        self._on_step("Comparing with history")
        if snapshot is not None and self._stored:
            self._reopen(snapshot)
        self._plan()
        if snapshot is not None and self._stored:
            self._close(snapshot)
        self._account()
        if self._dry_run or not self._moves:
            self._scratch.check_intact()
        elif self._moves > self._stored * SWAP_ABOVE:
            self._rebuild()
        else:
            self._prepare_flip()

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to show."""
        return self._show is not None

    def _is_plain(self) -> bool:
        """Whether the staged rows are history as they stand: no key twice, and none stored."""
        if self._stored:
            return False
        scratch, key = self._scratch, quote(self._table.key)
        rows, keys = scratch.rows(
            f"SELECT count(), uniqExact(cityHash64({key})) FROM {scratch.staged}"
        )[0]
        return bool(rows == keys)

    def _plan(self) -> None:
        scratch = self._scratch
        stored = touched = ""
        if self._stored:
            stored, touched = scratch.stored, scratch.touched
            scratch.create(stored, sql.STORED_COLUMNS)
            scratch.fill(stored, sql.recall(self._table, scratch.target, scratch.staged, stored))
            scratch.create(touched, sql.TOUCHED_COLUMNS)
            scratch.fill(touched, sql.touch(self._table, scratch.staged, stored, touched))
        scratch.create(scratch.plan, sql.PLAN_COLUMNS, sql.PLAN_ORDER)
        scratch.fill(
            scratch.plan,
            sql.plan(self._table, scratch.staged, stored, touched, scratch.plan),
            **sql.SPILL,
        )

    def _account(self) -> None:
        """Reconcile: every staged row is new, changed, late, unchanged or a duplicate."""
        scratch, result, key = self._scratch, self._result, quote(self._table.key)
        planned = scratch.rows(
            "SELECT outcome, count(), countIf(moves), countIf(is_new) "
            f"FROM {scratch.plan} GROUP BY outcome"
        )
        counts = {outcome: count for outcome, count, _, _ in planned}
        self._moves = sum(moves for _, _, moves, _ in planned)
        self._added = sum(added for _, _, _, added in planned)
        touched = f"{key} IN (SELECT entity FROM {scratch.touched})" if self._stored else "true"
        version = f"{key}, effective_date, record_hash"
        staged, versions, untouched = scratch.rows(
            f"SELECT count(), uniqExactIf({version}, {touched}), "
            f"uniqExactIf({version}, NOT ({touched})) FROM {scratch.staged}"
        )[0]
        result.rows_new += counts.get("new", 0)
        result.rows_changed += counts.get("changed", 0) - result.keys_reopened
        result.rows_late += counts.get("late", 0)
        result.rows_unchanged += counts.get("unchanged", 0) + untouched
        result.rows_duplicate += staged - versions - untouched
        accounted = sum(counts.get(outcome, 0) for outcome in sql.OUTCOMES)
        if accounted != versions:
            scratch.check_intact()
            raise LoadFailed(
                f"Of {versions} distinct versions that were staged {accounted} are accounted for. "
                "Nothing was changed. Check the table's integrity and repair it; if that does not "
                "help, please report this."
            )

    # --- Full refresh

    def _reopen(self, snapshot: Snapshot) -> None:
        scratch = self._scratch
        self._result.keys_reopened = scratch.fill(
            scratch.staged,
            sql.reopen(self._table, scratch.target, scratch.staged, instant(snapshot.taken_at)),
        )

    def _close(self, snapshot: Snapshot) -> None:
        """Plan the end of keys that are in no file, as far as the policy allows."""
        scratch = self._scratch
        gone = sql.gone(
            self._table,
            scratch.target,
            scratch.staged,
            scratch.keys,
            scratch.rejects,
        )
        taken_at = instant(snapshot.taken_at)
        count, later = scratch.rows(sql.count_gone(gone, taken_at))[0]
        if later:
            self._result.notes.append(_later(later, snapshot))
        if not count:
            return
        current = scratch.value(
            f"SELECT countIf(is_current) FROM {scratch.target} "
            "WHERE tenant_id = {tenant_id:String}"
        )
        if kept := _why_kept(snapshot, count, current):
            self._result.notes.append(kept)
            return
        self._result.keys_closed = scratch.fill(
            scratch.plan, sql.close(gone, scratch.plan, taken_at)
        )

    # --- Showing

    def _rebuild(self) -> None:
        self._on_step("Building the new history")
        scratch = self._scratch
        target = scratch.target if self._stored else ""
        expected = scratch.value(sql.count_stored(target)) if target else 0
        scratch.create_rebuilt()
        built = scratch.fill(
            scratch.rebuilt,
            sql.rebuild(
                self._table,
                target,
                scratch.staged,
                scratch.plan,
                scratch.rebuilt,
                scratch.intact,
            ),
            **sql.SPILL,
        )
        self._compare("built", built, expected + self._added)
        self._prepare_swap(scratch.rebuilt)

    def _prepare_swap(self, side: str) -> None:
        self._show = lambda: self._scratch.swap_in(side)

    def _prepare_flip(self) -> None:
        self._on_step(f"Adding {self._moves} versions")
        scratch = self._scratch
        scratch.create_moves(sql.MOVES_COLUMNS, sql.MOVES_KEYS)
        scratch.fill(scratch.moves, sql.moves(scratch.plan, scratch.moves))
        added = scratch.run(
            sql.insert_invisible(
                self._table,
                scratch.target,
                scratch.staged,
                scratch.plan,
                scratch.intact,
            )
        )
        self._compare("added", added, self._added)
        self._show = self._flip

    def _flip(self) -> None:
        scratch = self._scratch
        scratch.run(
            sql.flip(
                self._table,
                scratch.target,
                scratch.plan,
                scratch.moves_for_join_get,
                scratch.intact,
            ),
            **sql.FLIP_SETTINGS,
        )
        self._result.left_patches = True
        self._compare("shown", self._count_shown(), scratch.filled(scratch.moves))

    def _count_shown(self) -> int:
        """How many versions a flip moved: as many as its patch has rows, unless it was merged."""
        scratch = self._scratch
        moved = scratch.filled(scratch.moves)
        table = self._table.shared_name
        names = {"database": scratch.at.database, "table": table}
        if scratch.rows(sql.NEWEST_PATCH, **names) == [(moved,)]:
            return moved
        count = sql.shown(self._table, scratch.target, scratch.plan)
        return int(scratch.value(f"{count} AND {scratch.intact}"))

    def _compare(self, what: str, rows: int, planned: int) -> None:
        """Carry the counts of one step to the next."""
        if rows != planned:
            raise Interrupted(f"{planned} rows were to be {what}, but {rows} were. Load again.")

    def show(self) -> None:
        """Make it visible: readers see the old state before this statement, the new one after.

        Raises Interrupted unless what they see now is what was planned.
        """
        if self._show is not None:
            self._show()


def _later(count: int, snapshot: Snapshot) -> str:
    """What is said of keys that are gone but changed after the newest file was written."""
    keys = "1 key is" if count == 1 else f"{count:,} keys are"
    return (
        f"{keys} in no file any more, but changed after the newest file was written "
        f"({snapshot.taken_at:%Y-%m-%d %H:%M} UTC), so nothing was closed there. A refresh after "
        "the next delivery decides about them."
    )


def _why_kept(snapshot: Snapshot, count: int, current: int) -> str:
    """Why keys that are gone stay open all the same; '' if they are to be closed."""
    which = f"{count:,} of {current:,} current keys are in no file any more"
    if snapshot.vanished is Vanished.IGNORE:
        return f"{which}; they were left open, as this refresh was told."
    if snapshot.doubt:
        return f"{which}, but {snapshot.doubt}, so they were left open."
    few = count * 100 < current * snapshot.limit
    if snapshot.vanished is Vanished.CLOSE_IF_FEW and not few:
        return (
            f"{which}, which is not fewer than {snapshot.limit} %, so they were left open: the "
            "files may be incomplete. If they are right, refresh again and close all."
        )
    return ""
