"""A bulk load begins history anew: it is refused while that may lose what earlier loads brought."""

from analytics.warehouse.sql import quote
from loaders.lake.discovery import examinations
from loaders.lake.results import LoadFailed, LoadResult
from loaders.staging.scratch_tables import ScratchTables


def refuse_losses(scratch: ScratchTables, result: LoadResult) -> None:
    """Raise LoadFailed if quarantined files or rejected rows had brought what history holds."""
    if unread := _unread_files_of_history(scratch, result):
        files = "1 file" if len(unread) == 1 else f"{len(unread):,} files"
        raise LoadFailed(
            f"History holds rows of {files} that cannot be read now "
            f"({', '.join(unread)[:500]}). A bulk load would lose them, so nothing was changed. "
            "Deliver these files again or remove them, or run a full refresh, which keeps their "
            f"rows. {reasons(result)}"
        )
    if result.rows_rejected and (lost := _count_lost_keys(scratch)):
        raise LoadFailed(
            f"{lost:,} keys of the history are in no row that could be loaded, but "
            f"{result.rows_rejected:,} rows were rejected. A bulk load would lose these "
            "keys, so nothing was changed. Correct the rejected rows, or run a full refresh, "
            "which keeps these keys."
        )


def reasons(result: LoadResult) -> str:
    """Why files were quarantined."""
    named = [f"{each.key}: {reason}" for each, reason in result.quarantined.items()]
    return "; ".join(named)[:2000]


def _unread_files_of_history(scratch: ScratchTables, result: LoadResult) -> list[str]:
    """Paths of files that were quarantined, but of which rows were loaded before."""
    unread = {each.path: each for each in result.quarantined}
    if not unread:
        return []
    loaded = {
        key
        for _, key, examined in examinations(scratch.tenant, scratch.table)
        if examined.outcome.rows_loaded
    }
    stored = scratch.rows(
        f"SELECT DISTINCT source_file FROM {scratch.target} "
        "WHERE tenant_id = {tenant_id:String} AND source_file IN {unread:Array(String)}",
        unread=list(unread),
    )
    paths = {path for (path,) in stored}
    return sorted(path for path, each in unread.items() if path in paths or each.key in loaded)


def _count_lost_keys(scratch: ScratchTables) -> int:
    key = quote(scratch.table.key)
    return int(
        scratch.value(
            f"SELECT uniqExact({key}) FROM {scratch.target} "
            "WHERE tenant_id = {tenant_id:String} "
            f"AND {key} NOT IN (SELECT {key} FROM {scratch.staged})"
        )
    )
