"""Celery's entry points. Each may be delivered twice or never: the rows decide."""

from celery import shared_task

from analytics.warehouse.catalog import TABLES
from tenants.models import Tenant

from . import integrity, jobs, lateness, pipelines, runs, schedule, upkeep


@shared_task(expires=600)
def run_next_load() -> str | None:
    return runs.run_next()


@shared_task(expires=600)
def advance_pipeline(run_id: int) -> str | None:
    return pipelines.advance(run_id)


@shared_task
def tidy_table(tenant_id: str, table: str, load_id: int) -> bool:
    return upkeep.tidy(Tenant(id=tenant_id), TABLES[table], load_id)


@shared_task
def check_integrity() -> int:
    """Check everything; returns how many tables have faults, each of which raises an alert."""
    active = Tenant.objects.filter(is_active=True)
    return sum(not each.is_sound for each in integrity.check_all(active))


@shared_task(expires=60)
def sweep_load_jobs() -> int:
    return jobs.sweep()


@shared_task(expires=60)
def sweep_pipelines() -> int:
    """Start what is due, take up what was left behind; returns how many runs wait for a worker."""
    schedule.start_due()
    return pipelines.sweep()


@shared_task(expires=300)
def watch_freshness() -> int:
    return lateness.watch()


@shared_task
def forget_quiet_runs() -> int:
    return schedule.forget_quiet_runs()
