"""The messages that wake workers for loads and pipeline runs."""

from common.messages import EXPIRES, send_after_commit
from loaders.models import LoadJob, PipelineRun


def wake_loader() -> None:
    """Wake a worker to take the next queued load."""
    send_after_commit("loaders.tasks.run_next_load", expires=EXPIRES)


def advance_soon(run_id: int) -> None:
    """Wake a worker to continue a pipeline run."""
    send_after_commit("loaders.tasks.advance_pipeline", run_id, expires=EXPIRES)


def tell_pipeline(job: LoadJob) -> None:
    """Wake workers for the tenant's runs that wait for loads: this one has ended."""
    waiting = PipelineRun.objects.filter(
        tenant_id=job.tenant_id, state=PipelineRun.State.RUNNING, step=PipelineRun.Step.LOAD
    )
    for run_id in waiting.values_list("pk", flat=True):
        advance_soon(run_id)


def tidy_soon(job: LoadJob) -> None:
    """Wake a worker to merge the patches that the job left. Until then reads are slower."""
    send_after_commit("loaders.tasks.tidy_table", job.tenant_id, job.table, job.pk)


def warm_soon(tenant_id: str) -> None:
    """Wake a worker to compute the tenant's dashboards with the new data."""
    send_after_commit("avesa_site.tasks.warm_dashboards", tenant_id, expires=EXPIRES)
