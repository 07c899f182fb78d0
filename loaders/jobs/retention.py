"""Retention: deletes old records of runs and loads that changed nothing and are not needed.

Every load that wrote history stays, so that each stored version can be traced to its load and file.
But recent files are examined in every period, and loads that found nothing new pile up.
"""

from datetime import datetime, timedelta

from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from analytics.warehouse.catalog import TABLES
from loaders.lake.discovery import Examined, examinations
from loaders.models import LoadJob, PipelineRun
from tenants.models import Tenant

RETENTION = timedelta(days=30)
IDLE_RUN_RETENTION = timedelta(days=7)  # of runs that succeeded without a load
_BATCH_SIZE = 500  # loads in one transaction, each with its files


def purge_loads(now: datetime | None = None) -> int:
    """Delete the records of old loads that are not needed; returns how many."""
    idle = _idle((now or timezone.now()) - RETENTION)
    places = idle.order_by("tenant_id", "table").values_list("tenant_id", "table").distinct()
    return sum(_purge_loads_of(Tenant(id=tenant_id), table, idle) for tenant_id, table in places)


def purge_runs(now: datetime | None = None) -> int:
    """Delete the records of old runs without loads; returns how many."""
    now = now or timezone.now()
    is_idle = Q(state=PipelineRun.State.SUCCEEDED, finished_at__lt=now - IDLE_RUN_RETENTION)
    ended = PipelineRun.objects.exclude(state__in=PipelineRun.ACTIVE)
    old = ended.filter(is_idle | Q(finished_at__lt=now - RETENTION), jobs__isnull=True)
    return old.delete()[0]


def _idle(before: datetime) -> QuerySet[LoadJob]:
    """Loads that ended before a moment and wrote no history.

    Their rejects also belong to the load that first found the same file, which stays.
    """
    ended = LoadJob.objects.filter(finished_at__lt=before).exclude(state__in=LoadJob.ACTIVE)
    # A load that was retried, or failed after it was published, may have written uncounted rows.
    is_counted = Q(publishing_began_at__isnull=True) | Q(state=LoadJob.State.SUCCEEDED, claims=1)
    wrote_nothing = Q(closings=[], **dict.fromkeys(LoadJob.CHANGES, 0))
    is_idle = (
        is_counted & wrote_nothing & Q(kind__in=(LoadJob.Kind.INCREMENTAL, LoadJob.Kind.REFRESH))
    )
    return ended.filter(is_idle | Q(dry_run=True))


def _purge_loads_of(tenant: Tenant, table: str, idle: QuerySet[LoadJob]) -> int:
    here = LoadJob.objects.filter(tenant=tenant, table=table)
    needed = _first_to_find(tenant, table) | _last(here)
    ids = idle.filter(tenant=tenant, table=table).values_list("pk", flat=True)
    obsolete = [pk for pk in ids if pk not in needed]
    for begin in range(0, len(obsolete), _BATCH_SIZE):
        here.filter(pk__in=obsolete[begin : begin + _BATCH_SIZE]).delete()
    return len(obsolete)


def _first_to_find(tenant: Tenant, table: str) -> set[int]:
    """The loads that were the first to find a file, or a new version of it.

    From these alone the next load knows which files are not new.
    """
    first: set[int] = set()
    last: dict[str, Examined] = {}
    for load_id, key, examined in examinations(tenant, TABLES[table]):
        if last.get(key) != examined:
            first.add(load_id)
            last[key] = examined
    return first


def _last(loads: QuerySet[LoadJob]) -> set[int]:
    """The loads with which the next load or run is compared."""
    ended = loads.exclude(state__in=LoadJob.ACTIVE)
    real = ended.filter(dry_run=False)
    kinds = (
        ended,
        real.exclude(kind=LoadJob.Kind.REPAIR),
        real.filter(state=LoadJob.State.SUCCEEDED),
    )
    return {pk for each in kinds if (pk := each.aggregate(last=Max("pk"))["last"])}
