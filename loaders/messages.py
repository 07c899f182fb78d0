"""Every message that wakes a worker for loads and pipelines."""

from common.messages import EXPIRES, send_after_commit
from loaders.models import LoadJob, PipelineRun


def wake_loader() -> None:
    """Have a worker take the queued load whose turn it is."""
    send_after_commit("loaders.tasks.run_next_load", expires=EXPIRES)


def advance_soon(run_id: int) -> None:
    """Have a worker go on with a pipeline run."""
    send_after_commit("loaders.tasks.advance_pipeline", run_id, expires=EXPIRES)


def tell_pipeline(job: LoadJob) -> None:
    """A load has ended, for which its pipeline may be waiting."""
    waiting = PipelineRun.objects.filter(
        tenant_id=job.tenant_id, state=PipelineRun.State.RUNNING, step=PipelineRun.Step.LOAD
    )
    for run_id in waiting.values_list("pk", flat=True):
        advance_soon(run_id)


def tidy_soon(job: LoadJob) -> None:
    """Have a worker merge what the job's flip left. Reads are only slower until one does."""
    send_after_commit("loaders.tasks.tidy_table", job.tenant_id, job.table, job.pk)
