"""The state of the platform at a glance: the admin's first page."""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from analytics.reports.models import Delivery, Occurrence
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import WarehouseError
from analytics.warehouse.schema import placement
from analytics.warehouse.writer import Writer
from loaders.lateness import newest_files
from loaders.models import LoadJob, PipelineRun
from tenants.models import Alert, Tenant

from .health import OLDEST_SIGN
from .models import Heartbeat

log = logging.getLogger(__name__)

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Count:
    """A number of things with the page that lists them; `is_bad` if there should be none."""

    title: str
    number: int
    path: str
    is_bad: bool = False


@dataclass
class Holding:
    """What the warehouse has of one tenant: the newest file of each table, rows, bytes."""

    newest: dict[str, datetime] = field(default_factory=dict)
    rows: int = 0
    bytes: int = 0


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What django-unfold adds to the index page, for those who may see loads."""
    if not request.user.has_perm("loaders.view_loadjob"):
        return context
    holdings, version, error = _holdings()
    return context | {
        "counts": _counts(),
        "signs": _signs(),
        "tables": list(TABLES),
        "tenants": [_row(tenant, holdings) for tenant in Tenant.objects.all()],
        "warehouse_version": version,
        "warehouse_error": error,
        "late_hours": settings.DATA_LATE_HOURS,
    }


def _counts() -> list[Count]:
    jobs, state = LoadJob.objects, LoadJob.State
    at_jobs = reverse("admin:loaders_loadjob_changelist") + "?state__exact="
    failed = jobs.filter(state=state.FAILED, finished_at__gt=timezone.now() - DAY).count()
    alerts = Alert.objects.filter(over_at__isnull=True).count()
    waiting = Delivery.objects.filter(state=Delivery.State.QUEUED).count()
    waiting += Occurrence.objects.filter(state=Occurrence.State.WAITING).count()
    running = PipelineRun.objects.filter(state=PipelineRun.State.RUNNING).count()
    at_runs = reverse("admin:loaders_pipelinerun_changelist") + "?state__exact="
    at_reports = reverse("admin:reports_occurrence_changelist") + "?state__exact=waiting"
    return [
        Count("Pipelines running", running, f"{at_runs}running"),
        Count("Loads running", jobs.filter(state=state.RUNNING).count(), f"{at_jobs}running"),
        Count("Loads queued", jobs.filter(state=state.QUEUED).count(), f"{at_jobs}queued"),
        Count("Loads failed, last day", failed, f"{at_jobs}failed", is_bad=True),
        Count("Open alerts", alerts, reverse("admin:tenants_alert_changelist"), is_bad=True),
        Count("Reports waiting", waiting, at_reports),
    ]


def _signs() -> list[tuple[str, Any, bool]]:
    """(process, its last sign, whether it is well)."""
    known = {each.name: each for each in Heartbeat.objects.all()}
    return [
        (
            name,
            known[name].at if name in known else None,
            name in known and known[name].age.total_seconds() <= OLDEST_SIGN,
        )
        for name in ("beat", "worker")
    ]


def _row(tenant: Tenant, holdings: dict[str, Holding]) -> dict[str, Any]:
    holding = holdings.get(tenant.id, Holding())
    latest = timezone.now() - timedelta(hours=settings.DATA_LATE_HOURS)
    cells = []
    for table in TABLES:
        newest = holding.newest.get(table)
        cells.append((newest, newest is None or newest < latest))
    return {
        "tenant": tenant,
        "cells": cells,
        "is_late": tenant.is_active and any(late for _, late in cells),
        "rows": holding.rows,
        "bytes": holding.bytes,
    }


def _holdings() -> tuple[dict[str, Holding], str, str]:
    """(what there is by tenant, the warehouse's version, why it cannot be told)."""
    found: dict[str, Holding] = {}
    writer = Writer()
    try:
        version = str(writer.value("SELECT version()"))
        for tenant_id, newest in newest_files().items():
            found.setdefault(tenant_id, Holding()).newest = newest
        for tenant_id, rows, size in writer.rows(
            "SELECT partition, sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active "
            "AND database = {database:String} AND table IN {tables:Array(String)} "
            "GROUP BY partition",
            {
                "database": placement().database,
                "tables": [table.shared_name for table in TABLES.values()],
            },
        ):
            holding = found.setdefault(tenant_id, Holding())
            holding.rows, holding.bytes = rows, size
    except WarehouseError as error:
        log.warning("the warehouse could not tell what it holds: %s", error)
        return {}, "", str(error)
    return found, version, ""
