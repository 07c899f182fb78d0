"""Which tenants' data are late: files that do not come, pipelines that do not end."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Max, Q
from django.utils import timezone

from analytics.warehouse.catalog import PUBLISHING, REPAIR
from analytics.warehouse.client import Writer
from analytics.warehouse.errors import WarehouseError
from common.models import Heartbeat
from loaders.jobs import queue
from loaders.models import IntegrityCheck, LoadJob, PipelineRun
from loaders.pipelines.runs import SUBJECT
from loaders.pipelines.schedule import period_of
from tenants import alerting
from tenants.models import Alert, Tenant

# A load that could begin and does not, while none is running, for so long: nobody takes loads.
UNSERVED = timedelta(minutes=15)
# A nightly check that does not come about for so long is told.
OVERDUE = timedelta(days=2, hours=4)
# A pipeline is late once it missed so many of its times.
PERIODS = 3
MIN_DELAY = timedelta(minutes=30)


def newest_files() -> dict[str, dict[str, datetime]]:
    """When the newest loaded file was written, by tenant and table. Raises WarehouseError."""
    found: dict[str, dict[str, datetime]] = defaultdict(dict)
    for tenant_id, table, newest in Writer(seconds=settings.CLICKHOUSE_READ_TIMEOUT).rows(
        "SELECT tenant_id, table_name, max(newest_file_time) FROM load_log "
        "WHERE kind NOT IN {others:Array(String)} GROUP BY tenant_id, table_name",
        {"others": [REPAIR, PUBLISHING]},
    ):
        found[tenant_id][table] = newest
    return found


def watch() -> int:
    """Raise an alert for each table or pipeline that is late, end those of what no longer is;
    returns how many are late.
    """
    late: dict[tuple[str | None, str], str] = dict(_late())
    open_alerts = Alert.objects.filter(kind=Alert.Kind.LATE, over_at__isnull=True)
    for place in set(open_alerts.values_list("tenant_id", "subject")) - set(late):
        alerting.all_clear(Alert.Kind.LATE, *place)
    for (tenant_id, subject), text in late.items():
        alerting.raise_alert(Alert.Kind.LATE, tenant_id, subject, text)
    return len(late)


def _late() -> Iterator[tuple[tuple[str | None, str], str]]:
    """((tenant id, or None for the platform; table or what else is late), why)"""
    yield from _loads_unserved()
    yield from _checks_overdue()
    tenants = list(Tenant.objects.filter(is_active=True))
    yield from _late_pipelines(tenants)
    try:
        newest = newest_files()
    except WarehouseError:  # which loads and the doctor say better; what was late stays so
        yield from _late_before()
        return
    latest = timezone.now() - timedelta(hours=settings.DATA_LATE_HOURS)
    for tenant in tenants:
        for table, at in newest.get(tenant.pk, {}).items():
            if at < latest:
                yield (
                    (tenant.pk, table),
                    f"The newest file of {table} is from {at:%Y-%m-%d %H:%M} UTC, which is more "
                    f"than {settings.DATA_LATE_HOURS} hours ago. Ask upstream whether it delivers.",
                )


def _loads_unserved() -> Iterator[tuple[tuple[None, str], str]]:
    """The canary shows that workers run tasks, but not that one of them serves the loads' queue."""
    now = timezone.now()
    before = now - UNSERVED
    taken = Q(started_at__range=(before, now)) | Q(finished_at__range=(before, now))
    if LoadJob.objects.filter(taken | Q(state=LoadJob.State.RUNNING)).exists():
        return
    waiting = queue.due().filter(requested_at__lt=before).exclude(try_at__gte=before)
    if count := waiting.count():
        yield (
            (None, "loads"),
            f"{count:,} loads could run and none does, for {UNSERVED.total_seconds() / 60:.0f} "
            "minutes. See whether a worker serves the queue named loads, and LOADS_AT_ONCE.",
        )


def _checks_overdue() -> Iterator[tuple[tuple[None, str], str]]:
    """Not while beat has not yet had a night for them."""
    now = timezone.now()
    had_a_night = Heartbeat.objects.filter(name="beat", since__lt=now - OVERDUE / 2).exists()
    overdue = IntegrityCheck.objects.filter(tenant__is_active=True, checked_at__lt=now - OVERDUE)
    if had_a_night and (count := overdue.count()):
        days = OVERDUE.total_seconds() / 86400
        yield (
            (None, "integrity"),
            f"The history of {count:,} tables was not checked for {days:.0f} days. See what "
            "manage.py warehouse_integrity says.",
        )


def _late_before() -> Iterator[tuple[tuple[str, str], str]]:
    was = Alert.objects.filter(kind=Alert.Kind.LATE, over_at__isnull=True).exclude(subject=SUBJECT)
    for alert in was.exclude(tenant=None):
        yield (alert.tenant_id or "", alert.subject), alert.text


def _late_pipelines(tenants: list[Tenant]) -> Iterator[tuple[tuple[str, str], str]]:
    """Counted from when a tenant was scheduled as it is, and from when beat began to run again."""
    now = timezone.now()
    beating = Heartbeat.objects.filter(name="beat").values_list("since", flat=True).first() or now
    periods = {each.pk: period for each in tenants if (period := period_of(each))}
    limits = {key: max(PERIODS * period, MIN_DELAY) for key, period in periods.items()}
    ended = PipelineRun.objects.filter(
        dry_run=False,
        finished_at__gte=now - max(limits.values(), default=MIN_DELAY),
        finished_at__lte=now,
    )
    last = dict(ended.values_list("tenant_id").annotate(Max("finished_at")))
    for tenant in tenants:
        limit = limits.get(tenant.pk)
        since = max(last.get(tenant.pk, beating), tenant.scheduled_since, beating)
        if limit and now - since > limit:
            minutes = periods[tenant.pk].total_seconds() / 60
            yield (
                (tenant.pk, SUBJECT),
                f"No pipeline run has ended for {limit.total_seconds() / 60:,.0f} minutes, though "
                f"one is due every {minutes:,.0f}. See whether the workers keep up.",
            )
