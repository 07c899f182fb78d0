"""Which of the lake's files a load reads, and what their headers say about their columns."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from django.conf import settings

from analytics.warehouse.catalog import Table
from loaders.lake.discovery import Examined, Found, overlap_begins
from loaders.lake.results import FileOutcome, Outcomes
from loaders.lake.s3 import Lake, LakeArchived, LakeObject, LakeRefused
from loaders.staging.file_schema import SourceFile, UnusableFile, prove_whole, read_schema
from loaders.staging.progress import Progress
from loaders.staging.readers import suits_engine

_THREADS = 8


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
    def bytes_to_stage(self) -> int:
        return sum(file.object.size for file in self.to_stage)


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
    cut = _cut_files(lake, [file for file in files if file not in known])
    return Selection(
        tuple(file for file in files if file not in known and file.object not in cut),
        known,
        outcomes_of(found) | {each: _outcome_of(error) for each, error in (failed | cut).items()},
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


def _cut_files(lake: Lake, files: list[SourceFile]) -> dict[LakeObject, Exception]:
    """Files that were cut off. Only JSON lines for the engine need this: others prove their end."""
    unproven = [
        file.object for file in files if file.schema.format == "jsonl" and suits_engine(file)
    ]
    with ThreadPoolExecutor(_THREADS) as threads:
        faults = threads.map(lambda each: _fault_of_end(lake, each), unproven)
        return {each: fault for each, fault in zip(unproven, faults, strict=True) if fault}


def _fault_of_end(lake: Lake, each: LakeObject) -> UnusableFile | None:
    try:
        prove_whole(lake, each)
    except UnusableFile as error:
        return error
    return None


def _outcome_of(error: Exception) -> FileOutcome:
    return FileOutcome(error=str(error), is_refused=isinstance(error, LakeRefused))


def _columns(files: Iterable[SourceFile]) -> dict[str, dict[str, str]]:
    """Columns by format. The newest file of a format shows what upstream sends now."""
    in_order = sorted(files, key=lambda file: file.object.last_modified)
    return {file.schema.format: dict(file.columns) for file in in_order if file.columns}
