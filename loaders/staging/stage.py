"""Staging: typed and hashed rows of a load's files in a scratch table; bad rows as rejects."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings

from analytics.warehouse.errors import Unreachable, UnreadableData
from loaders.lake.results import FileOutcome, LoadFailed, LoadResult
from loaders.lake.s3 import Lake, LakeArchived, LakeObject, LakeRefused
from loaders.staging import sql
from loaders.staging.file_schema import (
    FileSchema,
    SourceFile,
    UnusableFile,
    prove_whole,
    read_schema,
)
from loaders.staging.progress import Progress
from loaders.staging.readers import EngineSource, Relation, Source, WorkerSource
from loaders.staging.scratch_tables import ScratchTables

# So many files are read in one statement: bounds its text, and what a damaged file costs.
FILES_PER_STATEMENT = 200
NAMES_PER_STATEMENT = 100_000
# A file that reads well by itself, but not into its rows: the error may pass so often.
TRIES = 3


class _DamagedFile(Exception):
    """`is_final` if no other way to read it is to be tried."""

    def __init__(self, file: SourceFile, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.file = file
        self.reason = reason
        self.is_final = is_final


class _PassingError(Exception):
    """A read failed, but every file can be read."""


class Staging:
    """Fills `scratch.staged`, and tells `result` about files, rows and columns."""

    def __init__(
        self,
        scratch: ScratchTables,
        lake: Lake,
        result: LoadResult,
        progress: Progress,
        on_step: Callable[[str], None],
    ) -> None:
        self._scratch = scratch
        self._table = scratch.table
        self._lake = lake
        self._result = result
        self._progress = progress
        self._on_step = on_step
        self._worker_source = WorkerSource(lake, scratch.raw, on_step)
        self._failures: Counter[str] = Counter()  # of files that read well by themselves, by key
        self._tolerant: set[str] = set()  # keys of files that the engine could not read
        self._rows: dict[str, int] = {}  # how many rows each file has, by path

    # --- Files

    def schemas(self, files: Iterable[LakeObject]) -> list[SourceFile]:
        """What the headers say. Files without a usable one are quarantined.

        So are those that the lake refuses; if it refuses all, that is raised, as LakeRefused.
        """
        files = list(files)
        self._on_step(f"Reading the headers of {len(files)} files")
        with ThreadPoolExecutor(8) as threads:
            found = dict(zip(files, threads.map(self._schema, files), strict=True))
        self._quarantine_refused(found)
        usable = [file for file in found.values() if isinstance(file, SourceFile)]
        for file in sorted(usable, key=lambda file: file.object.last_modified):
            if file.columns:  # the newest file of a format tells what upstream sends now
                self._result.columns[file.schema.format] = dict(file.columns)
        self._note_unknown(name for file in usable for name in file.schema.unknown)
        return usable

    def _schema(self, each: LakeObject) -> SourceFile | LakeRefused | None:
        try:
            return read_schema(self._lake, each, self._table)
        except LakeRefused as refusal:
            return refusal
        except (UnusableFile, LakeArchived) as error:
            self.quarantine(each, str(error))
            return None

    def _quarantine_refused(
        self, found: Mapping[LakeObject, SourceFile | LakeRefused | None]
    ) -> None:
        refused = {each: it for each, it in found.items() if isinstance(it, LakeRefused)}
        if refused and len(refused) == len(found):  # then it is we who may not read
            raise next(iter(refused.values()))
        for each, refusal in refused.items():
            self.quarantine(each, str(refusal), is_refused=True)

    def whole(self, files: list[SourceFile]) -> list[SourceFile]:
        """Those that are not cut off. Formats with an end prove it alone; others are quarantined."""
        unproven = [
            file for file in files if file.schema.format == "jsonl" and self._is_engine(file)
        ]
        with ThreadPoolExecutor(8) as threads:
            cut = dict(zip(unproven, threads.map(self._why_cut, unproven), strict=True))
        for file, reason in cut.items():
            if reason:
                self.quarantine(file.object, reason)
        return [file for file in files if not cut.get(file)]

    def _why_cut(self, file: SourceFile) -> str:
        try:
            prove_whole(self._lake, file.object)
        except UnusableFile as error:
            return str(error)
        return ""

    def quarantine(self, each: LakeObject, reason: str, *, is_refused: bool = False) -> None:
        self._result.files[each] = FileOutcome(error=reason, is_refused=is_refused)

    def _note_unknown(self, names: Iterable[str]) -> None:
        self._result.unknown_columns = sorted({*self._result.unknown_columns, *names})

    # --- Rows

    def stage(self, files: list[SourceFile]) -> list[SourceFile]:
        """Stage all rows that can be; begins anew without a file that proves to be damaged.

        Returns the files that were staged.
        """
        scratch = self._scratch
        while True:
            scratch.create_staged()
            self._progress.found(file.object for file in files)
            try:
                for group, source in self._groups(files):
                    self._progress.reading(group)
                    self._stage_group(group, source)
                    self._progress.read()
                return files
            except _PassingError:
                scratch.drop(scratch.staged)
            except _DamagedFile as damaged:
                scratch.drop(scratch.staged)
                file = damaged.file
                if self._is_engine(file) and not damaged.is_final:
                    self._tolerant.add(file.object.key)
                else:
                    self.quarantine(file.object, damaged.reason)
                    files = [each for each in files if each != file]

    def _is_engine(self, file: SourceFile) -> bool:
        by_engine = settings.LOAD_TRANSPORT == "engine" and file.is_plain
        return by_engine and file.object.key not in self._tolerant

    def _groups(self, files: list[SourceFile]) -> list[tuple[list[SourceFile], Source]]:
        """Files that one statement can read: same schema, same way, not too many.

        One that failed with others is read alone, so that what it does is not laid to them.
        """
        alike: dict[tuple[FileSchema, bool, str], list[SourceFile]] = {}
        for file in files:
            alone = file.object.key if self._failures[file.object.key] else ""
            alike.setdefault((file.schema, self._is_engine(file), alone), []).append(file)
        engine = EngineSource(self._lake)
        return [
            (part, engine if by_engine else self._worker_source)
            for (_, by_engine, _), group in alike.items()
            for part in _parts(group)
        ]

    def _stage_group(self, group: list[SourceFile], source: Source) -> None:
        schema = group[0].schema
        self._on_step(f"Staging {len(group)} {schema.format} files")
        scratch = self._scratch
        try:
            with source.relation(self._table, group) as relation:
                scratch.fill(
                    scratch.staged,
                    sql.stage(self._table, relation.schema, relation.sql, scratch.staged),
                    max_insert_threads=2,
                )
                self._note_rows(group, relation)
                if self._unaccounted(group):
                    self._on_step("Explaining rejected rows")
                    scratch.run(
                        sql.reject(self._table, relation.schema, relation.sql, scratch.rejects),
                        input_format_parallel_parsing=0,  # which miscounts rows of large CSV files
                    )
        except (UnreadableData, Unreachable) as error:
            scratch.check_intact()  # which fails if the warehouse is away, or was
            named = self._named(group, str(error))
            damaged = self._damaged([*named, *group], source) or self._hopeless(group)
            if damaged is None:
                raise _PassingError from error
            raise _DamagedFile(damaged, str(error)) from error
        except UnusableFile as error:
            raise _DamagedFile(error.file or group[0], str(error)) from error
        self._compare(group)

    def _note_rows(self, group: list[SourceFile], relation: Relation) -> None:
        """Learn how many rows each file has from what does not depend on the stage."""
        found = {file.object.path: file.rows for file in group if file.rows is not None}
        if relation.schema.format == "jsonl":
            by_file = self._scratch.rows(sql.json_rows(relation.sql))
            self._note_json_columns({name for _, _, names in by_file for name in names})
            found = {path: rows for path, rows, _ in by_file}
        self._rows.update(self._worker_source.streamed | found)

    def _note_json_columns(self, names: set[str]) -> None:
        known = {*self._table.source_names, "tenant_id"}
        self._result.columns.setdefault("jsonl", {}).update(dict.fromkeys(sorted(names), "JSON"))
        self._note_unknown(names - known)

    def _unaccounted(self, group: list[SourceFile]) -> list[SourceFile]:
        """The files of which some rows are neither staged nor known to be rejected."""
        staged, rejected = self._counts(group)
        return [
            file
            for file in group
            if staged.get(file.object.path, 0) + rejected.get(file.object.path, 0)
            != self._rows.get(file.object.path, 0)
        ]

    def _compare(self, group: list[SourceFile]) -> None:
        """Set a file aside that gives other rows than it has by its own account."""
        for file in self._unaccounted(group):
            self._lake.touch(file.object)  # raises LakeChanged if it was replaced meanwhile
            rows = self._rows.get(file.object.path, 0)
            raise _DamagedFile(
                file, f"It should have {rows} rows, but others were read.", is_final=True
            )

    def _damaged(self, group: list[SourceFile], source: Source) -> SourceFile | None:
        """The first file of a group that cannot be read by itself, if there is one.

        There are files on which the engine drops the connection.
        """
        for file in group:
            try:
                with source.relation(self._table, [file]) as relation:
                    self._scratch.value(f"SELECT count() FROM {relation.sql} WHERE NOT ignore(*)")
            except (UnreadableData, Unreachable):
                return file
        return None

    def _hopeless(self, group: list[SourceFile]) -> SourceFile | None:
        """The file that has failed often enough alone, if it is one."""
        self._failures.update(file.object.key for file in group)
        [file, *others] = group
        return file if not others and self._failures[file.object.key] >= TRIES else None

    def _named(self, group: list[SourceFile], message: str) -> list[SourceFile]:
        named = re.search(r"in file/uri (.+?)\)", message)
        return [file for file in group if named and file.object.path == named[1]]

    # --- Keys alone

    def key_digests(self, files: list[SourceFile]) -> dict[str, tuple[int, int, int]]:
        """(rows, and two sums over the keys) of each file, by path."""
        digests: dict[str, tuple[int, int, int]] = {}
        for group, source in self._groups(files):
            with source.relation(self._table, group) as relation:
                rows = self._scratch.rows(
                    sql.digest_of_keys(self._table, relation.schema, relation.sql)
                )
            digests.update({path: tuple(digest) for path, *digest in rows})
        return digests

    def read_keys(self, files: list[SourceFile]) -> dict[str, int]:
        """Fill `scratch.keys` from files whose rows an earlier load staged; rows by path."""
        scratch = self._scratch
        for group, source in self._groups(files):
            with source.relation(self._table, group) as relation:
                scratch.fill(
                    scratch.keys,
                    sql.keys(self._table, relation.schema, relation.sql, scratch.keys),
                )
        return dict(scratch.rows(f"SELECT source_file, count() FROM {scratch.keys} GROUP BY 1"))

    # --- Counting

    def _count_staged(self) -> dict[str, int]:
        sql = f"SELECT source_file, count() FROM {self._scratch.staged} GROUP BY source_file"
        return dict(self._scratch.rows(sql))

    def _counts(self, files: list[SourceFile]) -> tuple[dict[str, int], dict[str, int]]:
        """(staged rows, rejected rows) by path. Rejects are not asked for if all are staged.

        Raises Interrupted if staged rows are gone.
        """
        staged = self._count_staged()
        if sum(staged.values()) != self._scratch.filled(self._scratch.staged):
            self._scratch.check_intact()
        paths = [file.object.path for file in files]
        are_staged = all(staged.get(path, 0) == self._rows.get(path, 0) for path in paths)
        return staged, {} if are_staged else self._reject_counts()

    def _reject_counts(self) -> dict[str, int]:
        counts = f"""SELECT source_file, uniqExact(source_row) FROM {self._scratch.rejects}
            WHERE {sql.rejects_of_run(self._table)} GROUP BY source_file"""
        return dict(self._scratch.rows(counts))

    def count(self, files: list[SourceFile]) -> None:
        """Reconcile: every row of every file is either staged or rejected."""
        staged, rejected = self._counts(files)
        for file in files:
            path = file.object.path
            rows = self._rows.get(path, 0)
            outcome = FileOutcome(
                staged.get(path, 0) + rejected.get(path, 0),
                rejected.get(path, 0),
                rows_in_file=rows,
            )
            self._result.files[file.object] = outcome
            if outcome.rows_read != rows:
                raise LoadFailed(
                    f"{path} has {rows} rows, of which {staged.get(path, 0)} were staged and "
                    f"{outcome.rows_rejected} rejected. It was probably replaced meanwhile: "
                    "load again."
                )
        self._result.rows_read = sum(each.rows_read for each in self._result.files.values())
        self._result.rows_rejected = sum(each.rows_rejected for each in self._result.files.values())
        self._result.rows_loaded = self._result.rows_read - self._result.rows_rejected


def _parts(group: list[SourceFile]) -> Iterator[list[SourceFile]]:
    """`group` cut into what one statement can name: so many files, with names so long."""
    part: list[SourceFile] = []
    length = 0
    for file in group:
        longest = len(file.object.key.encode()) * 3  # each byte may be %-encoded
        if part and (len(part) == FILES_PER_STATEMENT or length + longest > NAMES_PER_STATEMENT):
            yield part
            part, length = [], 0
        part.append(file)
        length += longest
    yield part
