"""One load of one tenant and table: files of the lake become history that readers see.

The work happens in tables of the run's own and in rows that no reader sees; one statement shows the
result. Before it readers see the old state, after it the new one. A crash anywhere leaves only what
nobody sees, and running the load again repairs it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings

from analytics.warehouse.catalog import PUBLISHING, Table
from analytics.warehouse.sql import quote
from loaders.history import sql
from loaders.history.merge import History, Snapshot
from loaders.lake.discovery import (
    Examined,
    Found,
    discover,
    examinations,
    examined_before,
    prefix_of,
)
from loaders.lake.results import FileOutcome, LoadFailed, LoadResult
from loaders.lake.s3 import Lake, LakeChanged
from loaders.models import LoadJob
from loaders.staging import progress
from loaders.staging.file_schema import SourceFile
from loaders.staging.progress import Progress
from loaders.staging.scratch_tables import ScratchTables
from loaders.staging.sql import key_digest, rejects_of_run
from loaders.staging.stage import Staging
from tenants.models import Tenant

# Batches of at most so many bytes of files are worked on in memory.
IN_MEMORY_BYTES = 16 << 20

Kind = LoadJob.Kind
Vanished = LoadJob.Vanished


@dataclass
class _Files:
    """What a run has to do with the files it found: `known` ones need only their keys read."""

    to_stage: list[SourceFile] = field(default_factory=list)
    known: dict[SourceFile, FileOutcome] = field(default_factory=dict)


class Load:
    """One run. `on_step` is told each step.

    `still_ours` is asked just before readers see a change: if another run has taken over, this one
    stops. `vanished` and `limit` matter to a full refresh alone; `note_closing` is told, before
    readers see it, at which instant it closes keys. A `dry_run` does everything short of that and
    writes to tables of its own alone. `progress` says how far it is.
    """

    def __init__(
        self,
        tenant: Tenant,
        table: Table,
        load_id: int,
        attempt: int = 1,
        kind: LoadJob.Kind = Kind.INCREMENTAL,
        vanished: Vanished = Vanished.CLOSE_IF_FEW,
        limit: int = LoadJob.VANISHED_LIMIT,
        dry_run: bool = False,
        on_step: Callable[[str], None] = lambda step: None,
        still_ours: Callable[[], bool] = lambda: True,
        note_closing: Callable[[datetime], None] = lambda moment: None,
    ) -> None:
        self._tenant = tenant
        self._table = table
        self._kind = kind
        self._vanished = vanished
        self._limit = limit
        self._dry_run = dry_run
        self._on_step = on_step
        self._still_ours = still_ours
        self._note_closing = note_closing
        self._lake = Lake()
        self._held = 0  # rows of the tenant in the target when the run began
        self._scratch = ScratchTables(tenant, table, load_id, attempt, dry_run)
        self.result = LoadResult()
        self.progress = Progress()
        self._staging = Staging(self._scratch, self._lake, self.result, self.progress, on_step)

    def run(self) -> LoadResult:
        """Load. Raises LoadFailed, LakeError or WarehouseError.

        Readers see no change then, unless it was `still_ours` and only the notes after that failed;
        running it again mends that.
        """
        self._on_step("Looking for files")
        self._held = self._count_held()
        found = discover(self._lake, self._tenant, self._table)
        self.result.listing = found.listing
        files = self._files(found)
        self.progress.found(each.object for each in files.to_stage)
        if not files.to_stage and not files.known and self._kind is Kind.INCREMENTAL:
            self._fail_if_all_were_quarantined()
            return self.result
        self._or_fail(files)
        self._scratch.fence_off_earlier_runs()
        self._scratch.in_memory = self._fits_in_memory(files)
        try:
            if self._holds_nothing_new(files):
                self._count_known(files)
            else:
                self._make_history(files)
            if self._dry_run:
                self.result.notes.append("A test: nothing was written, rejects were only counted.")
            else:
                self._log()
        finally:
            self._scratch.tidy_up()
        self._note_quarantined()
        return self.result

    def _make_history(self, files: _Files) -> None:
        self._stage(files)
        history = History(self._scratch, self.result, self._on_step, self._stored, self._dry_run)
        snapshot = self._snapshot(files)
        self.progress.passed = progress.COMPARING
        history.prepare(snapshot)
        self._reconcile()
        self._check_unchanged(files)
        if self._dry_run:
            return
        if snapshot and self.result.keys_closed:
            self._note_closing(snapshot.taken_at)
        if not self._still_ours():
            raise LoadFailed("Another run has taken over this load.")
        self.progress.passed = progress.PUBLISHING
        if history.is_changed:
            self._on_step("Showing the new history")
            self._scratch.log(PUBLISHING)
            history.show()

    def _count_held(self) -> int:
        target = self._scratch.target
        count = f"SELECT count() FROM {target} WHERE tenant_id = {{tenant_id:String}}"
        return int(self._scratch.value(count))

    @property
    def _stored(self) -> int:
        """How many rows there are that this load builds on: none for one that begins anew."""
        return 0 if self._kind is Kind.BULK else self._held

    # --- Files

    def _files(self, found: Found) -> _Files:
        """Which files to stage: all, or for an incremental load those not yet examined.

        A refresh reads only the keys of files whose exact content an earlier load staged.
        """
        before = examined_before(self._tenant, self._table) if self._stored else {}
        if self._kind is Kind.INCREMENTAL:
            found = found.without_examined(before)
        for each, reason in found.quarantine.items():
            self._staging.quarantine(each, reason)
        files = _Files()
        for file in self._staging.schemas(found.files):
            examined = before.get(file.object.key)
            if examined and self._may_skip(file, examined):
                files.known[file] = examined.outcome
            else:
                files.to_stage.append(file)
        files.to_stage = self._staging.whole(files.to_stage)
        return files

    def _may_skip(self, file: SourceFile, examined: Examined) -> bool:
        return (
            self._kind is Kind.REFRESH
            and settings.LOAD_TRANSPORT == "engine"
            and examined.is_same(file.object)
            and not examined.outcome.error
            and examined.outcome.rows_in_file is not None
            and file.rows in (None, examined.outcome.rows_read)
        )

    def _fits_in_memory(self, files: _Files) -> bool:
        size = sum(file.object.size for file in files.to_stage)
        return (
            self._kind is Kind.INCREMENTAL
            and self._stored > 0
            and size <= IN_MEMORY_BYTES
            and not self._scratch.at.cluster
        )

    def _or_fail(self, files: _Files) -> None:
        if not files.to_stage and not files.known:
            raise LoadFailed(f"No file could be loaded. {self._quarantine_reasons()}")

    def _fail_if_all_were_quarantined(self) -> None:
        if self.result.files:
            raise LoadFailed(f"No new file could be loaded. {self._quarantine_reasons()}")
        self.result.notes.append("There are no new or changed files.")

    def _note_quarantined(self) -> None:
        """Say that files are missing from what was loaded; each has its reason with it."""
        names = [each.key for each, outcome in self.result.files.items() if outcome.error]
        if names:
            shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            were = "file was" if len(names) == 1 else "files were"
            self.result.notes.append(f"{len(names)} {were} quarantined ({shown}): see its files.")

    def _quarantine_reasons(self) -> str:
        reasons = [
            f"{each.key}: {outcome.error}"
            for each, outcome in self.result.files.items()
            if outcome.error
        ]
        return "; ".join(reasons)[:2000]

    # --- Rows

    def _stage(self, files: _Files) -> None:
        if self._kind is Kind.REFRESH:
            self._scratch.create(self._scratch.keys, sql.KEYS_COLUMNS)
            self._read_keys(files)
        files.to_stage = self._staging.stage(files.to_stage)
        self._or_fail(files)
        self._count(files)
        self._count_known(files)
        self.progress.rows_done = self.result.rows_read
        if self._kind is not Kind.INCREMENTAL and self._held and not self.result.rows_loaded:
            raise LoadFailed(
                "No row could be loaded, so the data that is there was kept. See the rejects."
                if self.result.rows_rejected
                else "The files hold no rows, so the data that is there was kept."
            )
        self._keep_what_is_in_doubt()

    def _keep_what_is_in_doubt(self) -> None:
        """Refuse to begin history anew while that may lose what damaged files had brought."""
        if self._kind is not Kind.BULK or not self._held:
            return
        if unread := self._unread_files_of_history():
            files = "1 file" if len(unread) == 1 else f"{len(unread):,} files"
            raise LoadFailed(
                f"History holds what {files} had brought that cannot be read now "
                f"({', '.join(unread)[:500]}). A bulk load would lose it, so nothing was changed. "
                "Deliver these files again or remove them, or run a full refresh, which keeps what "
                f"they brought. {self._quarantine_reasons()}"
            )
        if self.result.rows_rejected and (lost := self._count_lost_keys()):
            raise LoadFailed(
                f"{lost:,} keys of the history are in no row that could be loaded, but "
                f"{self.result.rows_rejected:,} rows were rejected. A bulk load would lose these "
                "keys, so nothing was changed. Correct the rejected rows, or run a full refresh, "
                "which keeps these keys."
            )

    def _unread_files_of_history(self) -> list[str]:
        """Paths of files that were quarantined, but of which rows were loaded before."""
        unread = {each.path: each for each, done in self.result.files.items() if done.error}
        if not unread:
            return []
        loaded = {
            key
            for _, key, examined in examinations(self._tenant, self._table)
            if examined.outcome.rows_read > examined.outcome.rows_rejected
        }
        stored = self._scratch.rows(
            f"SELECT DISTINCT source_file FROM {self._scratch.target} "
            "WHERE tenant_id = {tenant_id:String} AND source_file IN {unread:Array(String)}",
            unread=list(unread),
        )
        paths = {path for (path,) in stored}
        return sorted(path for path, each in unread.items() if path in paths or each.key in loaded)

    def _count_lost_keys(self) -> int:
        key, scratch = quote(self._table.key), self._scratch
        return int(
            scratch.value(
                f"SELECT uniqExact({key}) FROM {scratch.target} "
                "WHERE tenant_id = {tenant_id:String} "
                f"AND {key} NOT IN (SELECT {key} FROM {scratch.staged})"
            )
        )

    def _holds_nothing_new(self, files: _Files) -> bool:
        """Whether a refresh found only known files, which hold just the keys that are current."""
        if files.to_stage or not files.known:
            return False
        self._on_step(f"Comparing the keys of {len(files.known)} unchanged files")
        digests = self._staging.key_digests(list(files.known))
        for file, outcome in files.known.items():
            rows = digests.get(file.object.path, (0,))[0]
            if not outcome.rows_read - outcome.rows_rejected <= rows <= outcome.rows_read:
                return False
        in_files = tuple(sum(part) % 2**64 for part in zip(*digests.values(), strict=True))
        current = self._scratch.rows(
            f"SELECT {key_digest(quote(self._table.key))} FROM {self._scratch.target} "
            "WHERE tenant_id = {tenant_id:String} AND is_current"
        )[0]
        return in_files == tuple(current)

    def _count_known(self, files: _Files) -> None:
        for file, outcome in files.known.items():
            self.result.files[file.object] = outcome
            self.result.rows_read += outcome.rows_read
            self.result.rows_rejected += outcome.rows_rejected
            self.result.rows_loaded += outcome.rows_read - outcome.rows_rejected
            self.result.rows_unchanged += outcome.rows_read - outcome.rows_rejected

    def _count(self, files: _Files) -> None:
        try:
            self._staging.count(files.to_stage)
        except LoadFailed:
            self._check_unchanged(files)  # which says so in a way that is tried again
            raise

    def _read_keys(self, files: _Files) -> None:
        """Read the keys of files that are known; those whose rows are not all here are staged."""
        self._on_step(f"Reading the keys of {len(files.known)} unchanged files")
        counts = self._staging.read_keys(list(files.known))
        scratch = self._scratch
        statement = sql.unknown_files(self._table, scratch.target, scratch.keys)
        incomplete = {path for (path,) in scratch.rows(statement)}
        for file, outcome in list(files.known.items()):
            path = file.object.path
            if path in incomplete or counts.get(path, 0) < outcome.rows_read:
                del files.known[file]
                files.to_stage.append(file)

    def _check_unchanged(self, files: _Files) -> None:
        """The lake's files are still those whose rows were staged and counted."""
        prefix = prefix_of(self._tenant, self._table)
        now = {each.key: each.etag for each in self._lake.objects(prefix)}
        for file in (*files.to_stage, *files.known):
            if now.get(file.object.key) != file.object.etag:
                raise LakeChanged(
                    f"{file.object.path} was replaced or deleted while it was read. Load again."
                )

    def _reconcile(self) -> None:
        """Every row that was loaded is accounted for, and none twice."""
        result = self.result
        accounted = (
            result.rows_new
            + result.rows_changed
            + result.rows_late
            + result.rows_unchanged
            + result.rows_duplicate
        )
        if accounted != result.rows_loaded:
            self._scratch.check_intact()
            raise LoadFailed(
                f"{result.rows_loaded} rows were staged, but {accounted} are accounted for. "
                "Nothing was changed. Please report this."
            )

    # --- Full refresh

    def _snapshot(self, files: _Files) -> Snapshot | None:
        if self._kind is not Kind.REFRESH:
            return None
        read = (*files.to_stage, *files.known)
        return Snapshot(
            max(file.object.last_modified for file in read),
            self._vanished,
            self._limit,
            self._doubt(),
        )

    def _doubt(self) -> str:
        """Why a key that was not found could be in the files all the same."""
        if any(outcome.error for outcome in self.result.files.values()):
            return "some files could not be read"
        scratch = self._scratch
        keyless = scratch.value(
            f"SELECT count() FROM {scratch.rejects} "
            f"WHERE {rejects_of_run(self._table)} AND row_key = ''"
        )
        return "some rejected rows do not say whose they are" if keyless else ""

    # --- Notes

    def _log(self) -> None:
        loaded = {each: outcome for each, outcome in self.result.files.items() if not outcome.error}
        newest = max(loaded, key=lambda each: (each.last_modified, each.key))
        self._scratch.log(
            self._kind.value,
            files=len(loaded),
            rows_loaded=self.result.rows_loaded,
            rows_rejected=self.result.rows_rejected,
            newest_file=newest.path,
            newest_file_time=newest.last_modified,
        )
