"""When pipelines run: each tenant every so many minutes, and nightly if it is refreshed.

The times of a tenant are fixed points of the clock, spread over the period by its id. A run's row
holds the time that it was planned for, once: two planners, or a clock that jumps, start nothing
twice. What was missed while nothing ran is not made up for: one run loads all that is new.
"""

import zlib
from datetime import UTC, datetime, time, timedelta

from django.conf import settings
from django.utils import timezone

from common.leases import MAX_CLOCK_SKEW
from loaders.models import PipelineRun
from loaders.pipelines.runs import RunRefused, request_run
from tenants.models import Tenant

Kind = PipelineRun.Kind
# A nightly refresh that could not begin for so long waits for the next night.
LATEST_REFRESH = timedelta(hours=3)


def start_due(now: datetime | None = None) -> int:
    """Queue the runs that are due; returns how many. A tenant whose last run goes on waits."""
    now = now or timezone.now()
    # Plans of a clock that ran ahead would keep their times taken until those have come again.
    PipelineRun.objects.filter(planned_for__gt=now + MAX_CLOCK_SKEW).update(planned_for=None)
    busy = PipelineRun.objects.filter(state__in=PipelineRun.ACTIVE).values("tenant_id")
    tenants = list(Tenant.objects.filter(is_active=True).exclude(pk__in=busy))
    started: set[str] = set()
    for kind, slots in (
        (Kind.REFRESH, {each: _refresh_slot(each, now) for each in tenants}),
        (Kind.INCREMENTAL, {each: _slot(each, now) for each in tenants}),
    ):
        planned = {slot for slot in slots.values() if slot}
        done = set(
            PipelineRun.objects.filter(kind=kind, planned_for__in=planned).values_list(
                "tenant_id", "planned_for"
            )
        )
        for tenant, slot in slots.items():
            if slot and tenant.pk not in started and (tenant.pk, slot) not in done:
                started |= {tenant.pk} if _start(tenant, kind, slot) else set()
    return len(started)


def _start(tenant: Tenant, kind: PipelineRun.Kind, slot: datetime) -> bool:
    try:
        request_run(tenant, PipelineRun.Trigger.SCHEDULE, kind, planned_for=slot)
    except RunRefused:  # another planner was first
        return False
    return True


def period_of(tenant: Tenant) -> timedelta | None:
    """None if the tenant is loaded only when somebody asks for it."""
    minutes = settings.PIPELINE_MINUTES if tenant.load_minutes is None else tenant.load_minutes
    return timedelta(minutes=minutes) if minutes else None


def _slot(tenant: Tenant, now: datetime) -> datetime | None:
    """The last time up to `now` at which the tenant was to be loaded."""
    period = period_of(tenant)
    if period is None:
        return None
    seconds = int(period.total_seconds())
    offset = zlib.crc32(tenant.pk.encode()) % seconds
    last = (int(now.timestamp()) - offset) // seconds * seconds + offset
    return datetime.fromtimestamp(last, UTC)


def _refresh_slot(tenant: Tenant, now: datetime) -> datetime | None:
    """The last time up to `now` at which it was to be refreshed, unless that is long ago."""
    at = tenant.refresh_at or refresh_time()
    if at is None:
        return None
    today = now.astimezone(tenant.zone).date()
    for date in (today, today - timedelta(days=1)):
        slot = datetime.combine(date, at, tenant.zone).astimezone(UTC)
        if slot <= now:
            return slot if now - slot <= LATEST_REFRESH else None
    return None


def refresh_time() -> time | None:
    """PIPELINE_REFRESH_AT; ValueError if it is no time of day."""
    text = settings.PIPELINE_REFRESH_AT
    return time.fromisoformat(text) if text else None
