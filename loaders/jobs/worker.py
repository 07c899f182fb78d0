"""Running one load job from claim to end."""

import logging
from dataclasses import replace
from datetime import datetime

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from analytics.warehouse import client
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import (
    OUTAGES,
    LakeAccessError,
    OutOfMemory,
    QueryTimeout,
    WarehouseError,
)
from common.heartbeat import beating
from common.logs import log_context
from loaders.history.repair import repair
from loaders.history.vanished_keys import note_closing
from loaders.jobs import queue
from loaders.jobs.load import LoadRequest, Run, run_load
from loaders.lake.results import LoadFailed, LoadResult
from loaders.lake.s3 import LakeError, NoFiles
from loaders.messages import tidy_soon, warm_soon
from loaders.models import LoadJob
from loaders.staging import schema_drift
from loaders.staging.scratch_tables import ScratchTables, label_of

log = logging.getLogger(__name__)

_DATABASE_AWAY = (OperationalError, InterfaceError)
# Not the load's own fault: once the part is back, or lets us in, the same files can be loaded.
_OUTSIDE_FAULTS = (*OUTAGES, LakeAccessError, LakeError, *_DATABASE_AWAY)
# May be gone when it is tried again.
_RETRYABLE = (*_OUTSIDE_FAULTS, QueryTimeout, OutOfMemory)
# Staff who watch see a load move this often (seconds).
PROGRESS_SECONDS = 2.0


def run(job_id: int) -> LoadJob.State | None:
    """Claim and run a job; the state it ended in, or None if it was not ours to run."""
    return _run_claimed(queue.claim(job_id))


def run_next() -> LoadJob.State | None:
    """The same with the queued job whose turn it is. Afterwards a worker is woken for the next."""
    job = queue.claim_next()
    if job is None:
        return None
    try:
        return _run_claimed(job)
    finally:
        queue.wake_for_queued()


def _run_claimed(job: LoadJob | None) -> LoadJob.State | None:
    if job is None:
        return None
    with log_context(tenant=job.tenant_id, job=job.pk):
        return _run(job)


def _run(job: LoadJob) -> LoadJob.State | None:
    run = _JobRun(job)
    try:
        with beating(run.beat, _seconds_between()):
            result = _with_drift(job, _work(job, run))
        succeeded = queue.succeed(job, result)
    except Exception as error:
        return _failed(job, error, run.result)
    if not succeeded:
        return None
    if not job.dry_run:
        warm_soon(job.tenant_id)
    if result.left_patches or queue.may_have_leftovers(job):
        tidy_soon(job)
    return LoadJob.State.SUCCEEDED


class _JobRun(Run):
    """A run for a job's record, which shows its progress and decides whether it goes on."""

    def __init__(self, job: LoadJob) -> None:
        super().__init__()
        self._job = job

    def on_step(self, name: str) -> None:
        """Raises LoadFailed if the job is no longer this run's."""
        job = self._job
        if name != job.step:
            log.info("load job %s (%s/%s): %s", job.pk, job.tenant_id, job.table, name)
            job.step = name
        now = self.progress.now()
        if not job.beat(step=name, listing=self.result.listing, **now):
            raise LoadFailed("The load was canceled, or another run has taken over.")

    def begin_publishing(self) -> bool:
        return queue.commit(self._job)

    def note_closing(self, moment: datetime) -> None:
        note_closing(self._job, moment)

    def beat(self) -> None:
        """Called now and then while a statement runs."""
        self._job.beat()
        try:
            under_way = client.under_way(label_of(self._job.pk, self._job.claims))
        except WarehouseError:  # the run's own statement will fail, too
            return
        self._job.beat(**self.progress.now(*under_way))


def _work(job: LoadJob, run: _JobRun) -> LoadResult:
    table = TABLES[job.table]
    if job.kind == LoadJob.Kind.REPAIR:
        scratch = ScratchTables(job.tenant, table, job.pk, job.claims, job.dry_run)
        return repair(scratch, run.progress, run.begin_publishing)
    request = LoadRequest(
        job.tenant,
        table,
        job.pk,
        job.claims,
        LoadJob.Kind(job.kind),
        LoadJob.Vanished(job.vanished),
        job.vanished_limit,
        job.dry_run,
    )
    return run_load(request, run)


def _with_drift(job: LoadJob, result: LoadResult) -> LoadResult:
    """Note how the files' columns drifted; formats that it did not meet stay as they were."""
    before, table = schema_drift.columns_before(job), TABLES[job.table]
    now = schema_drift.kept(result.columns, table)
    notes = dict.fromkeys([*result.notes, *schema_drift.notes(before, now, table)])
    columns: schema_drift.Columns = {**before, **now}
    return replace(result, notes=tuple(notes), columns=columns)


def _failed(job: LoadJob, error: Exception, result: LoadResult) -> LoadJob.State | None:
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()  # it may be the database that failed
    known = isinstance(error, (LoadFailed, LakeError, WarehouseError, *_DATABASE_AWAY))
    if not known:
        log.exception("load job %s failed in an unforeseen way", job.pk)
    reason = str(error) if known else f"Unforeseen: {type(error).__name__}: {error}"
    if queue.cancel_if_suspended(job):
        return LoadJob.State.CANCELED
    if isinstance(error, _DATABASE_AWAY):
        reason = f"The application database failed: {error}"
    # Once publishing began, readers may see its rows: another run completes what is missing.
    swapped = LoadJob.objects.filter(pk=job.pk, publishing_began_at__isnull=False).exists()
    may_retry = swapped or (isinstance(error, _RETRYABLE) and not isinstance(error, NoFiles))
    return queue.fail(
        job,
        reason,
        may_retry=may_retry,
        is_own_fault=not isinstance(error, _OUTSIDE_FAULTS),
        result=_with_drift(job, result),
    )


def _seconds_between() -> float:
    return min(PROGRESS_SECONDS, float(settings.LOAD_HEARTBEAT_TIMEOUT) / 6)
