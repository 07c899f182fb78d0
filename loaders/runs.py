"""Running one load job from claim to end."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection, connections

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import (
    Interrupted,
    OutOfMemory,
    QueryTimeout,
    Unreachable,
    WarehouseError,
)
from avesa_site.logs import noted
from tenants import alerts
from tenants.models import Alert

from . import drift, jobs
from .lake import LakeChanged, LakeError, LakeUnreachable
from .load import Load
from .models import LoadJob
from .repair import Repair
from .results import LoadFailed, LoadResult
from .workspace import Workspace

log = logging.getLogger(__name__)

_DATABASE_AWAY = (OperationalError, InterfaceError)
_PASSING = (
    Unreachable,
    QueryTimeout,
    OutOfMemory,
    Interrupted,
    LakeUnreachable,
    LakeChanged,
    *_DATABASE_AWAY,
)


def run(job_id: int) -> LoadJob.State | None:
    """Claim and run a job; the state it ended in, or None if it was not ours to run."""
    job = jobs.claim(job_id)
    if job is None:
        return None
    with noted(tenant=job.tenant_id, job=job.pk):
        return _run(job)


def _run(job: LoadJob) -> LoadJob.State | None:
    load = _work(job)
    try:
        with _heartbeat(job):
            result = load.run()
        _compare_columns(job, result)
        succeeded = jobs.succeed(job, result)
    except Exception as error:
        return _failed(job, error, load.result)
    if not succeeded:
        return None
    if job.kind != LoadJob.Kind.REPAIR:
        alerts.all_clear(Alert.Kind.LOAD, job.tenant_id, job.table)
    if result.left_patches or job.attempt > 1:
        jobs.announce_upkeep(job)
    return LoadJob.State.SUCCEEDED


def _work(job: LoadJob) -> Load | Repair:
    def progress(step: str) -> None:
        _progress(job, step)

    def still_ours() -> bool:
        return jobs.commit(job)

    table = TABLES[job.table]
    if job.kind == LoadJob.Kind.REPAIR:
        workspace = Workspace(job.tenant, table, job.pk, job.attempt)
        return Repair(workspace, job.dry_run, progress, still_ours)
    return Load(
        job.tenant,
        table,
        job.pk,
        job.attempt,
        LoadJob.Kind(job.kind),
        LoadJob.Vanished(job.vanished),
        job.vanished_limit,
        progress=progress,
        still_ours=still_ours,
        note_closing=lambda moment: jobs.note_closing(job, moment),
    )


def _compare_columns(job: LoadJob, result: LoadResult) -> None:
    """Note how the files' columns drifted; formats it did not meet stay as they were."""
    before = drift.columns_before(job)
    result.notes = list(dict.fromkeys([*result.notes, *drift.notes(before, result.columns)]))
    result.columns = {**before, **result.columns}


def _progress(job: LoadJob, step: str) -> None:
    log.info("load job %s (%s/%s): %s", job.pk, job.tenant_id, job.table, step)
    if not jobs.beat(job, step):
        raise LoadFailed("The load was cancelled, or another run has taken over.")


def _failed(job: LoadJob, error: Exception, result: LoadResult) -> LoadJob.State | None:
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()  # it may be the database that failed
    known = isinstance(error, (LoadFailed, LakeError, WarehouseError, *_DATABASE_AWAY))
    if not known:
        log.exception("load job %s failed in an unforeseen way", job.pk)
    reason = str(error) if known else f"Unforeseen: {type(error).__name__}: {error}"
    if isinstance(error, _DATABASE_AWAY):
        reason = f"The application database failed: {error}"
    # Past the swap only notes are missing, which another run completes.
    swapped = LoadJob.objects.filter(pk=job.pk, swapped_at__isnull=False).exists()
    may_retry = swapped or isinstance(error, _PASSING)
    _compare_columns(job, result)
    state = jobs.fail(job, reason, may_retry=may_retry, result=result)
    return state


@contextmanager
def _heartbeat(job: LoadJob) -> Iterator[None]:
    """Beats from a thread of its own while a long statement keeps the worker waiting."""
    stop = threading.Event()

    def keep_beating() -> None:
        try:
            while not stop.wait(settings.LOAD_HEARTBEAT_TIMEOUT / 6):
                try:
                    jobs.beat(job)
                except DatabaseError as error:  # one missed beat is no reason to miss the next
                    log.warning("load job %s missed a heartbeat: %s", job.pk, error)
                    connections.close_all()
        finally:
            connections.close_all()

    thread = threading.Thread(target=keep_beating, name=f"heartbeat-{job.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
