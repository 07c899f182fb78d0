"""The schedule of pipelines: each tenant every few minutes, with a full refresh at night if set.

A tenant's slots are fixed times of the clock; a hash of its id spreads tenants over the period. A
run's row holds its slot under a unique constraint, so two schedulers, or a clock that jumps, start
no run twice. Missed slots are not made up for: the next run loads all new files.
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
# A nightly refresh that is later than this waits for the next night.
MAX_REFRESH_DELAY = timedelta(hours=3)


def start_due(now: datetime | None = None) -> int:
    """Queue the runs that are due; returns how many. A tenant with an active run waits."""
    now = now or timezone.now()
    # Runs planned by a clock that ran ahead would block their slots until those times come again.
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
                started |= {tenant.pk} if start(tenant, kind, slot) else set()
    return len(started)


def start(tenant: Tenant, kind: PipelineRun.Kind, slot: datetime) -> bool:
    try:
        request_run(tenant, PipelineRun.Trigger.SCHEDULE, kind, planned_for=slot)
    except RunRefused:  # another scheduler was first
        return False
    return True


def period_of(tenant: Tenant) -> timedelta | None:
    """None if the tenant is loaded only on request."""
    minutes = settings.PIPELINE_MINUTES if tenant.load_minutes is None else tenant.load_minutes
    return timedelta(minutes=minutes) if minutes else None


def _slot(tenant: Tenant, now: datetime) -> datetime | None:
    """The tenant's latest slot up to `now`; None if it has no schedule."""
    period = period_of(tenant)
    if period is None:
        return None
    seconds = int(period.total_seconds())
    offset = zlib.crc32(tenant.pk.encode()) % seconds
    last = (int(now.timestamp()) - offset) // seconds * seconds + offset
    return datetime.fromtimestamp(last, UTC)


def _refresh_slot(tenant: Tenant, now: datetime) -> datetime | None:
    """The tenant's latest refresh slot up to `now`; None if there is none, or it is too old."""
    at = tenant.refresh_at or refresh_time()
    if at is None:
        return None
    today = now.astimezone(tenant.zone).date()
    for date in (today, today - timedelta(days=1)):
        slot = datetime.combine(date, at, tenant.zone).astimezone(UTC)
        if slot <= now:
            return slot if now - slot <= MAX_REFRESH_DELAY else None
    return None


def refresh_time() -> time | None:
    """PIPELINE_REFRESH_AT. Raises ValueError unless it is a time of day."""
    text = settings.PIPELINE_REFRESH_AT
    return time.fromisoformat(text) if text else None
