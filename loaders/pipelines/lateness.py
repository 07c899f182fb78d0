"""Alerts for late data: files that do not arrive, pipelines, loads and checks that do not run."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Max, Q
from django.utils import timezone

from analytics.warehouse.catalog import PUBLISHING, REPAIR
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.errors import WarehouseError
from common.models import Heartbeat
from loaders.jobs import queue
from loaders.models import IntegrityCheck, LoadJob, PipelineRun
from loaders.pipelines.runs import SUBJECT
from loaders.pipelines.schedule import period_of
from tenants import alerting
from tenants.models import Alert, Tenant

# If a load could start and none has run for this long, no worker serves the queue of loads.
MAX_QUEUED = timedelta(minutes=15)
# A table whose last nightly check is older than this raises an alert.
MAX_CHECK_AGE = timedelta(days=2, hours=4)
# A pipeline is late once it has missed this many of its scheduled runs.
MISSED_RUNS = 3
MIN_DELAY = timedelta(minutes=30)


def newest_files() -> dict[str, dict[str, datetime]]:
    """When the newest loaded file was written, by tenant and table. Raises WarehouseError."""
    found: dict[str, dict[str, datetime]] = defaultdict(dict)
    for tenant_id, table, newest in WarehouseClient(seconds=settings.CLICKHOUSE_READ_TIMEOUT).rows(
        "SELECT tenant_id, table_name, max(newest_file_time) FROM load_log "
        "WHERE kind NOT IN {others:Array(String)} GROUP BY tenant_id, table_name",
        {"others": [REPAIR, PUBLISHING]},
    ):
        found[tenant_id][table] = newest
    return found


def watch() -> int:
    """Raise an alert for each table or pipeline that is late, and end the alerts of those that no
    longer are; returns how many are late.
    """
    late: dict[tuple[str | None, str], str] = dict(_late())
    open_alerts = Alert.objects.filter(kind=Alert.Kind.LATE, over_at__isnull=True)
    for place in set(open_alerts.values_list("tenant_id", "subject")) - set(late):
        alerting.all_clear(Alert.Kind.LATE, *place)
    for (tenant_id, subject), text in late.items():
        alerting.raise_alert(Alert.Kind.LATE, tenant_id, subject, text)
    return len(late)


def _late() -> Iterator[tuple[tuple[str | None, str], str]]:
    """Yield ((tenant id, or None for the platform; table or other subject), reason)."""
    yield from _loads_without_worker()
    yield from _checks_overdue()
    tenants = list(Tenant.objects.filter(is_active=True))
    yield from _late_pipelines(tenants)
    try:
        newest = newest_files()
    except WarehouseError:  # loads and the doctor report this; open alerts stay open
        yield from _still_late()
        return
    latest = timezone.now() - timedelta(hours=settings.DATA_LATE_HOURS)
    for tenant in tenants:
        for table, at in newest.get(tenant.pk, {}).items():
            if at < latest:
                yield (
                    (tenant.pk, table),
                    f"The newest file of {table} is from {at:%Y-%m-%d %H:%M} UTC, more than "
                    f"{settings.DATA_LATE_HOURS} hours ago. Check that upstream still delivers.",
                )


def _loads_without_worker() -> Iterator[tuple[tuple[None, str], str]]:
    """The canary task shows that workers run, not that one of them serves the queue of loads."""
    now = timezone.now()
    before = now - MAX_QUEUED
    taken = Q(started_at__range=(before, now)) | Q(finished_at__range=(before, now))
    if LoadJob.objects.filter(taken | Q(state=LoadJob.State.RUNNING)).exists():
        return
    waiting = queue.due().filter(requested_at__lt=before).exclude(try_at__gte=before)
    if count := waiting.count():
        yield (
            (None, "loads"),
            f"{count:,} loads could run and none does, for over "
            f"{MAX_QUEUED.total_seconds() / 60:.0f} minutes. Check that a worker serves the queue "
            "named loads, and check the setting LOADS_AT_ONCE.",
        )


def _checks_overdue() -> Iterator[tuple[tuple[None, str], str]]:
    """Checks run at night: none is overdue until beat has been running for a night."""
    now = timezone.now()
    had_a_night = Heartbeat.objects.filter(name="beat", since__lt=now - MAX_CHECK_AGE / 2).exists()
    latest = now - MAX_CHECK_AGE
    overdue = IntegrityCheck.objects.filter(tenant__is_active=True, checked_at__lt=latest)
    if had_a_night and (count := overdue.count()):
        days = MAX_CHECK_AGE.total_seconds() / 86400
        yield (
            (None, "integrity"),
            f"The history of {count:,} tables was not checked for {days:.0f} days. To see "
            "why, run manage.py warehouse_integrity.",
        )


def _still_late() -> Iterator[tuple[tuple[str, str], str]]:
    late = Alert.objects.filter(kind=Alert.Kind.LATE, over_at__isnull=True)
    for alert in late.exclude(subject=SUBJECT).exclude(tenant=None):
        yield (alert.tenant_id or "", alert.subject), alert.text


def _late_pipelines(tenants: list[Tenant]) -> Iterator[tuple[tuple[str, str], str]]:
    """Time counts from the last change of a tenant's schedule and the last start of beat."""
    now = timezone.now()
    beating = Heartbeat.objects.filter(name="beat").values_list("since", flat=True).first() or now
    periods = {each.pk: period for each in tenants if (period := period_of(each))}
    limits = {key: max(MISSED_RUNS * period, MIN_DELAY) for key, period in periods.items()}
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
                f"one is due every {minutes:,.0f}. Check whether the workers keep up.",
            )
