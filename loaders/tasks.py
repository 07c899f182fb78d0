"""Celery's entry points. Each may be delivered twice or never: the job's row decides."""

from celery import shared_task

from analytics.warehouse.catalog import TABLES
from tenants.models import Tenant

from . import integrity, jobs, runs, upkeep


@shared_task
def run_load_job(job_id: int) -> str | None:
    return runs.run(job_id)


@shared_task(ignore_result=True)
def tidy_table(tenant_id: str, table: str, load_id: int) -> bool:
    return upkeep.tidy(Tenant(id=tenant_id), TABLES[table], load_id)


@shared_task(ignore_result=True)
def check_integrity() -> int:
    """Check everything; returns how many tables have faults, each of which raises an alert."""
    active = Tenant.objects.filter(is_active=True)
    return sum(not each.is_sound for each in integrity.check_all(active))


@shared_task(ignore_result=True, expires=60)
def sweep_load_jobs() -> int:
    return jobs.sweep()
