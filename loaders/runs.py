"""Running one load job from claim to end."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import DatabaseError, connections

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import OutOfMemory, QueryTimeout, Unreachable, WarehouseError

from . import jobs
from .bulk import BulkLoad, BulkResult, LoadFailed
from .lake import LakeChanged, LakeError, LakeUnreachable
from .models import LoadJob

log = logging.getLogger(__name__)

_PASSING = (Unreachable, QueryTimeout, OutOfMemory, LakeUnreachable, LakeChanged)


def run(job_id: int) -> LoadJob.State | None:
    """Claim and run a job; the state it ended in, or None if it was not ours to run."""
    job = jobs.claim(job_id)
    if job is None:
        return None
    load = BulkLoad(
        job.tenant,
        TABLES[job.table],
        job.pk,
        job.attempt,
        progress=lambda step: _progress(job, step),
        still_ours=lambda: jobs.commit(job),
    )
    try:
        with _heartbeat(job):
            result = load.run()
    except Exception as error:
        return _failed(job, error, load.result)
    return LoadJob.State.SUCCEEDED if jobs.succeed(job, result) else None


def _progress(job: LoadJob, step: str) -> None:
    log.info("load job %s (%s/%s): %s", job.pk, job.tenant_id, job.table, step)
    if not jobs.beat(job, step):
        raise LoadFailed("The load was cancelled, or another run has taken over.")


def _failed(job: LoadJob, error: Exception, result: BulkResult) -> LoadJob.State | None:
    known = isinstance(error, (LoadFailed, LakeError, WarehouseError))
    if not known:
        log.exception("load job %s failed in an unforeseen way", job.pk)
    reason = str(error) if known else f"Unforeseen: {type(error).__name__}: {error}"
    # Past the swap only notes are missing, which another run completes.
    swapped = LoadJob.objects.filter(pk=job.pk, swapped_at__isnull=False).exists()
    may_retry = swapped or isinstance(error, _PASSING)
    state = jobs.fail(job, reason, may_retry=may_retry, result=result)
    if state == LoadJob.State.FAILED:
        log.error("load job %s (%s/%s) failed: %s", job.pk, job.tenant_id, job.table, reason)
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
