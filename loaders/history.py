"""Making staged rows history: plan, then show it to readers in one step.

Small plans are *flipped*: new versions go in unseen, then one lightweight update sets the validity
of all that changes. Large ones, and first loads, *swap* the partition for one built aside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from analytics.warehouse.writer import quote

from . import history_sql
from .models import LoadJob
from .results import LoadFailed, LoadResult
from .workspace import Workspace, instant

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
    """Plans and shows what `workspace.staged` holds; a `dry_run` only plans.

    `stored` is how many rows the tenant has, or 0 where history begins anew.
    """

    def __init__(
        self,
        workspace: Workspace,
        result: LoadResult,
        progress: Callable[[str], None],
        stored: int,
        dry_run: bool = False,
    ) -> None:
        self._workspace = workspace
        self._table = workspace.table
        self._result = result
        self._progress = progress
        self._stored = stored
        self._dry_run = dry_run
        self._moves = 0
        self._show: Callable[[], None] = lambda: None

    # --- Planning

    def prepare(self, snapshot: Snapshot | None = None) -> None:
        """Decide what becomes of each version and get it ready, unseen. Then call `show`."""
        if self._is_plain():
            self._result.rows_new = self._result.rows_loaded
            self._prepare_swap(self._workspace.staged)
            return
        self._progress("Comparing with history")
        if snapshot is not None and self._stored:
            self._reopen(snapshot)
        self._plan()
        if snapshot is not None and self._stored:
            self._close(snapshot)
        self._account()
        if self._dry_run:
            return
        if self._moves > self._stored * SWAP_ABOVE:
            self._rebuild()
        elif self._moves:
            self._prepare_flip()

    def _is_plain(self) -> bool:
        """Whether the staged rows are history as they stand: no key twice, and none stored."""
        if self._stored:
            return False
        workspace, key = self._workspace, quote(self._table.key)
        rows, keys = workspace.rows(
            f"SELECT count(), uniqExact(cityHash64({key})) FROM {workspace.staged}"
        )[0]
        return bool(rows == keys)

    def _plan(self) -> None:
        workspace = self._workspace
        stored = touched = ""
        if self._stored:
            stored, touched = workspace.stored, workspace.touched
            workspace.create(stored, history_sql.STORED_COLUMNS)
            workspace.run(
                history_sql.recall(self._table, workspace.target, workspace.staged, stored)
            )
            workspace.create(touched, history_sql.TOUCHED_COLUMNS)
            workspace.run(history_sql.touch(self._table, workspace.staged, stored, touched))
        workspace.create(workspace.plan, history_sql.PLAN_COLUMNS, history_sql.PLAN_ORDER)
        workspace.run(
            history_sql.plan(self._table, workspace.staged, stored, touched, workspace.plan),
            **history_sql.SPILL,
        )

    def _account(self) -> None:
        """Reconcile: every staged row is new, changed, late, unchanged or a duplicate."""
        workspace, result, key = self._workspace, self._result, quote(self._table.key)
        planned = workspace.rows(
            f"SELECT outcome, count(), countIf(moves) FROM {workspace.plan} GROUP BY outcome"
        )
        counts = {outcome: count for outcome, count, _ in planned}
        self._moves = sum(moves for _, _, moves in planned)
        touched = f"{key} IN (SELECT entity FROM {workspace.touched})" if self._stored else "true"
        version = f"{key}, effective_date, record_hash"
        staged, versions, untouched = workspace.rows(
            f"SELECT count(), uniqExactIf({version}, {touched}), "
            f"uniqExactIf({version}, NOT ({touched})) FROM {workspace.staged}"
        )[0]
        workspace.note_staged(staged)
        result.rows_new += counts.get("new", 0)
        result.rows_changed += counts.get("changed", 0) - result.keys_reopened
        result.rows_late += counts.get("late", 0)
        result.rows_unchanged += counts.get("unchanged", 0) + untouched
        result.rows_duplicate += staged - versions - untouched
        accounted = sum(counts.get(outcome, 0) for outcome in history_sql.OUTCOMES)
        if accounted != versions:
            raise LoadFailed(
                f"Of {versions} distinct versions that were staged {accounted} are accounted for. "
                "Nothing was changed. Please report this."
            )

    # --- Full refresh

    def _reopen(self, snapshot: Snapshot) -> None:
        workspace = self._workspace
        before = self._count_staged()
        workspace.run(
            history_sql.reopen(
                self._table, workspace.target, workspace.staged, instant(snapshot.taken_at)
            )
        )
        self._result.keys_reopened = self._count_staged() - before

    def _count_staged(self) -> int:
        return int(self._workspace.value(f"SELECT count() FROM {self._workspace.staged}"))

    def _close(self, snapshot: Snapshot) -> None:
        """Plan the end of keys that are in no file, as far as the policy allows."""
        workspace = self._workspace
        gone = history_sql.gone(
            self._table,
            workspace.target,
            workspace.staged,
            workspace.keys,
            workspace.rejects,
            instant(snapshot.taken_at),
        )
        count = workspace.value(f"SELECT count() FROM ({gone})")
        if not count:
            return
        current = workspace.value(
            f"SELECT countIf(is_current) FROM {workspace.target} "
            "WHERE tenant_id = {tenant_id:String}"
        )
        if kept := _why_kept(snapshot, count, current):
            self._result.notes.append(kept)
            return
        workspace.run(history_sql.close(gone, workspace.plan, instant(snapshot.taken_at)))
        self._result.keys_closed = count

    # --- Showing

    def _rebuild(self) -> None:
        self._progress("Building the new history")
        workspace = self._workspace
        workspace.create_rebuilt()
        workspace.run(
            history_sql.rebuild(
                self._table,
                workspace.target if self._stored else "",
                workspace.staged,
                workspace.plan,
                workspace.rebuilt,
                workspace.intact,
            ),
            **history_sql.SPILL,
        )
        self._prepare_swap(workspace.rebuilt)

    def _prepare_swap(self, side: str) -> None:
        self._show = lambda: self._workspace.swap_in(side)

    def _prepare_flip(self) -> None:
        self._progress(f"Adding {self._moves} versions")
        workspace = self._workspace
        workspace.create_moves(history_sql.MOVES_COLUMNS, history_sql.MOVES_KEYS)
        workspace.run(history_sql.moves(workspace.plan, workspace.moves))
        workspace.run(
            history_sql.insert_invisible(
                self._table,
                workspace.target,
                workspace.staged,
                workspace.plan,
                workspace.intact,
            )
        )
        self._show = self._flip

    def _flip(self) -> None:
        workspace = self._workspace
        workspace.run(
            history_sql.flip(
                self._table,
                workspace.target,
                workspace.plan,
                workspace.moves_for_join_get,
                workspace.intact,
            ),
            **history_sql.FLIP_SETTINGS,
        )
        self._result.left_patches = True

    def show(self) -> None:
        """Make it visible: readers see the old state before this statement, the new one after."""
        self._show()


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
