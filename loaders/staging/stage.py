"""Staging: typed and hashed rows of a load's files in a scratch table; bad rows as rejects."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from analytics.warehouse.errors import OutOfMemory, Unreachable, UnreadableData
from loaders.lake.results import FileOutcome, LoadFailed, Outcomes
from loaders.lake.s3 import Lake, LakeObject
from loaders.staging import limits, sql
from loaders.staging.file_schema import SourceFile, UnusableFile
from loaders.staging.limits import LimitExceeded
from loaders.staging.progress import Progress
from loaders.staging.readers import (
    THRIFTY,
    Relation,
    Source,
    Sources,
    json_lines,
    read_limits,
    suits_engine,
    with_columns,
)
from loaders.staging.scratch_tables import ScratchTables

# Reads of a file, alone, that may fail although a plain read of it succeeds.
MAX_FAILURES = 3


@dataclass(frozen=True)
class Staged:
    """`files` are those whose rows were read: each row is in `scratch.staged` or rejected.

    `outcomes` has their counts, and the reasons why other files were quarantined. `json_columns`
    are the fields that JSON lines have. In `rows_replaced` rows control characters were replaced.
    """

    files: tuple[SourceFile, ...]
    outcomes: Outcomes
    json_columns: frozenset[str] | None  # None: there were no JSON lines
    rows_replaced: int


@dataclass(frozen=True)
class _Damage:
    """Why a file cannot be staged. `is_final` if no other way to read it is to be tried."""

    file: SourceFile
    reason: str
    is_final: bool = False


class _DamagedFiles(Exception):
    """These files cannot be staged; all others can, for all that is known."""

    def __init__(self, *damages: _Damage) -> None:
        super().__init__()
        self.damages = damages


class _PassingError(Exception):
    """A read failed, but every file can be read, or it is not known yet which cannot."""


def stage(
    scratch: ScratchTables,
    lake: Lake,
    files: Sequence[SourceFile],
    progress: Progress,
    on_quarantine: Callable[[LakeObject, FileOutcome], None],
) -> Staged:
    """Stage all rows that can be, and count them against what the files hold.

    Begins anew without a file that proves to be damaged, and calls `on_quarantine` with it.
    LakeChanged if a file was replaced meanwhile, LoadFailed if rows are neither staged nor
    rejected.
    """
    quarantined: dict[LakeObject, FileOutcome] = {}
    by_worker: set[str] = set()  # keys of files that the engine could not read
    failures: Counter[str] = Counter()  # of files that can be read by themselves, by key
    remaining = tuple(files)
    while True:
        attempt = _Attempt(scratch, lake, progress, by_worker, failures)
        try:
            return attempt.stage(remaining, quarantined)
        except _PassingError:
            pass
        except _DamagedFiles as failed:
            for damage in failed.damages:
                file = damage.file
                if suits_engine(file) and file.object.key not in by_worker and not damage.is_final:
                    by_worker.add(file.object.key)
                else:
                    quarantined[file.object] = FileOutcome(error=damage.reason)
                    on_quarantine(file.object, quarantined[file.object])
                    remaining = tuple(each for each in remaining if each != file)
        scratch.drop(scratch.staged)


class _Attempt:
    """One attempt to stage files. Raises _DamagedFiles or _PassingError: try again differently."""

    def __init__(
        self,
        scratch: ScratchTables,
        lake: Lake,
        progress: Progress,
        by_worker: set[str],
        failures: Counter[str],
    ) -> None:
        self._scratch = scratch
        self._table = scratch.table
        self._lake = lake
        self._progress = progress
        self._by_worker = by_worker
        self._failures = failures
        self._sources = Sources(lake, scratch.raw, progress)
        self._rows: dict[str, int] = {}  # how many rows each file has, by path
        self._json_columns: set[str] | None = None

    def stage(self, files: tuple[SourceFile, ...], quarantined: Outcomes) -> Staged:
        self._scratch.create_staged()
        self._progress.found(file.object for file in files)
        damages: list[_Damage] = []
        # A file that failed, perhaps with others, is read alone, so that its fault is not theirs.
        for group, source in self._sources.groups(files, self._by_worker, self._failures):
            self._progress.reading(group)
            try:
                self._stage_group(group, source)
            except _DamagedFiles as failed:
                damages += failed.damages
            self._progress.read()
        if damages:
            raise _DamagedFiles(*damages)
        outcomes = self._count(files)
        json_columns = self._json_columns
        return Staged(
            files,
            {**quarantined, **outcomes},
            None if json_columns is None else frozenset(json_columns),
            self._make_printable(),
        )

    # --- Reading

    def _stage_group(self, group: list[SourceFile], source: Source) -> None:
        self._progress.step(f"Staging {len(group)} {group[0].schema.format} files")
        scratch = self._scratch
        unaccounted: list[SourceFile] = []
        try:
            with source.relation(self._table, group) as relation:
                unaccounted = self._read(group, relation)
        except (UnreadableData, Unreachable) as error:
            scratch.check_intact()  # which fails if the warehouse is away, or was
            damaged = self._damaged(group, source, str(error))
            if damaged is None:
                raise _PassingError from error
            raise _DamagedFiles(_Damage(damaged, str(error))) from error
        except OutOfMemory as error:
            self._isolate(group)
            raise _PassingError from error
        except UnusableFile as error:
            raise _DamagedFiles(_Damage(error.file or group[0], str(error))) from error
        if self._scratch.outgrows_memory:
            self._scratch.move_to_disk()
            raise _PassingError
        if unaccounted:
            self._refuse_other_rows(unaccounted)

    def _read(self, group: list[SourceFile], relation: Relation) -> list[SourceFile]:
        """Stage and reject rows. Returns the files of which some rows were not staged."""
        scratch = self._scratch
        thrift = THRIFTY if group[0].object.key in self._failures else {}
        relation = self._count_rows(group, relation)
        scratch.fill(
            scratch.staged,
            sql.stage(self._table, relation.schema, relation.sql, scratch.staged),
            **{"max_insert_threads": 2, **read_limits(), **thrift},
        )
        unaccounted = self._unaccounted(group)
        if unaccounted:
            self._progress.step("Explaining rejected rows")
            scratch.run(
                sql.reject(self._table, relation.schema, relation.sql, scratch.rejects),
                # Parallel parsing miscounts rows of large CSV files.
                **{**read_limits(), **thrift, "input_format_parallel_parsing": 0},
            )
        return unaccounted

    def _count_rows(self, group: list[SourceFile], relation: Relation) -> Relation:
        """Learn how many rows each file has from what does not depend on the stage.

        Returns the relation, of JSON lines with the fields that they have.
        """
        found = {file.object.path: file.rows for file in group if file.rows is not None}
        if relation.schema.format == "jsonl":
            by_file = self._scratch.rows_of_files(json_lines(relation))
            _check_lines(group, by_file)
            found = {path: rows for path, rows, *_ in by_file}
            fields = {name for _, _, names, *_ in by_file for name in names}
            self._json_columns = (self._json_columns or set()) | fields
            has_many_digits = any(many for _, _, _, many, _ in by_file)
            relation = with_columns(self._table, relation, fields, has_many_digits=has_many_digits)
        self._rows.update(self._sources.streamed | found)
        return relation

    def _refuse_other_rows(self, group: list[SourceFile]) -> None:
        """A file that gives other rows than it has by its own account is damaged."""
        damages = []
        for file in self._unaccounted(group):
            self._lake.touch(file.object)  # raises LakeChanged if it was replaced meanwhile
            rows = self._rows.get(file.object.path, 0)
            reason = f"It should have {rows} rows, but others were read."
            damages.append(_Damage(file, reason, is_final=True))
        if damages:
            raise _DamagedFiles(*damages)

    # --- Damaged files

    def _damaged(self, group: list[SourceFile], source: Source, error: str) -> SourceFile | None:
        """The file of a group that cannot be read, if there is one.

        The first that fails by itself, or a file that has failed often enough alone. There are
        files on which the engine drops the connection.
        """
        for file in [*_named_in(error, group), *group]:
            try:
                with source.relation(self._table, [file]) as relation:
                    self._scratch.rows_of_files(
                        f"SELECT count() FROM {relation.sql} WHERE NOT ignore(*)"
                    )
            except (UnreadableData, Unreachable):
                return file
            except OutOfMemory:
                raise _DamagedFiles(_too_much_memory(file)) from None
        self._failures.update(file.object.key for file in group)
        [file, *others] = group
        return file if not others and self._failures[file.object.key] >= MAX_FAILURES else None

    def _isolate(self, group: list[SourceFile]) -> None:
        """A statement that read these files ran out of memory: find out what is too much.

        Tables in memory come first. Then each file is read alone and thriftily, and one that still
        needs too much is damaged.
        """
        if self._scratch.is_in_memory:
            self._scratch.move_to_disk()
        elif group[0].object.key in self._failures:
            raise _DamagedFiles(_too_much_memory(group[0]))
        else:
            self._failures.update(each.object.key for each in group)

    # --- Text

    def _make_printable(self) -> int:
        """Replace control characters in staged rows; returns how many rows held any."""
        scratch = self._scratch
        rows = int(scratch.value(sql.count_unprintable(self._table, scratch.staged)))
        if rows:
            self._progress.step("Replacing control characters")
            staged = f"{scratch.staged}{scratch.at.on_cluster}"
            scratch.run(sql.make_printable(self._table, staged), bind=False, mutations_sync=2)
        return rows

    # --- Counting

    def _count(self, files: Sequence[SourceFile]) -> dict[LakeObject, FileOutcome]:
        """Reconcile: every row of every file is either staged or rejected."""
        staged, rejected = self._counts(files)
        outcomes = {}
        for file in files:
            path = file.object.path
            good, bad, rows = staged.get(path, 0), rejected.get(path, 0), self._rows.get(path, 0)
            if good + bad != rows:
                self._lake.touch(file.object)  # raises LakeChanged if it was replaced meanwhile
                raise LoadFailed(
                    f"{path} has {rows} rows, of which {good} were staged and {bad} rejected. It "
                    "was probably replaced meanwhile: load again."
                )
            outcomes[file.object] = FileOutcome(rows, bad, rows_in_file=rows)
        return outcomes

    def _unaccounted(self, group: list[SourceFile]) -> list[SourceFile]:
        """The files of which some rows are neither staged nor known to be rejected."""
        staged, rejected = self._counts(group)
        return [
            file
            for file in group
            if staged.get(file.object.path, 0) + rejected.get(file.object.path, 0)
            != self._rows.get(file.object.path, 0)
        ]

    def _counts(self, files: Sequence[SourceFile]) -> tuple[dict[str, int], dict[str, int]]:
        """(staged rows, rejected rows) by path. Rejects are not queried if all are staged.

        Raises Interrupted if staged rows are gone.
        """
        scratch = self._scratch
        staged = dict(
            scratch.rows(f"SELECT source_file, count() FROM {scratch.staged} GROUP BY source_file")
        )
        if sum(staged.values()) != scratch.filled(scratch.staged):
            scratch.check_intact()
        paths = [file.object.path for file in files]
        if all(staged.get(path, 0) == self._rows.get(path, 0) for path in paths):
            return staged, {}
        rejects = f"""SELECT source_file, uniqExact(source_row) FROM {scratch.rejects}
            WHERE {sql.rejects_of_run(self._table)} GROUP BY source_file"""
        return staged, dict(scratch.rows(rejects))


def _too_much_memory(file: SourceFile) -> _Damage:
    return _Damage(file, str(limits.too_much_memory()), is_final=True)


def _check_lines(group: list[SourceFile], by_file: list[Any]) -> None:
    """Raise _DamagedFiles if files have too long lines or too many fields, by `json_lines`."""
    files = {file.object.path: file for file in group}
    damages = []
    for path, _, names, _, longest in by_file:
        try:
            limits.check_line(longest)
            limits.check_columns(names)
        except LimitExceeded as error:
            damages.append(_Damage(files[path], str(error), is_final=True))
    if damages:
        raise _DamagedFiles(*damages)


def _named_in(error: str, group: list[SourceFile]) -> list[SourceFile]:
    named = re.search(r"in file/uri (.+?)\)", error)
    return [file for file in group if named and file.object.path == named[1]]
