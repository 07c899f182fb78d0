"""Repairing history from its own rows: what loads would have made of them, built aside and swapped.

Removes rows that no reader sees because their load failed, and exact duplicates; derives validity
and hashes anew. Keys stay closed where a full refresh closed them; if versions were lost, no older
one is made current in their place. Values are never touched.
"""

from collections.abc import Callable

from analytics.warehouse.catalog import PUBLISHING, REPAIR
from analytics.warehouse.errors import Interrupted
from loaders.history import sql
from loaders.history.closings import closings_of
from loaders.history.integrity import are_versions_missing
from loaders.lake.results import LoadFailed, LoadResult
from loaders.staging.casting import record_hash
from loaders.staging.progress import Progress
from loaders.staging.scratch_tables import ScratchTables


class Repair:
    """One run over one tenant and table. A dry run says what would change, and changes nothing."""

    def __init__(
        self,
        scratch: ScratchTables,
        dry_run: bool,
        on_step: Callable[[str], None],
        still_ours: Callable[[], bool],
    ) -> None:
        self._scratch = scratch
        self._table = scratch.table
        self._dry_run = dry_run
        self._on_step = on_step
        self._still_ours = still_ours
        self._is_missing_versions = False
        self.result = LoadResult()
        self.progress = Progress()

    def run(self) -> LoadResult:
        """Repair. Raises LoadFailed or WarehouseError; readers see no change then."""
        scratch = self._scratch
        scratch.fence_off_earlier_runs()
        self._is_missing_versions = are_versions_missing(scratch.tenant, self._table)
        try:
            self._on_step("Deriving history anew")
            self._prepare()
            found = self._differences()
            if any(found.values()) and not self._dry_run:
                self._rebuild()
            else:
                scratch.check_intact()
            self._note(found)
        finally:
            scratch.tidy_up()
        return self.result

    def _prepare(self) -> None:
        """`staged`: the rows that count, each once; `plan`: those whose validity must change."""
        scratch = self._scratch
        scratch.create_staged()
        scratch.fill(
            scratch.staged,
            sql.restore(self._table, scratch.target, scratch.load_log, scratch.staged),
            **sql.SPILL,
        )
        scratch.create(scratch.stored, sql.STORED_COLUMNS)
        scratch.fill(
            scratch.stored,
            sql.recall_all(self._table, scratch.staged, scratch.stored),
        )
        scratch.create(scratch.plan, sql.PLAN_COLUMNS, sql.PLAN_ORDER)
        scratch.fill(
            scratch.plan,
            sql.plan_anew(
                scratch.stored,
                closings_of(scratch.tenant.id, self._table.name),
                scratch.plan,
                keep_ends=self._is_missing_versions,
            ),
            **sql.SPILL,
        )

    def _differences(self) -> dict[str, int]:
        scratch = self._scratch
        rows, hashes = scratch.rows(
            f"SELECT count(), countIf(record_hash != {record_hash(self._table)}) "
            f"FROM {scratch.target} WHERE tenant_id = {{tenant_id:String}}"
        )[0]
        kept = scratch.filled(scratch.staged)
        moves = scratch.value(f"SELECT countIf(moves) FROM {scratch.plan}")
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
        scratch = self._scratch
        scratch.create_rebuilt()
        rows = scratch.fill(
            scratch.rebuilt,
            sql.rebuild(
                self._table,
                scratch.staged,
                "",
                scratch.plan,
                scratch.rebuilt,
                scratch.intact,
            ),
            **sql.SPILL,
        )
        if rows != scratch.filled(scratch.staged):
            raise Interrupted(f"{rows} of the rows that count were built. Repair again.")
        if not self._still_ours():
            raise LoadFailed("Another run has taken over this repair.")
        self._on_step("Showing the repaired history")
        scratch.log(PUBLISHING)
        scratch.swap_in(scratch.rebuilt)
        scratch.log(REPAIR)
