"""One load of one tenant and table: files of the lake become history that readers see.

    find files -> select those to read -> stage their rows -> plan the history
        -> prepare it, unseen -> publish it in one statement -> log the load

Each step takes what the step before returned. The work happens in scratch tables and in rows that
no reader sees. A crash anywhere leaves only those, and running the load again repairs it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from django.conf import settings

from analytics.warehouse.catalog import PUBLISHING, TENANT_COLUMN, Table
from common.texts import REPLACEMENT
from loaders.history import merge, publishing
from loaders.history.losses import reasons, refuse_losses
from loaders.history.vanished_keys import Snapshot
from loaders.lake.discovery import discover, examined_before, prefix_of
from loaders.lake.results import FileOutcome, LoadFailed, LoadResult, Outcomes, VersionCounts
from loaders.lake.s3 import Lake, LakeChanged, LakeObject
from loaders.models import LoadJob
from loaders.staging import known_files, progress
from loaders.staging.file_selection import Selection, new_or_changed, outcomes_of, select_files
from loaders.staging.progress import Progress
from loaders.staging.scratch_tables import ScratchTables
from loaders.staging.sql import rejects_of_run
from loaders.staging.stage import Staged, stage
from tenants.models import Tenant

Kind = LoadJob.Kind
Vanished = LoadJob.Vanished


@dataclass(frozen=True)
class LoadRequest:
    """What to load. `vanished` and `limit` (percent) matter to a full refresh alone.

    A `dry_run` does everything short of publishing, in scratch tables alone.
    """

    tenant: Tenant
    table: Table
    load_id: int
    attempt: int = 1
    kind: Kind = Kind.INCREMENTAL
    vanished: Vanished = Vanished.CLOSE_IF_FEW
    limit: int = LoadJob.VANISHED_LIMIT
    dry_run: bool = False


class Run:
    """Who a load runs for: hears how far it is, and is asked before readers see a change."""

    def __init__(self) -> None:
        self.progress = Progress(self.on_step)
        self.result = LoadResult()  # what was found so far, should the load fail

    def on_step(self, name: str) -> None:
        """The load begins this step. May raise to stop it."""

    def begin_publishing(self) -> bool:
        """Pass the point of no return. False if the load is no longer this run's."""
        return True

    def note_closing(self, moment: datetime) -> None:
        """The load is about to close keys at this instant."""


def run_load(request: LoadRequest, run: Run | None = None) -> LoadResult:
    """Load. Raises LoadFailed, LakeError or WarehouseError.

    Until `begin_publishing` readers see no change then. An error after it may come before or after
    the statement that publishes; running the load again completes either.
    """
    return _Load(request, run or Run()).run()


class _Load:
    """The steps of one load. They share what does not change; what they find, they return."""

    def __init__(self, request: LoadRequest, run: Run) -> None:
        self._tenant, self._table = request.tenant, request.table
        self._request = request
        self._run = run
        self._progress = run.progress
        self._lake = Lake()
        self._scratch = ScratchTables(
            request.tenant, request.table, request.load_id, request.attempt, request.dry_run
        )

    def run(self) -> LoadResult:
        self._progress.step("Looking for files")
        rows_before = self._count_rows_before()
        found = discover(self._lake, self._tenant, self._table)
        # A bulk load begins history anew: it builds on nothing.
        stored = 0 if self._request.kind is Kind.BULK else rows_before
        examined = examined_before(self._tenant, self._table) if stored else {}
        listing = found.listing
        if self._request.kind is Kind.INCREMENTAL:
            found = new_or_changed(found, examined)
        self._run.result = LoadResult(listing, outcomes_of(found))
        staged_before = examined if self._request.kind is Kind.REFRESH else {}
        selection = select_files(self._lake, self._table, found, staged_before, self._progress)
        self._progress.found(file.object for file in selection.to_stage)
        self._run.result = result = LoadResult(
            listing,
            selection.quarantined,
            columns=selection.columns,
            unknown_columns=selection.unknown_columns,
        )
        if selection.is_empty:
            return self._without_files(result)
        with self._scratch.in_use(in_memory=self._fits_in_memory(selection, stored)):
            if self._have_the_current_keys(selection):
                result = _with_known(result, selection.known)
            else:
                result = self._make_history(selection, result, rows_before, stored)
            self._run.result = result
            if not self._request.dry_run:
                self._log(result)
        return _with_notes(result, *self._last_notes(result))

    def _make_history(
        self, selection: Selection, result: LoadResult, rows_before: int, stored: int
    ) -> LoadResult:
        """Stage the files' rows, and make them what readers see."""
        scratch = self._scratch
        read, result = self._stage(selection, result)
        self._run.result = result
        self._refuse_to_lose(result, rows_before)
        snapshot = self._snapshot(read, result)
        self._progress.rows_done = result.rows_read
        self._progress.percent_done = progress.COMPARING
        plan = merge.plan(scratch, stored, snapshot, self._progress)
        self._run.result = result = _with_plan(result, plan)
        self._reconcile(result)
        if self._request.dry_run:
            scratch.check_intact()
            self._check_unchanged(read)
            return result
        prepared = publishing.prepare(scratch, plan, self._progress)
        self._check_unchanged(read)
        if snapshot and result.versions.keys_closed:
            self._run.note_closing(snapshot.taken_at)
        if not self._run.begin_publishing():
            raise LoadFailed("Another run has taken over this load.")
        self._progress.percent_done = progress.PUBLISHING
        if prepared is not None:
            self._progress.step("Publishing the new history")
            scratch.log(PUBLISHING)
            publishing.publish(scratch, prepared)
        return replace(result, left_patches=isinstance(prepared, publishing.Flip))

    # --- Files

    def _count_rows_before(self) -> int:
        """The tenant's rows in the table."""
        target = self._scratch.target
        count = f"SELECT count() FROM {target} WHERE tenant_id = {{tenant_id:String}}"
        return int(self._scratch.value(count))

    def _without_files(self, result: LoadResult) -> LoadResult:
        """No file is left to read: that is a success only if an incremental load found none new."""
        if result.files or self._request.kind is not Kind.INCREMENTAL:
            which = "new file" if self._request.kind is Kind.INCREMENTAL else "file"
            raise LoadFailed(f"No {which} could be loaded. {reasons(result)}")
        return _with_notes(result, "There are no new or changed files.")

    def _fits_in_memory(self, selection: Selection, stored: int) -> bool:
        return (
            self._request.kind is Kind.INCREMENTAL
            and stored > 0
            and selection.weight_to_stage <= settings.LOAD_IN_MEMORY_MB << 20
            and not self._scratch.at.cluster
        )

    def _check_unchanged(self, read: Iterable[LakeObject]) -> None:
        """The lake's files are still those whose rows were staged and counted."""
        prefix = prefix_of(self._tenant, self._table)
        now = {each.key: each.etag for each in self._lake.objects(prefix)}
        for each in read:
            if now.get(each.key) != each.etag:
                raise LakeChanged(
                    f"{each.path} was replaced or deleted while it was read. Load again."
                )

    # --- Rows

    def _have_the_current_keys(self, selection: Selection) -> bool:
        """Whether a refresh found only known files, which hold just the keys that are current."""
        return not selection.to_stage and known_files.have_the_current_keys(
            self._scratch, self._lake, selection.known, self._progress
        )

    def _stage(
        self, selection: Selection, result: LoadResult
    ) -> tuple[list[LakeObject], LoadResult]:
        """(objects whose rows or keys were read, what is known of them)."""
        known: known_files.Known = {}
        if self._request.kind is Kind.REFRESH:
            known = known_files.read_keys(
                self._scratch, self._lake, selection.known, self._progress
            )
        incomplete = [file for file in selection.known if file not in known]

        def on_quarantine(each: LakeObject, outcome: FileOutcome) -> None:
            self._run.result = _with_files(self._run.result, {each: outcome})

        to_stage = [*selection.to_stage, *incomplete]
        staged = stage(self._scratch, self._lake, to_stage, self._progress, on_quarantine)
        result = _with_known(_with_staged(result, staged, self._table), known)
        if not staged.files and not known:
            self._run.result = result
            raise LoadFailed(f"No file could be loaded. {reasons(result)}")
        return [file.object for file in (*staged.files, *known)], result

    def _refuse_to_lose(self, result: LoadResult, rows_before: int) -> None:
        """Raise LoadFailed if a refresh or bulk load would lose what is stored."""
        if self._request.kind is Kind.INCREMENTAL or not rows_before:
            return
        if not result.rows_loaded:
            raise LoadFailed(
                "No row could be loaded, so the stored data was kept. See the rejects."
                if result.rows_rejected
                else "The files hold no rows, so the stored data was kept."
            )
        if self._request.kind is Kind.BULK:
            refuse_losses(self._scratch, result)

    def _snapshot(self, read: Iterable[LakeObject], result: LoadResult) -> Snapshot | None:
        if self._request.kind is not Kind.REFRESH:
            return None
        taken_at = max(each.last_modified for each in read)
        doubt = self._doubt(result)
        return Snapshot(taken_at, self._request.vanished, self._request.limit, doubt)

    def _doubt(self, result: LoadResult) -> str:
        """Why a key that was not found could be in the files all the same."""
        if result.quarantined:
            return "some files could not be read"
        without_key = self._scratch.value(
            f"SELECT count() FROM {self._scratch.rejects} "
            f"WHERE {rejects_of_run(self._table)} AND row_key = ''"
        )
        return "some rejected rows have no key" if without_key else ""

    def _reconcile(self, result: LoadResult) -> None:
        """Every row that was loaded is accounted for, and none twice."""
        accounted = result.versions.rows_accounted
        if accounted != result.rows_loaded:
            self._scratch.check_intact()
            raise LoadFailed(
                f"{result.rows_loaded} rows were staged, but {accounted} are accounted for. "
                "Nothing was changed. Please report this."
            )

    # --- Notes

    def _log(self, result: LoadResult) -> None:
        loaded = [each for each, outcome in result.files.items() if not outcome.error]
        newest = max(loaded, key=lambda each: (each.last_modified, each.key))
        self._scratch.log(
            self._request.kind.value,
            files=len(loaded),
            rows_loaded=result.rows_loaded,
            rows_rejected=result.rows_rejected,
            newest_file=newest.path,
            newest_file_time=newest.last_modified,
        )

    def _last_notes(self, result: LoadResult) -> Iterator[str]:
        if self._request.dry_run:
            yield "A test: nothing was written, rejects were only counted."
        if names := [each.key for each in result.quarantined]:
            some = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            were = "1 file was" if len(names) == 1 else f"{len(names)} files were"
            yield f"{were} quarantined ({some}): see its files."


def _with_notes(result: LoadResult, *notes: str) -> LoadResult:
    return replace(result, notes=(*result.notes, *notes))


def _with_files(result: LoadResult, outcomes: Outcomes) -> LoadResult:
    return replace(result, files={**result.files, **outcomes})


def _with_known(result: LoadResult, known: known_files.Known) -> LoadResult:
    """Rows of files that an earlier load staged are unchanged."""
    unchanged = sum(outcome.rows_loaded for outcome in known.values())
    return replace(
        result,
        files={**result.files, **{file.object: outcome for file, outcome in known.items()}},
        versions=result.versions + VersionCounts(rows_unchanged=unchanged),
    )


def _with_staged(result: LoadResult, staged: Staged, table: Table) -> LoadResult:
    columns, unknown = dict(result.columns), set(result.unknown_columns)
    if staged.json_columns is not None:
        columns["jsonl"] = dict.fromkeys(sorted(staged.json_columns), "JSON")
        unknown |= staged.json_columns - {*table.source_names, TENANT_COLUMN.name}
    return replace(
        result,
        files={**result.files, **staged.outcomes},
        columns=columns,
        unknown_columns=tuple(sorted(unknown)),
        notes=(*result.notes, *_notes_on_text(staged.rows_replaced)),
    )


def _notes_on_text(rows_replaced: int) -> Iterator[str]:
    if rows_replaced:
        rows = "1 row holds" if rows_replaced == 1 else f"{rows_replaced:,} rows hold"
        yield f"{rows} control characters, which are shown as {REPLACEMENT}."


def _with_plan(result: LoadResult, plan: merge.Plan) -> LoadResult:
    return replace(
        result,
        versions=result.versions + plan.versions,
        notes=(*result.notes, *plan.notes),
    )
