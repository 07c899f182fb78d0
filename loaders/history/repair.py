"""Repairing history from its own rows: what loads would have made of them, built aside and swapped.

Removes rows that no reader sees because their load failed, and exact duplicates; derives validity
and hashes anew. Keys stay closed where a full refresh closed them; if versions were lost, no older
one is made current in their place. Values are never touched.
"""

from collections.abc import Callable

from analytics.warehouse.catalog import REPAIR, SHOWING
from analytics.warehouse.errors import Interrupted
from loaders.history import sql
from loaders.history.closings import closings_of
from loaders.history.integrity import are_versions_missing
from loaders.lake.results import LoadFailed, LoadResult
from loaders.staging.casting import record_hash
from loaders.staging.progress import Extent
from loaders.staging.scratch_tables import Workspace


class Repair:
    """One run over one tenant and table. A dry run says what would change, and changes nothing."""

    def __init__(
        self,
        workspace: Workspace,
        dry_run: bool,
        progress: Callable[[str], None],
        still_ours: Callable[[], bool],
    ) -> None:
        self._workspace = workspace
        self._table = workspace.table
        self._dry_run = dry_run
        self._progress = progress
        self._still_ours = still_ours
        self._is_missing_versions = False
        self.result = LoadResult()
        self.extent = Extent()

    def run(self) -> LoadResult:
        """Repair. Raises LoadFailed or WarehouseError; readers see no change then."""
        workspace = self._workspace
        workspace.fence_off_earlier_runs()
        self._is_missing_versions = are_versions_missing(workspace.tenant, self._table)
        try:
            self._progress("Deriving history anew")
            self._prepare()
            found = self._differences()
            if any(found.values()) and not self._dry_run:
                self._rebuild()
            else:
                workspace.check_intact()
            self._note(found)
        finally:
            workspace.tidy_up()
        return self.result

    def _prepare(self) -> None:
        """`staged`: the rows that count, each once; `plan`: those whose validity must change."""
        workspace = self._workspace
        workspace.create_staged()
        workspace.fill(
            workspace.staged,
            sql.restore(self._table, workspace.target, workspace.load_log, workspace.staged),
            **sql.SPILL,
        )
        workspace.create(workspace.stored, sql.STORED_COLUMNS)
        workspace.fill(
            workspace.stored,
            sql.recall_all(self._table, workspace.staged, workspace.stored),
        )
        workspace.create(workspace.plan, sql.PLAN_COLUMNS, sql.PLAN_ORDER)
        workspace.fill(
            workspace.plan,
            sql.plan_anew(
                workspace.stored,
                closings_of(workspace.tenant.id, self._table.name),
                workspace.plan,
                keep_ends=self._is_missing_versions,
            ),
            **sql.SPILL,
        )

    def _differences(self) -> dict[str, int]:
        workspace = self._workspace
        rows, hashes = workspace.rows(
            f"SELECT count(), countIf(record_hash != {record_hash(self._table)}) "
            f"FROM {workspace.target} WHERE tenant_id = {{tenant_id:String}}"
        )[0]
        kept = workspace.filled(workspace.staged)
        moves = workspace.value(f"SELECT countIf(moves) FROM {workspace.plan}")
        return {
            "rows that no load stands for, or that are there twice": rows - kept,
            "hashes that do not match": hashes,
            "versions with a wrong validity": moves,
        }

    def _note(self, found: dict[str, int]) -> None:
        parts = [f"{count:,} {what}" for what, count in found.items() if count]
        verb = "Would mend" if self._dry_run else "Mended"
        self.result.notes.append(
            f"{verb}: {'; '.join(parts)}." if parts else "There is nothing to repair."
        )
        if self._is_missing_versions:
            self.result.notes.append(
                "Versions that loads brought are gone, so the last version of a key keeps its end. "
                "Load everything again (bulk) to bring them back."
            )

    def _rebuild(self) -> None:
        workspace = self._workspace
        workspace.create_rebuilt()
        rows = workspace.fill(
            workspace.rebuilt,
            sql.rebuild(
                self._table,
                workspace.staged,
                "",
                workspace.plan,
                workspace.rebuilt,
                workspace.intact,
            ),
            **sql.SPILL,
        )
        if rows != workspace.filled(workspace.staged):
            raise Interrupted(f"{rows} of the rows that count were built. Repair again.")
        if not self._still_ours():
            raise LoadFailed("Another run has taken over this repair.")
        self._progress("Showing the repaired history")
        workspace.log(SHOWING)
        workspace.swap_in(workspace.rebuilt)
        workspace.log(REPAIR)
