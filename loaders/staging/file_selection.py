"""Which of the lake's files a load reads, and what their headers say about their columns."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import BoundedSemaphore

from django.conf import settings

from analytics.warehouse.catalog import Table
from loaders.lake.discovery import Examined, Found, compression_of, format_of, overlap_begins
from loaders.lake.results import FileOutcome, Outcomes
from loaders.lake.s3 import Lake, LakeArchived, LakeObject, LakeRefused
from loaders.staging.file_schema import SourceFile, UnusableFile, read_schema, weigh_lines
from loaders.staging.progress import Progress

_THREADS = 8
# Of files that are read to their end: more at a time take memory and are hardly faster.
_WHOLE_READS = BoundedSemaphore(4)


@dataclass(frozen=True)
class Selection:
    """`to_stage` are files whose rows are read, `known` those of which the keys are enough.

    `quarantined` files are left out, with the reason. `columns` and `unknown_columns` are what
    headers show; JSON lines have none.
    """

    to_stage: tuple[SourceFile, ...]
    known: Mapping[SourceFile, FileOutcome]
    quarantined: Outcomes
    columns: Mapping[str, Mapping[str, str]]
    unknown_columns: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not self.to_stage and not self.known

    @property
    def weight_to_stage(self) -> int:
        """About how many bytes the rows take that are to be staged."""
        return sum(file.weight for file in self.to_stage)


def select_files(
    lake: Lake,
    table: Table,
    found: Found,
    staged_before: Mapping[str, Examined],
    progress: Progress,
) -> Selection:
    """Read the headers of the files that were found, and leave out those that cannot be loaded.

    Those are known whose exact content is in `staged_before` (by key). LakeRefused if the lake
    delivers none of the files.
    """
    progress.step(f"Reading the headers of {len(found.files)} files")
    with ThreadPoolExecutor(_THREADS) as threads:
        read = threads.map(lambda each: _header(lake, table, each), found.files)
        headers = dict(zip(found.files, read, strict=True))
    files = [each for each in headers.values() if isinstance(each, SourceFile)]
    failed = {key: each for key, each in headers.items() if isinstance(each, Exception)}
    refusals = [each for each in failed.values() if isinstance(each, LakeRefused)]
    if refusals and len(refusals) == len(found.files):  # AVESA's own credentials may not read
        raise refusals[0]
    known = {
        file: staged_before[file.object.key].outcome
        for file in files
        if _is_known(file, staged_before)
    }
    weighed = _weighed(lake, [file for file in files if file not in known])
    for file, each in weighed.items():
        if isinstance(each, UnusableFile):
            failed[file.object] = each
    return Selection(
        tuple(each for each in weighed.values() if isinstance(each, SourceFile)),
        known,
        outcomes_of(found) | {each: _outcome_of(error) for each, error in failed.items()},
        _columns(files),
        tuple(sorted({name for file in files for name in file.schema.unknown})),
    )


def new_or_changed(found: Found, examined: Mapping[str, Examined]) -> Found:
    """What an incremental load reads: objects that are recent, or not in `examined` as they are.

    Recent ones are read again, since unchanged rows write nothing, and it restores what a warehouse
    lost that crashed just after a load.
    """
    since = overlap_begins()

    def is_due(each: LakeObject) -> bool:
        before = examined.get(each.key)
        return each.last_modified >= since or not (before and before.is_same(each))

    return Found(
        [each for each in found.files if is_due(each)],
        {each: reason for each, reason in found.quarantine.items() if is_due(each)},
    )


def outcomes_of(found: Found) -> dict[LakeObject, FileOutcome]:
    """Of the objects that discovery quarantined."""
    return {each: FileOutcome(error=reason) for each, reason in found.quarantine.items()}


def _header(lake: Lake, table: Table, each: LakeObject) -> SourceFile | Exception:
    try:
        if format_of(each.key) == "csv":
            with _WHOLE_READS:
                return read_schema(lake, each, table)
        return read_schema(lake, each, table)
    except (UnusableFile, LakeArchived, LakeRefused) as error:
        return error


def _is_known(file: SourceFile, examined: Mapping[str, Examined]) -> bool:
    """Whether all rows of this very content were staged by an earlier load."""
    before = examined.get(file.object.key)
    return (
        before is not None
        and before.is_same(file.object)
        and settings.LOAD_TRANSPORT == "engine"
        and not before.outcome.error
        and before.outcome.rows_in_file is not None
        and file.rows in (None, before.outcome.rows_read)
    )


def _weighed(lake: Lake, files: list[SourceFile]) -> dict[SourceFile, SourceFile | UnusableFile]:
    """Each file with what is known of it after compressed JSON lines were read, or why it cannot be
    loaded. Reading the headers has shown the same of other files.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        return dict(zip(files, threads.map(lambda each: _weigh(lake, each), files), strict=True))


def _weigh(lake: Lake, file: SourceFile) -> SourceFile | UnusableFile:
    if file.schema.format != "jsonl" or not compression_of(file.object.key):
        return file
    try:
        with _WHOLE_READS:
            return weigh_lines(lake, file)
    except UnusableFile as error:
        return error


def _outcome_of(error: Exception) -> FileOutcome:
    return FileOutcome(error=str(error), is_refused=isinstance(error, LakeRefused))


def _columns(files: Iterable[SourceFile]) -> dict[str, dict[str, str]]:
    """Columns by format. The newest file of a format shows what upstream sends now."""
    in_order = sorted(files, key=lambda file: file.object.last_modified)
    return {file.schema.format: dict(file.columns) for file in in_order if file.columns}
