"""Which records of runs and loads go after a while: those that changed nothing, and tell nothing
that another record does not tell.

Every load that wrote history stays, so each stored version can be traced to its load and file. But
young files are looked at every period, and what says "nothing new" would soon outnumber the rest.
"""

from datetime import datetime, timedelta

from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from analytics.warehouse.catalog import TABLES
from loaders.lake.discovery import Examined, examinations
from loaders.models import LoadJob, PipelineRun
from tenants.models import Tenant

KEPT = timedelta(days=30)
QUIET_RUNS_KEPT = timedelta(days=7)  # which succeeded without a load
_AT_ONCE = 500  # loads in one transaction, each with its files


def forget_loads(now: datetime | None = None) -> int:
    """Delete the records of old loads that may go; returns how many."""
    idle = _idle((now or timezone.now()) - KEPT)
    places = idle.order_by("tenant_id", "table").values_list("tenant_id", "table").distinct()
    return sum(_forget_loads_of(Tenant(id=tenant_id), table, idle) for tenant_id, table in places)


def forget_runs(now: datetime | None = None) -> int:
    """Delete the records of old runs without loads; returns how many."""
    now = now or timezone.now()
    is_quiet = Q(state=PipelineRun.State.SUCCEEDED, finished_at__lt=now - QUIET_RUNS_KEPT)
    ended = PipelineRun.objects.exclude(state__in=PipelineRun.ACTIVE)
    old = ended.filter(is_quiet | Q(finished_at__lt=now - KEPT), jobs__isnull=True)
    return old.delete()[0]


def _idle(before: datetime) -> QuerySet[LoadJob]:
    """Loads that ended before a moment and wrote no history.

    Their rejects are also those of the load that first found the same file.
    """
    ended = LoadJob.objects.filter(finished_at__lt=before).exclude(state__in=LoadJob.ACTIVE)
    # One that was taken up again, or failed once it showed its rows, may have written uncounted.
    is_counted = Q(swapped_at__isnull=True) | Q(state=LoadJob.State.SUCCEEDED, claims=1)
    wrote_nothing = Q(closings=[], **dict.fromkeys(LoadJob.CHANGES, 0))
    is_idle = (
        is_counted & wrote_nothing & Q(kind__in=(LoadJob.Kind.INCREMENTAL, LoadJob.Kind.REFRESH))
    )
    return ended.filter(is_idle | Q(dry_run=True))


def _forget_loads_of(tenant: Tenant, table: str, idle: QuerySet[LoadJob]) -> int:
    here = LoadJob.objects.filter(tenant=tenant, table=table)
    needed = _first_to_find(tenant, table) | _last(here)
    ids = idle.filter(tenant=tenant, table=table).values_list("pk", flat=True)
    going = [pk for pk in ids if pk not in needed]
    for begin in range(0, len(going), _AT_ONCE):
        here.filter(pk__in=going[begin : begin + _AT_ONCE]).delete()
    return len(going)


def _first_to_find(tenant: Tenant, table: str) -> set[int]:
    """The loads that found something at a key which the one before had not found there.

    With these alone, a next load takes the same files for known.
    """
    first: set[int] = set()
    last: dict[str, Examined] = {}
    for load_id, key, examined in examinations(tenant, TABLES[table]):
        if last.get(key) != examined:
            first.add(load_id)
            last[key] = examined
    return first


def _last(loads: QuerySet[LoadJob]) -> set[int]:
    """Those that the next load or run is compared with."""
    ended = loads.exclude(state__in=LoadJob.ACTIVE)
    real = ended.filter(dry_run=False)
    kinds = (
        ended,
        real.exclude(kind=LoadJob.Kind.REPAIR),
        real.filter(state=LoadJob.State.SUCCEEDED),
    )
    return {pk for each in kinds if (pk := each.aggregate(last=Max("pk"))["last"])}
