"""Waking workers up. A message that is lost costs time only: the sweeps send it again."""

import logging
from collections.abc import Callable

from django.db import transaction
from kombu.exceptions import OperationalError

from loaders.models import LoadJob, PipelineRun

log = logging.getLogger(__name__)


def wake_loader() -> None:
    """Have a worker take the queued load whose turn it is."""
    from loaders.tasks import run_next_load  # the tasks call what calls this

    _after_commit(run_next_load.delay)


def advance_soon(run_id: int) -> None:
    """Have a worker go on with a pipeline run."""
    from loaders.tasks import advance_pipeline  # the tasks call what calls this

    _after_commit(lambda: advance_pipeline.delay(run_id))


def tell_pipeline(job: LoadJob) -> None:
    """A load has ended, for which its pipeline may be waiting."""
    waiting = PipelineRun.objects.filter(
        tenant_id=job.tenant_id, state=PipelineRun.State.RUNNING, step=PipelineRun.Step.LOAD
    )
    for run_id in waiting.values_list("pk", flat=True):
        advance_soon(run_id)


def tidy_soon(job: LoadJob) -> None:
    """Have a worker merge what the job's flip left. Reads are only slower until one does."""
    from loaders.tasks import tidy_table  # the tasks call what calls this

    _after_commit(lambda: tidy_table.delay(job.tenant_id, job.table, job.pk))


def _after_commit(message: Callable[[], object]) -> None:
    def send() -> None:
        try:
            message()
        except (OperationalError, OSError) as error:
            log.warning("no worker could be told, the sweep will: %s", error)

    transaction.on_commit(send)
