"""Staging: the rows of a load's files, typed and hashed, in a side table; bad rows set aside."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings

from analytics.warehouse.errors import Unreachable, UnreadableData
from loaders.lake.results import FileOutcome, LoadFailed, LoadResult
from loaders.lake.s3 import Lake, LakeArchived, LakeObject, LakeRefused
from loaders.staging import sql
from loaders.staging.file_schema import Shape, ShapedFile, UnusableFile, prove_whole, read_shape
from loaders.staging.progress import Extent
from loaders.staging.readers import EngineSource, Relation, Source, WorkerSource
from loaders.staging.scratch_tables import Workspace

# So many files are read in one statement: bounds its text, and what a damaged file costs.
FILES_PER_STATEMENT = 200
NAMES_PER_STATEMENT = 100_000
# A file that reads well by itself, but not into its rows: the error may pass so often.
TRIES = 3


class _DamagedFile(Exception):
    """`is_final` if no other way to read it is to be tried."""

    def __init__(self, file: ShapedFile, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.file = file
        self.reason = reason
        self.is_final = is_final


class _PassingError(Exception):
    """A read failed, but every file can be read."""


class Staging:
    """Fills `workspace.staged`, and tells `result` about files, rows and columns."""

    def __init__(
        self,
        workspace: Workspace,
        lake: Lake,
        result: LoadResult,
        extent: Extent,
        progress: Callable[[str], None],
    ) -> None:
        self._workspace = workspace
        self._table = workspace.table
        self._lake = lake
        self._result = result
        self._extent = extent
        self._progress = progress
        self._worker_source = WorkerSource(lake, workspace.raw, progress)
        self._failures: Counter[str] = Counter()  # of files that read well by themselves, by key
        self._tolerant: set[str] = set()  # keys of files that the engine could not read
        self._rows: dict[str, int] = {}  # how many rows each file has, by path

    # --- Files

    def shapes(self, files: Iterable[LakeObject]) -> list[ShapedFile]:
        """What the headers say. Files without a usable one are set aside.

        So are those that the lake refuses; if it refuses all, that is raised, as LakeRefused.
        """
        files = list(files)
        self._progress(f"Reading the headers of {len(files)} files")
        with ThreadPoolExecutor(8) as threads:
            found = dict(zip(files, threads.map(self._shape, files), strict=True))
        self._set_refused_aside(found)
        shaped = [file for file in found.values() if isinstance(file, ShapedFile)]
        for file in sorted(shaped, key=lambda file: file.object.last_modified):
            if file.columns:  # the newest file of a format tells what upstream sends now
                self._result.columns[file.shape.format] = dict(file.columns)
        self._note_unknown(name for file in shaped for name in file.shape.unknown)
        return shaped

    def _shape(self, each: LakeObject) -> ShapedFile | LakeRefused | None:
        try:
            return read_shape(self._lake, each, self._table)
        except LakeRefused as refusal:
            return refusal
        except (UnusableFile, LakeArchived) as error:
            self.set_aside(each, str(error))
            return None

    def _set_refused_aside(
        self, found: Mapping[LakeObject, ShapedFile | LakeRefused | None]
    ) -> None:
        refused = {each: it for each, it in found.items() if isinstance(it, LakeRefused)}
        if refused and len(refused) == len(found):  # then it is we who may not read
            raise next(iter(refused.values()))
        for each, refusal in refused.items():
            self.set_aside(each, str(refusal), is_refused=True)

    def whole(self, files: list[ShapedFile]) -> list[ShapedFile]:
        """Those that are not cut off; others are set aside. Formats with an end prove it alone."""
        unproven = [
            file for file in files if file.shape.format == "jsonl" and self._is_engine(file)
        ]
        with ThreadPoolExecutor(8) as threads:
            cut = dict(zip(unproven, threads.map(self._why_cut, unproven), strict=True))
        for file, reason in cut.items():
            if reason:
                self.set_aside(file.object, reason)
        return [file for file in files if not cut.get(file)]

    def _why_cut(self, file: ShapedFile) -> str:
        try:
            prove_whole(self._lake, file.object)
        except UnusableFile as error:
            return str(error)
        return ""

    def set_aside(self, each: LakeObject, reason: str, *, is_refused: bool = False) -> None:
        self._result.files[each] = FileOutcome(error=reason, is_refused=is_refused)

    def _note_unknown(self, names: Iterable[str]) -> None:
        self._result.unknown_columns = sorted({*self._result.unknown_columns, *names})

    # --- Rows

    def stage(self, files: list[ShapedFile]) -> list[ShapedFile]:
        """Stage all rows that can be; begins anew without a file that proves to be damaged.

        Returns the files that were staged.
        """
        workspace = self._workspace
        while True:
            workspace.create_staged()
            self._extent.found(file.object for file in files)
            try:
                for group, source in self._groups(files):
                    self._extent.reading(group)
                    self._stage_group(group, source)
                    self._extent.read()
                return files
            except _PassingError:
                workspace.drop(workspace.staged)
            except _DamagedFile as damaged:
                workspace.drop(workspace.staged)
                file = damaged.file
                if self._is_engine(file) and not damaged.is_final:
                    self._tolerant.add(file.object.key)
                else:
                    self.set_aside(file.object, damaged.reason)
                    files = [each for each in files if each != file]

    def _is_engine(self, file: ShapedFile) -> bool:
        by_engine = settings.LOAD_TRANSPORT == "engine" and file.is_plain
        return by_engine and file.object.key not in self._tolerant

    def _groups(self, files: list[ShapedFile]) -> list[tuple[list[ShapedFile], Source]]:
        """Files that one statement can read: same shape, same way, not too many.

        One that failed with others is read alone, so that what it does is not laid to them.
        """
        alike: dict[tuple[Shape, bool, str], list[ShapedFile]] = {}
        for file in files:
            alone = file.object.key if self._failures[file.object.key] else ""
            alike.setdefault((file.shape, self._is_engine(file), alone), []).append(file)
        engine = EngineSource(self._lake)
        return [
            (part, engine if by_engine else self._worker_source)
            for (_, by_engine, _), group in alike.items()
            for part in _parts(group)
        ]

    def _stage_group(self, group: list[ShapedFile], source: Source) -> None:
        shape = group[0].shape
        self._progress(f"Staging {len(group)} {shape.format} files")
        workspace = self._workspace
        try:
            with source.relation(self._table, group) as relation:
                workspace.fill(
                    workspace.staged,
                    sql.stage(self._table, relation.shape, relation.sql, workspace.staged),
                    max_insert_threads=2,
                )
                self._note_rows(group, relation)
                if self._unaccounted(group):
                    self._progress("Explaining rejected rows")
                    workspace.run(
                        sql.reject(self._table, relation.shape, relation.sql, workspace.rejects),
                        input_format_parallel_parsing=0,  # which miscounts rows of large CSV files
                    )
        except (UnreadableData, Unreachable) as error:
            workspace.check_intact()  # which fails if the warehouse is away, or was
            named = self._named(group, str(error))
            damaged = self._damaged([*named, *group], source) or self._hopeless(group)
            if damaged is None:
                raise _PassingError from error
            raise _DamagedFile(damaged, str(error)) from error
        except UnusableFile as error:
            raise _DamagedFile(error.file or group[0], str(error)) from error
        self._compare(group)

    def _note_rows(self, group: list[ShapedFile], relation: Relation) -> None:
        """Learn how many rows each file has from what does not depend on the stage."""
        found = {file.object.path: file.rows for file in group if file.rows is not None}
        if relation.shape.format == "jsonl":
            by_file = self._workspace.rows(sql.json_rows(relation.sql))
            self._note_json_columns({name for _, _, names in by_file for name in names})
            found = {path: rows for path, rows, _ in by_file}
        self._rows.update(self._worker_source.streamed | found)

    def _note_json_columns(self, names: set[str]) -> None:
        known = {*self._table.source_names, "tenant_id"}
        self._result.columns.setdefault("jsonl", {}).update(dict.fromkeys(sorted(names), "JSON"))
        self._note_unknown(names - known)

    def _unaccounted(self, group: list[ShapedFile]) -> list[ShapedFile]:
        """The files of which some rows are neither staged nor known to be rejected."""
        staged, rejected = self._counts(group)
        return [
            file
            for file in group
            if staged.get(file.object.path, 0) + rejected.get(file.object.path, 0)
            != self._rows.get(file.object.path, 0)
        ]

    def _compare(self, group: list[ShapedFile]) -> None:
        """Set a file aside that gives other rows than it has by its own account."""
        for file in self._unaccounted(group):
            self._lake.touch(file.object)  # raises LakeChanged if it was replaced meanwhile
            rows = self._rows.get(file.object.path, 0)
            raise _DamagedFile(
                file, f"It should have {rows} rows, but others were read.", is_final=True
            )

    def _damaged(self, group: list[ShapedFile], source: Source) -> ShapedFile | None:
        """The first file of a group that cannot be read by itself, if there is one.

        There are files on which the engine drops the connection.
        """
        for file in group:
            try:
                with source.relation(self._table, [file]) as relation:
                    self._workspace.value(f"SELECT count() FROM {relation.sql} WHERE NOT ignore(*)")
            except (UnreadableData, Unreachable):
                return file
        return None

    def _hopeless(self, group: list[ShapedFile]) -> ShapedFile | None:
        """The file that has failed often enough alone, if it is one."""
        self._failures.update(file.object.key for file in group)
        [file, *others] = group
        return file if not others and self._failures[file.object.key] >= TRIES else None

    def _named(self, group: list[ShapedFile], message: str) -> list[ShapedFile]:
        named = re.search(r"in file/uri (.+?)\)", message)
        return [file for file in group if named and file.object.path == named[1]]

    # --- Keys alone

    def key_digests(self, files: list[ShapedFile]) -> dict[str, tuple[int, int, int]]:
        """(rows, and two sums over the keys) of each file, by path."""
        digests: dict[str, tuple[int, int, int]] = {}
        for group, source in self._groups(files):
            with source.relation(self._table, group) as relation:
                rows = self._workspace.rows(
                    sql.digest_of_keys(self._table, relation.shape, relation.sql)
                )
            digests.update({path: tuple(digest) for path, *digest in rows})
        return digests

    def read_keys(self, files: list[ShapedFile]) -> dict[str, int]:
        """Fill `workspace.keys` from files whose rows an earlier load staged; rows by path."""
        workspace = self._workspace
        for group, source in self._groups(files):
            with source.relation(self._table, group) as relation:
                workspace.fill(
                    workspace.keys,
                    sql.keys(self._table, relation.shape, relation.sql, workspace.keys),
                )
        return dict(workspace.rows(f"SELECT source_file, count() FROM {workspace.keys} GROUP BY 1"))

    # --- Counting

    def _count_staged(self) -> dict[str, int]:
        sql = f"SELECT source_file, count() FROM {self._workspace.staged} GROUP BY source_file"
        return dict(self._workspace.rows(sql))

    def _counts(self, files: list[ShapedFile]) -> tuple[dict[str, int], dict[str, int]]:
        """(staged rows, rejected rows) by path. Rejects are not asked for if all are staged.

        Raises Interrupted if staged rows are gone.
        """
        staged = self._count_staged()
        if sum(staged.values()) != self._workspace.filled(self._workspace.staged):
            self._workspace.check_intact()
        paths = [file.object.path for file in files]
        are_staged = all(staged.get(path, 0) == self._rows.get(path, 0) for path in paths)
        return staged, {} if are_staged else self._reject_counts()

    def _reject_counts(self) -> dict[str, int]:
        counts = f"""SELECT source_file, uniqExact(source_row) FROM {self._workspace.rejects}
            WHERE {sql.rejects_of_run(self._table)} GROUP BY source_file"""
        return dict(self._workspace.rows(counts))

    def count(self, files: list[ShapedFile]) -> None:
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


def _parts(group: list[ShapedFile]) -> Iterator[list[ShapedFile]]:
    """`group` cut into what one statement can name: so many files, with names so long."""
    part: list[ShapedFile] = []
    length = 0
    for file in group:
        longest = len(file.object.key.encode()) * 3  # each byte may be %-encoded
        if part and (len(part) == FILES_PER_STATEMENT or length + longest > NAMES_PER_STATEMENT):
            yield part
            part, length = [], 0
        part.append(file)
        length += longest
    yield part
