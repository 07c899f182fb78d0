"""Celery's entry points. Each may be delivered twice or never: the job's row decides."""

from celery import shared_task

from . import jobs, runs


@shared_task
def run_load_job(job_id: int) -> str | None:
    return runs.run(job_id)


@shared_task(ignore_result=True, expires=60)
def sweep_load_jobs() -> int:
    return jobs.sweep()
