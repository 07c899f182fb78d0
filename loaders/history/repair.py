"""Repairing history from its own rows: what loads would have made of them, rebuilt and swapped in.

Removes rows that no reader sees because their load failed, and exact duplicates; derives validity
and hashes again. Keys stay closed where a full refresh closed them; if versions were lost, no older
one is made current in their place. Values are never touched.
"""

from collections.abc import Callable

from analytics.warehouse.catalog import PUBLISHING, REPAIR
from analytics.warehouse.errors import Interrupted
from loaders.history import version_order
from loaders.history.integrity import are_versions_missing
from loaders.history.publishing import rebuild_sql
from loaders.history.vanished_keys import closings_of
from loaders.lake.results import LoadFailed, LoadResult
from loaders.staging.casting import record_hash
from loaders.staging.progress import Progress
from loaders.staging.scratch_tables import ScratchTables


def repair(
    scratch: ScratchTables, progress: Progress, begin_publishing: Callable[[], bool]
) -> LoadResult:
    """Repair one tenant's table. A dry run only notes what would change.

    Raises LoadFailed or WarehouseError; readers see no change then.
    """
    with scratch.in_use():
        is_missing_versions = are_versions_missing(scratch.tenant, scratch.table)
        progress.step("Deriving history again")
        _plan(scratch, keep_ends=is_missing_versions)
        found = _differences(scratch)
        if any(found.values()) and not scratch.dry_run:
            _rebuild(scratch)
            if not begin_publishing():
                raise LoadFailed("Another run has taken over this repair.")
            progress.step("Publishing the repaired history")
            scratch.log(PUBLISHING)
            scratch.swap_in(scratch.rebuilt)
            scratch.log(REPAIR)
        else:
            scratch.check_intact()
    return LoadResult(notes=_notes(found, scratch.dry_run, is_missing_versions))


def _plan(scratch: ScratchTables, *, keep_ends: bool) -> None:
    """`staged`: the rows that count, each once; `plan`: those whose validity must change."""
    scratch.create_staged()
    scratch.fill(
        scratch.staged,
        version_order.restore(scratch.table, scratch.target, scratch.load_log, scratch.staged),
        **version_order.spill(),
    )
    scratch.create(scratch.stored, version_order.STORED_COLUMNS)
    scratch.fill(
        scratch.stored, version_order.copy_restored(scratch.table, scratch.staged, scratch.stored)
    )
    scratch.create(scratch.plan, version_order.PLAN_COLUMNS, version_order.PLAN_ORDER)
    closings = closings_of(scratch.tenant.id, scratch.table.name)
    scratch.fill(
        scratch.plan,
        version_order.plan_again(scratch.stored, closings, scratch.plan, keep_ends=keep_ends),
        **version_order.spill(),
    )


def _differences(scratch: ScratchTables) -> dict[str, int]:
    rows, hashes = scratch.rows(
        f"SELECT count(), countIf(record_hash != {record_hash(scratch.table)}) "
        f"FROM {scratch.target} WHERE tenant_id = {{tenant_id:String}}"
    )[0]
    kept = scratch.filled(scratch.staged)
    moves = scratch.value(f"SELECT countIf(moves) FROM {scratch.plan}")
    return {
        "rows that belong to no load, or are stored twice": rows - kept,
        "hashes that do not match": hashes,
        "versions with a wrong validity": moves,
    }


def _rebuild(scratch: ScratchTables) -> None:
    scratch.create_rebuilt()
    rows = scratch.fill(
        scratch.rebuilt,
        rebuild_sql(
            scratch.table, scratch.staged, "", scratch.plan, scratch.rebuilt, scratch.intact
        ),
        **version_order.spill(),
    )
    if rows != scratch.filled(scratch.staged):
        raise Interrupted(f"{rows} of the rows that count were built. Repair again.")


def _notes(found: dict[str, int], dry_run: bool, is_missing_versions: bool) -> tuple[str, ...]:
    parts = [f"{count:,} {what}" for what, count in found.items() if count]
    verb = "Would repair" if dry_run else "Repaired"
    repaired = f"{verb}: {'; '.join(parts)}." if parts else "There is nothing to repair."
    if not is_missing_versions:
        return (repaired,)
    return (
        repaired,
        "Versions that loads brought are gone, so the last version of a key keeps its end. "
        "Load everything again (bulk) to bring them back.",
    )
