"""Celery tasks. A message may arrive twice or never: the rows in the database decide what runs."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from analytics.warehouse.catalog import TABLES
from common.messages import EXPIRES
from loaders.history import compaction, integrity
from loaders.jobs import queue, retention, worker
from loaders.pipelines import lateness, schedule
from loaders.pipelines import runs as pipelines
from tenants.models import Tenant


@shared_task(expires=EXPIRES)
def run_next_load() -> str | None:
    return worker.run_next()


@shared_task(expires=EXPIRES)
def advance_pipeline(run_id: int) -> str | None:
    return pipelines.advance(run_id)


@shared_task
def tidy_table(tenant_id: str, table: str, load_id: int) -> bool:
    return compaction.tidy(Tenant(id=tenant_id), TABLES[table], load_id)


@shared_task
def check_integrity(older_than_hours: int = 0) -> int:
    """Check every table whose last check is at least this old, and raise an alert for each with
    faults; returns how many have faults. A table that cannot be checked now stays due.
    """
    return integrity.check_due(timezone.now() - timedelta(hours=older_than_hours))


@shared_task
def check_table(tenant_id: str, table: str) -> bool:
    """Whether the table has no faults."""
    return integrity.check(Tenant.objects.get(pk=tenant_id), TABLES[table]).is_sound


@shared_task(expires=EXPIRES)
def sweep_load_jobs() -> int:
    return queue.sweep()


@shared_task(expires=EXPIRES)
def sweep_pipelines() -> int:
    """Start due runs and wake workers for stale ones; returns how many runs wait for a worker."""
    schedule.start_due()
    return pipelines.sweep()


@shared_task(expires=EXPIRES)
def watch_freshness() -> int:
    return lateness.watch()


@shared_task
def purge_old_records() -> int:
    """Returns how many records of loads and runs were deleted."""
    return retention.purge_loads() + retention.purge_runs()
