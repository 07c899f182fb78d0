"""Running one load job from claim to end."""

import logging

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
from common.logs import noted
from loaders.history import closings
from loaders.history.repair import Repair
from loaders.jobs import queue
from loaders.jobs.load import Load
from loaders.lake.results import LoadFailed, LoadResult
from loaders.lake.s3 import LakeError, NoFiles
from loaders.messages import tidy_soon
from loaders.models import LoadJob
from loaders.staging import schema_drift
from loaders.staging.scratch_tables import ScratchTables, label_of

log = logging.getLogger(__name__)

_DATABASE_AWAY = (OperationalError, InterfaceError)
# Not the load's own fault: once the part is back, or lets us in, the same files can be loaded.
_SURROUNDINGS = (*OUTAGES, LakeAccessError, LakeError, *_DATABASE_AWAY)
# May be gone when it is tried again.
_PASSING = (*_SURROUNDINGS, QueryTimeout, OutOfMemory)
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
    with noted(tenant=job.tenant_id, job=job.pk):
        return _run(job)


def _run(job: LoadJob) -> LoadJob.State | None:
    try:
        load = _work(job)
    except WarehouseError as error:  # its address is kept by somebody who is away
        return _failed(job, error, LoadResult())
    try:
        with beating(lambda: _beat(job, load), _seconds_between()):
            result = load.run()
        _compare_columns(job, result)
        succeeded = queue.succeed(job, result)
    except Exception as error:
        return _failed(job, error, load.result)
    if not succeeded:
        return None
    if result.left_patches or queue.may_have_leftovers(job):
        tidy_soon(job)
    return LoadJob.State.SUCCEEDED


def _work(job: LoadJob) -> Load | Repair:
    def on_step(step: str) -> None:
        _progress(job, load, step)

    def still_ours() -> bool:
        return queue.commit(job)

    table = TABLES[job.table]
    if job.kind == LoadJob.Kind.REPAIR:
        scratch = ScratchTables(job.tenant, table, job.pk, job.claims)
        load: Load | Repair = Repair(scratch, job.dry_run, on_step, still_ours)
        return load
    load = Load(
        job.tenant,
        table,
        job.pk,
        job.claims,
        LoadJob.Kind(job.kind),
        LoadJob.Vanished(job.vanished),
        job.vanished_limit,
        job.dry_run,
        on_step=on_step,
        still_ours=still_ours,
        note_closing=lambda moment: closings.note_closing(job, moment),
    )
    return load


def _compare_columns(job: LoadJob, result: LoadResult) -> None:
    """Note how the files' columns drifted; formats it did not meet stay as they were."""
    before = schema_drift.columns_before(job)
    result.notes = list(dict.fromkeys([*result.notes, *schema_drift.notes(before, result.columns)]))
    result.columns = {**before, **result.columns}


def _progress(job: LoadJob, load: Load | Repair, step: str) -> None:
    if step != job.step:
        log.info("load job %s (%s/%s): %s", job.pk, job.tenant_id, job.table, step)
        job.step = step
    if not job.beat(step=step, listing=load.result.listing, **load.progress.now()):
        raise LoadFailed("The load was canceled, or another run has taken over.")


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
    # Past the swap only notes are missing, which another run completes.
    swapped = LoadJob.objects.filter(pk=job.pk, swapped_at__isnull=False).exists()
    may_retry = swapped or (isinstance(error, _PASSING) and not isinstance(error, NoFiles))
    _compare_columns(job, result)
    return queue.fail(
        job,
        reason,
        may_retry=may_retry,
        is_own_fault=not isinstance(error, _SURROUNDINGS),
        result=result,
    )


def _seconds_between() -> float:
    return min(PROGRESS_SECONDS, float(settings.LOAD_HEARTBEAT_TIMEOUT) / 6)


def _beat(job: LoadJob, load: Load | Repair) -> None:
    job.beat()
    if progress := _progress_now(job, load):
        job.beat(**progress)


def _progress_now(job: LoadJob, load: Load | Repair) -> dict[str, int]:
    try:
        return load.progress.now(*client.under_way(label_of(job.pk, job.claims)))
    except WarehouseError:  # the run's own statement will tell
        return {}
