"""A bulk load: everything in the lake for one tenant and table becomes its history, at once.

The work happens in tables of the load's own; the last statement but one swaps the finished
partition in. Before it readers see the old state, after it the new one. A crash anywhere leaves
only those side tables behind, which the next load of this tenant and table removes.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from analytics.warehouse.catalog import Table
from analytics.warehouse.errors import UnreadableData, WarehouseError
from analytics.warehouse.schema import placement
from analytics.warehouse.writer import Writer, literal, quote
from tenants.models import Tenant

from . import statements
from .discovery import discover, prefix_of
from .lake import Lake, LakeChanged, LakeObject
from .shapes import Shape, ShapedFile, UnusableFile, read_shape
from .sources import READ_SETTINGS, EngineSource, Relation, Source, WorkerSource

# So many files are read in one statement: bounds its text, and what a damaged file costs.
FILES_PER_STATEMENT = 200
NAMES_PER_STATEMENT = 100_000
# Beyond this much memory, sorting goes to disk.
SORT_IN_MEMORY = 4 << 30


class LoadFailed(Exception):
    """The load cannot succeed as things are. The text says what to do."""


@dataclass
class FileOutcome:
    rows_read: int = 0
    rows_rejected: int = 0
    error: str = ""


@dataclass
class BulkResult:
    """What a load did, per file and in all. `files` maps objects to their outcome."""

    files: dict[LakeObject, FileOutcome] = field(default_factory=dict)
    rows_read: int = 0
    rows_loaded: int = 0
    rows_rejected: int = 0
    unknown_columns: list[str] = field(default_factory=list)


class _DamagedFile(Exception):
    def __init__(self, file: ShapedFile, reason: str) -> None:
        super().__init__(reason)
        self.file = file
        self.reason = reason


class BulkLoad:
    """One run. `attempt` makes its side tables and rejects its own; `progress` is told each step.

    `still_ours` is asked just before the swap: if another run has taken over, this one stops.
    """

    def __init__(
        self,
        tenant: Tenant,
        table: Table,
        load_id: int,
        attempt: int = 1,
        progress: Callable[[str], None] = lambda step: None,
        still_ours: Callable[[], bool] = lambda: True,
    ) -> None:
        self._tenant = tenant
        self._table = table
        self._progress = progress
        self._still_ours = still_ours
        self._writer = Writer()
        self._lake = Lake()
        self._at = placement()
        self._loaded_at = datetime.now(UTC)
        # Tenant ids hold no dot, so that no tenant's tables look like another's.
        self._side_prefix = f"stage.{tenant.id}.{table.name}."
        run = f"{self._side_prefix}{load_id}.{attempt}"
        self._staged = self._at.qualified(run)
        self._folded = self._at.qualified(f"{run}.folded")
        self._worker_source = WorkerSource(self._lake, self._at.qualified(f"{run}.raw"))
        self._target = self._at.qualified(table.shared_name)
        self._rejects = self._at.qualified("load_rejects")
        self._prefix = prefix_of(tenant, table)
        self._parameters = {
            "tenant_id": tenant.id,
            "load_id": load_id,
            "attempt": attempt,
            "loaded_at": self._loaded_at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        }
        self._tolerant: set[str] = set()  # keys of CSV files that the engine could not parse
        self.result = BulkResult()

    def run(self) -> BulkResult:
        """Load. Raises LoadFailed, LakeError or WarehouseError.

        Readers see no change then, unless it was `still_ours` and only the notes after the swap
        failed; running it again mends that.
        """
        self._progress("Looking for files")
        files = self._shaped_files()
        self._fence_off_earlier_runs()
        try:
            files = self._stage(files)
            self._count(files)
            finished = self._finished_side()
            self._check_unchanged(files)
            self._swap(finished)
            self._log()
        finally:
            self._tidy_up()
        return self.result

    # --- Files

    def _shaped_files(self) -> list[ShapedFile]:
        found = discover(self._lake, self._tenant, self._table)
        for each, reason in found.set_aside.items():
            self._set_aside(each, reason)
        self._progress(f"Reading the headers of {len(found.files)} files")
        with ThreadPoolExecutor(8) as threads:
            shaped = [file for file in threads.map(self._shape, found.files) if file]
        self._note_unknown(name for file in shaped for name in file.shape.unknown)
        return self._or_fail(shaped)

    def _shape(self, each: LakeObject) -> ShapedFile | None:
        try:
            return read_shape(self._lake, each, self._table)
        except UnusableFile as error:
            self._set_aside(each, str(error))
            return None

    def _set_aside(self, each: LakeObject, reason: str) -> None:
        self.result.files[each] = FileOutcome(error=reason)

    def _note_unknown(self, names: Any) -> None:
        self.result.unknown_columns = sorted({*self.result.unknown_columns, *names})

    def _or_fail(self, files: list[ShapedFile]) -> list[ShapedFile]:
        if not files:
            reasons = "; ".join(
                f"{each.key}: {outcome.error}" for each, outcome in self.result.files.items()
            )
            raise LoadFailed(f"No file could be loaded. {reasons[:2000]}")
        return files

    # --- Staging

    def _stage(self, files: list[ShapedFile]) -> list[ShapedFile]:
        """Stage all rows that can be; begins anew without a file that proves to be damaged."""
        while True:
            self._create_side(self._staged)
            try:
                for group, source in self._groups(files):
                    self._stage_group(group, source)
                return files
            except _DamagedFile as damaged:
                file = damaged.file
                if file.shape.format == "csv" and self._is_engine(file):
                    self._tolerant.add(file.object.key)
                else:
                    self._set_aside(file.object, damaged.reason)
                    files = self._or_fail([each for each in files if each != file])

    def _is_engine(self, file: ShapedFile) -> bool:
        return settings.LOAD_TRANSPORT == "engine" and file.object.key not in self._tolerant

    def _groups(self, files: list[ShapedFile]) -> list[tuple[list[ShapedFile], Source]]:
        """Files that one statement can read: same shape, same way, not too many."""
        alike: dict[tuple[Shape, bool], list[ShapedFile]] = {}
        for file in files:
            alike.setdefault((file.shape, self._is_engine(file)), []).append(file)
        engine = EngineSource(self._lake)
        return [
            (part, engine if by_engine else self._worker_source)
            for (_, by_engine), group in alike.items()
            for part in _parts(group)
        ]

    def _stage_group(self, group: list[ShapedFile], source: Source) -> None:
        shape = group[0].shape
        self._progress(f"Staging {len(group)} {shape.format} files")
        try:
            with source.relation(self._table, group) as relation:
                self._run(
                    statements.stage(self._table, relation.shape, relation.sql, self._staged),
                    max_insert_threads=2,
                )
                if self._may_hold_rejects(group):
                    self._progress("Explaining rejected rows")
                    self._run(
                        statements.reject(self._table, relation.shape, relation.sql, self._rejects),
                        input_format_parallel_parsing=0,  # which miscounts rows of large CSV files
                    )
                if shape.format == "jsonl":
                    self._note_unknown_json(relation)
        except UnreadableData as error:
            damaged = self._damaged(group, source, str(error))
            raise _DamagedFile(damaged, str(error)) from error
        except UnusableFile as error:
            raise _DamagedFile(error.file or group[0], str(error)) from error

    def _may_hold_rejects(self, group: list[ShapedFile]) -> bool:
        """Footers tell how many rows there are; where they do not, the rows are read again."""
        if any(file.rows is None for file in group):
            return True
        staged = self._staged_counts()
        return any(staged.get(file.object.path, 0) != file.rows for file in group)

    def _note_unknown_json(self, relation: Relation) -> None:
        known = {*self._table.source_names, "tenant_id"}
        names = self._writer.value(
            statements.unknown_json_columns(relation.sql), self._parameters, **READ_SETTINGS
        )
        self._note_unknown(name for name in names if name not in known)

    def _damaged(self, group: list[ShapedFile], source: Source, message: str) -> ShapedFile:
        """The file that a read error is about: named by the message, else found by trying each."""
        by_path = {file.object.path: file for file in group}
        named = re.search(r"in file/uri (.+?)\)", message)
        if named and named[1] in by_path:
            return by_path[named[1]]
        for file in group[:-1]:
            try:
                with source.relation(self._table, [file]) as relation:
                    sql = f"SELECT count() FROM {relation.sql} WHERE NOT ignore(*)"
                    self._writer.value(sql, self._parameters, **READ_SETTINGS)
            except UnreadableData:
                return file
        return group[-1]

    # --- Counting

    def _staged_counts(self) -> dict[str, int]:
        sql = f"SELECT source_file, count() FROM {self._staged} GROUP BY source_file"
        return dict(self._writer.rows(sql))

    def _reject_counts(self) -> dict[str, int]:
        sql = f"""SELECT source_file, uniqExact(source_row) FROM {self._rejects}
            WHERE tenant_id = {{tenant_id:String}} AND load_id = {{load_id:UInt64}}
            AND attempt = {{attempt:UInt32}} AND table_name = {literal(self._table.name)}
            GROUP BY source_file"""
        return dict(self._writer.rows(sql, self._parameters))

    def _count(self, files: list[ShapedFile]) -> None:
        """Reconcile: every row of every file is either staged or rejected."""
        staged, rejected = self._staged_counts(), self._reject_counts()
        for file in files:
            path = file.object.path
            outcome = FileOutcome(
                staged.get(path, 0) + rejected.get(path, 0), rejected.get(path, 0)
            )
            self.result.files[file.object] = outcome
            if file.rows is not None and outcome.rows_read != file.rows:
                raise LoadFailed(
                    f"{path} has {file.rows} rows, of which {staged.get(path, 0)} were staged and "
                    f"{outcome.rows_rejected} rejected. It was probably replaced meanwhile: "
                    "load again."
                )
            self.result.rows_read += outcome.rows_read
            self.result.rows_rejected += outcome.rows_rejected
        self.result.rows_loaded = self.result.rows_read - self.result.rows_rejected
        if not self.result.rows_loaded:
            raise LoadFailed(
                "No row could be loaded, so the data that is there was kept. See the rejects."
                if self.result.rows_rejected
                else "The files hold no rows, so the data that is there was kept."
            )

    def _check_unchanged(self, files: list[ShapedFile]) -> None:
        """The lake's files are still those whose rows were staged and counted."""
        now = {each.key: each.etag for each in self._lake.objects(self._prefix)}
        for file in files:
            if now.get(file.object.key) != file.object.etag:
                raise LakeChanged(
                    f"{file.object.path} was replaced or deleted while it was read. Load again."
                )

    # --- Making it visible

    def _finished_side(self) -> str:
        """The side table that holds history: the staged rows, folded where keys repeat."""
        key = quote(self._table.key)
        rows, keys = self._writer.rows(
            f"SELECT count(), uniqExact(cityHash64({key})) FROM {self._staged}"
        )[0]
        if rows == keys:
            return self._staged
        self._progress("Folding versions into history")
        self._create_side(self._folded)
        self._run(
            statements.fold(self._table, self._staged, self._folded),
            max_bytes_before_external_sort=SORT_IN_MEMORY,
            max_bytes_before_external_group_by=SORT_IN_MEMORY,
        )
        return self._folded

    def _swap(self, side: str) -> None:
        if not self._still_ours():
            raise LoadFailed("Another run has taken over this load.")
        self._progress("Swapping the new history in")
        self._run(
            f"ALTER TABLE {self._target}{self._at.on_cluster} "
            f"REPLACE PARTITION {literal(self._tenant.id)} FROM {side}",
            bind=False,
        )

    def _log(self) -> None:
        newest = max(
            (each for each, outcome in self.result.files.items() if not outcome.error),
            key=lambda each: (each.last_modified, each.key),
        )
        loaded = sum(not outcome.error for outcome in self.result.files.values())
        self._writer.insert(
            self._at.qualified("load_log"),
            [
                "tenant_id",
                "table_name",
                "load_id",
                "kind",
                "finished_at",
                "files",
                "rows_loaded",
                "rows_rejected",
                "newest_file",
                "newest_file_time",
            ],
            [
                [value]
                for value in (
                    self._tenant.id,
                    self._table.name,
                    self._parameters["load_id"],
                    "bulk",
                    datetime.now(UTC),
                    loaded,
                    self.result.rows_loaded,
                    self.result.rows_rejected,
                    newest.path,
                    newest.last_modified,
                )
            ],
        )

    # --- Side tables

    def _create_side(self, name: str) -> None:
        self._writer.run(f"DROP TABLE IF EXISTS {name}{self._at.on_cluster} SYNC")
        self._writer.run(f"CREATE TABLE {name}{self._at.on_cluster} AS {self._target}")

    def _fence_off_earlier_runs(self) -> None:
        """Remove the side tables of runs before this one: what crashed ones left, and what one
        that was declared dead would need in order to go on."""
        names = self._writer.rows(
            "SELECT name FROM system.tables WHERE database = {database:String} "
            "AND startsWith(name, {prefix:String})",
            {"database": self._at.database, "prefix": self._side_prefix},
        )
        for (name,) in names:
            self._writer.run(
                f"DROP TABLE IF EXISTS {self._at.qualified(name)}{self._at.on_cluster} SYNC"
            )

    def _tidy_up(self) -> None:
        """Remove this run's own tables. A failure to do so must not hide why the load failed."""
        with suppress(WarehouseError):
            for name in (self._staged, self._folded):
                self._writer.run(f"DROP TABLE IF EXISTS {name}{self._at.on_cluster} SYNC")

    def _run(self, sql: str, *, bind: bool = True, **query_settings: Any) -> None:
        parameters = self._parameters if bind else None
        self._writer.run(sql, parameters, **READ_SETTINGS, **query_settings)


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
