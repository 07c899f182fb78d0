"""A full refresh of files that an earlier load staged: only their keys are read."""

from collections.abc import Mapping

from analytics.warehouse.sql import quote
from loaders.lake.results import FileOutcome
from loaders.lake.s3 import Lake
from loaders.staging import sql
from loaders.staging.file_schema import SourceFile
from loaders.staging.progress import Progress
from loaders.staging.readers import Sources, read_limits, with_keys_alone
from loaders.staging.scratch_tables import ScratchTables

Known = Mapping[SourceFile, FileOutcome]

_KEYS_COLUMNS = "entity String, source_file LowCardinality(String)"


def have_the_current_keys(
    scratch: ScratchTables, lake: Lake, known: Known, progress: Progress
) -> bool:
    """Whether the files hold just the keys that are current: then history stays as it is."""
    progress.step(f"Comparing the keys of {len(known)} unchanged files")
    digests: dict[str, tuple[int, int, int]] = {}
    for group, source in Sources(lake, scratch.raw, progress).groups(known):
        with source.relation(scratch.table, group) as everything:
            relation = with_keys_alone(scratch.table, everything)
            rows = scratch.rows_of_files(
                sql.digest_of_keys(scratch.table, relation.schema, relation.sql)
            )
        digests.update({path: tuple(digest) for path, *digest in rows})
    for file, outcome in known.items():
        rows_with_key = digests.get(file.object.path, (0,))[0]
        if not outcome.rows_loaded <= rows_with_key <= outcome.rows_read:
            return False
    in_files = tuple(sum(part) % 2**64 for part in zip(*digests.values(), strict=True))
    current = scratch.rows(
        f"SELECT {sql.key_digest(quote(scratch.table.key))} FROM {scratch.target} "
        "WHERE tenant_id = {tenant_id:String} AND is_current"
    )[0]
    return in_files == tuple(current)


def read_keys(scratch: ScratchTables, lake: Lake, known: Known, progress: Progress) -> Known:
    """Fill `scratch.keys`. Returns the files that need not be staged.

    A file must be staged if it holds a key that is not current, or fewer keys than it had rows.
    """
    scratch.create(scratch.keys, _KEYS_COLUMNS)
    if known:
        progress.step(f"Reading the keys of {len(known)} unchanged files")
    for group, source in Sources(lake, scratch.raw, progress).groups(known):
        with source.relation(scratch.table, group) as everything:
            relation = with_keys_alone(scratch.table, everything)
            scratch.fill(
                scratch.keys,
                sql.keys(scratch.table, relation.schema, relation.sql, scratch.keys),
                **read_limits(),
            )
    counts = dict(scratch.rows(f"SELECT source_file, count() FROM {scratch.keys} GROUP BY 1"))
    statement = sql.files_with_other_keys(scratch.table, scratch.target, scratch.keys)
    incomplete = {path for (path,) in scratch.rows(statement)}
    return {
        file: outcome
        for file, outcome in known.items()
        if file.object.path not in incomplete
        and counts.get(file.object.path, 0) >= outcome.rows_read
    }
