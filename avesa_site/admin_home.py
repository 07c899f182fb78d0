"""The admin's home page: the state of the platform at a glance."""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from analytics.reports.models import Delivery, Occurrence
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.errors import WarehouseError
from analytics.warehouse.schema import placement
from common.models import MAX_SIGNAL_AGE, Heartbeat
from loaders.models import LoadedFile, LoadJob, PipelineRun
from loaders.pipelines.lateness import newest_files
from tenants.models import Alert, Tenant

log = logging.getLogger(__name__)

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Count:
    """A count with a link to its list. `is_bad`: the count should be zero."""

    title: str
    number: int
    path: str
    is_bad: bool = False


@dataclass
class TenantData:
    """What the warehouse stores for one tenant: newest file of each table, rows, bytes."""

    newest: dict[str, datetime] = field(default_factory=dict)
    rows: int = 0
    bytes: int = 0


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The context that django-unfold adds to the index page, for staff who may see loads."""
    if not request.user.has_perm("loaders.view_loadjob"):
        return context
    stored, version, error = _stored_data()
    alerted = set(_open_alerts().filter(kind=Alert.Kind.LATE).values_list("tenant_id", flat=True))
    rows = [
        _row(tenant, stored.get(tenant.id, TenantData()), tenant.id in alerted, is_known=not error)
        for tenant in Tenant.objects.all()
    ]
    rows.sort(key=lambda row: not row["is_late"])  # late tenants first
    return context | {
        "title": "State of the platform",
        "counts": _counts(sum(row["is_late"] for row in rows)),
        "heartbeats": _heartbeats(),
        "tables": list(TABLES),
        "tenants": rows,
        "warehouse_version": version,
        "warehouse_error": error,
        "late_hours": settings.DATA_LATE_HOURS,
    }


def _counts(late: int) -> list[Count]:
    runs, jobs = PipelineRun.objects, LoadJob.objects
    day_ago = timezone.now() - DAY
    in_runs, in_jobs, in_files, in_alerts, in_reports = (
        reverse(f"admin:{name}_changelist")
        for name in (
            "loaders_pipelinerun",
            "loaders_loadjob",
            "loaders_loadedfile",
            "tenants_alert",
            "reports_occurrence",
        )
    )

    def of(model: Any, state: str, **more: Any) -> int:
        return int(model.filter(state=state, **more).count())

    quarantine = LoadedFile.objects.filter(
        state=LoadedFile.State.QUARANTINED, job__finished_at__gt=day_ago
    )
    waiting = of(Delivery.objects, "queued") + of(Occurrence.objects, "waiting")
    is_state = "?state__exact="
    return [
        Count("Pipelines running", of(runs, "running"), f"{in_runs}{is_state}running"),
        Count("Pipelines queued", of(runs, "queued"), f"{in_runs}{is_state}queued"),
        Count(
            "Pipelines failed, last day",
            of(runs, "failed", finished_at__gt=day_ago),
            f"{in_runs}{is_state}failed",
            is_bad=True,
        ),
        Count(
            "Open alerts", _open_alerts().count(), f"{in_alerts}?over_at__isempty=1", is_bad=True
        ),
        Count("Late tenants", late, "#tenants", is_bad=True),
        Count("Loads running", of(jobs, "running"), f"{in_jobs}{is_state}running"),
        Count("Loads queued", of(jobs, "queued"), f"{in_jobs}{is_state}queued"),
        Count(
            "Loads failed, last day",
            of(jobs, "failed", finished_at__gt=day_ago),
            f"{in_jobs}{is_state}failed",
            is_bad=True,
        ),
        Count(
            "Files quarantined, last day",
            quarantine.values("bucket", "key").distinct().count(),
            f"{in_files}{is_state}quarantine",
            is_bad=True,
        ),
        Count("Reports waiting", waiting, f"{in_reports}{is_state}waiting"),
    ]


def _open_alerts() -> QuerySet[Alert]:
    return Alert.objects.filter(over_at__isnull=True)


def _heartbeats() -> list[tuple[str, Any, bool]]:
    """(process, its last heartbeat, whether it is recent enough)."""
    known = {each.name: each for each in Heartbeat.objects.all()}
    return [
        (
            name,
            known[name].at if name in known else None,
            name in known and known[name].age.total_seconds() <= MAX_SIGNAL_AGE,
        )
        for name in ("beat", "worker")
    ]


def _row(tenant: Tenant, stored: TenantData, is_alerted: bool, *, is_known: bool) -> dict[str, Any]:
    """A tenant is late if a table is old, or if no table at all has data DATA_LATE_HOURS after
    the tenant was created. A single missing table is not late: it may not be delivered at all."""
    latest = timezone.now() - timedelta(hours=settings.DATA_LATE_HOURS)
    newest = [stored.newest.get(table) for table in TABLES]
    cells = [(each, each is not None and each < latest) for each in newest]
    has_none = not any(newest) and tenant.created_at < latest
    looks_late = is_known and (has_none or any(is_old for _, is_old in cells))
    return {
        "tenant": tenant,
        "cells": cells,
        "is_late": tenant.is_active and (is_alerted or looks_late),
        "rows": stored.rows,
        "bytes": stored.bytes,
    }


def _stored_data() -> tuple[dict[str, TenantData], str, str]:
    """(stored data by tenant id, the warehouse's version, the error if it cannot be read)."""
    found: dict[str, TenantData] = {}
    try:
        client = WarehouseClient(seconds=settings.CLICKHOUSE_READ_TIMEOUT)
        version = str(client.value("SELECT version()"))
        for tenant_id, newest in newest_files().items():
            found.setdefault(tenant_id, TenantData()).newest = newest
        for tenant_id, rows, size in client.rows(
            "SELECT partition, sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active "
            "AND database = {database:String} AND table IN {tables:Array(String)} "
            "GROUP BY partition",
            {
                "database": placement().database,
                "tables": [table.shared_name for table in TABLES.values()],
            },
        ):
            stored = found.setdefault(tenant_id, TenantData())
            stored.rows, stored.bytes = rows, size
    except WarehouseError as error:
        log.warning("the stored data could not be read from the warehouse: %s", error)
        return {}, "", str(error)
    return found, version, ""
