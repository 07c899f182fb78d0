"""The demo's data in database, lake and warehouse. Every step is idempotent."""

import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from analytics.reports.models import Report, Schedule
from analytics.warehouse import schema
from analytics.warehouse.errors import WarehouseError
from analytics.warehouse.schema import SchemaRefused
from avesa_site.demo.credentials import secrets_of
from avesa_site.demo.sample_lake import SAMPLE_TENANTS, generate
from avesa_site.demo.sample_lake.service import PRIORITIES
from loaders.lake.s3 import Lake, LakeError
from loaders.models import LoadJob, PipelineRun
from loaders.pipelines.runs import RunRefused, request_run
from tenants.models import Membership, SlaTarget, Tenant, User

# Errors whose message explains what to do.
PLAIN_ERRORS = (SchemaRefused, WarehouseError, LakeError)
TENANT_ADMIN = "tenant-admin"
STAFF = "staff"
# A customer's new telephone system, which "What happened?" finds in 30 days.
NEW_PHONES_SINCE = timedelta(days=19)
SLA_TARGETS = dict(zip(PRIORITIES, ((1, 8), (4, 24), (8, 72), (24, 240)), strict=True))


def migrate() -> str:
    # Suppress the warning that the warehouse does not answer yet.
    logging.disable(logging.WARNING)
    call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
    logging.disable(logging.NOTSET)
    return "ready"


def apply_schema() -> str:
    changes = schema.plan()
    schema.apply(changes)
    return f"{len(changes)} objects created" if changes else "up to date"


def fill_lake(folder: Path, scale: float) -> str:
    """Upload the sample lake to the S3 emulation, which is in memory; `folder` keeps the files."""
    complete = folder / ".complete"
    if not complete.exists():
        _generate(folder, scale)
        complete.touch()
    lake = Lake()
    lake.create_bucket()
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != complete]
    with ThreadPoolExecutor(8) as threads:
        put = threads.map(
            lambda path: lake.put(path.relative_to(folder).as_posix(), path.read_bytes()), files
        )
        count = sum(1 for _ in put)
    size = sum(path.stat().st_size for path in files) / 1e6
    return f"{count} files, {size:.0f} MB in s3://{lake.bucket}"


def _generate(folder: Path, scale: float) -> None:
    today = timezone.now().date()
    for file in generate(until=today, scale=scale, new_phones=today - NEW_PHONES_SINCE):
        path = folder / file.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.body)


def create_people() -> str:
    """Create the sample tenants, an admin of two of them, and a staff user."""
    passwords = secrets_of(settings.VAR_DIR)
    admin = _user(TENANT_ADMIN, passwords["tenant_admin_password"], is_staff=False)
    _user(STAFF, passwords["staff_password"], is_staff=True)
    for index, sample in enumerate(SAMPLE_TENANTS):
        tenant, _ = Tenant.objects.get_or_create(
            id=sample.tenant_id, defaults={"name": sample.name, "time_zone": sample.time_zone}
        )
        for priority, (response, resolution) in SLA_TARGETS.items():
            SlaTarget.objects.get_or_create(
                tenant=tenant,
                priority=priority,
                defaults={"response_hours": response, "resolution_hours": resolution},
            )
        if index < 2:
            Membership.objects.get_or_create(
                user=admin, tenant=tenant, defaults={"role": Membership.Role.ADMIN}
            )
    _create_report(admin)
    return f"{len(SAMPLE_TENANTS)} tenants, 2 users, 1 report"


def _create_report(owner: User) -> None:
    """Create a weekly report of the first sample tenant to its admin."""
    tenant = Tenant.objects.get(id=SAMPLE_TENANTS[0].tenant_id)
    report, created = Report.objects.get_or_create(
        tenant=tenant, name="Weekly service review", defaults={"owner": owner}
    )
    if created:
        report.recipients.create(user=owner)
        Schedule.objects.create(report=report)


def _user(name: str, password: str, *, is_staff: bool) -> User:
    rights = {"is_staff": is_staff, "is_superuser": is_staff}
    user, created = User.objects.get_or_create(
        username=name, defaults=rights | {"email": f"{name}@example.com"}
    )
    if created:
        user.set_password(password)
        user.save()
    return user


def load(check: Callable[[], None]) -> str:
    """Run the pipelines of tenants without data in the workers, and wait for them."""
    samples = Tenant.objects.filter(id__in=[each.tenant_id for each in SAMPLE_TENANTS])
    loaded = LoadJob.objects.filter(state=LoadJob.State.SUCCEEDED)
    without = list(samples.exclude(id__in=loaded.values("tenant_id")))
    for tenant in without:
        with suppress(RunRefused):  # the schedule has already started one
            request_run(tenant, PipelineRun.Trigger.COMMAND)
    if without:
        _wait_for_pipelines(check)
    failed = LoadJob.objects.filter(state=LoadJob.State.FAILED).first()
    if failed:
        print(f" {failed} failed: {failed.error}", file=sys.stderr)
    versions = sum(map(sum, loaded.values_list("rows_new", "rows_changed", "rows_late")))
    tables = loaded.values("tenant_id", "table").distinct().count()
    return f"{versions:,} rows in {tables} tables" + ("" if without else ", nothing to load")


def _wait_for_pipelines(check: Callable[[], None]) -> None:
    left = None
    while PipelineRun.objects.filter(state__in=PipelineRun.ACTIVE).exists():
        check()
        active = LoadJob.objects.filter(state__in=LoadJob.ACTIVE).count()
        if active and active != left:
            print(f" {active}", end="", flush=True)
            left = active
        time.sleep(0.3)


def welcome(port: int) -> str:
    passwords = secrets_of(settings.VAR_DIR)
    return f"""
  AVESA is ready:  http://127.0.0.1:{port}/

  Tenant admin     {TENANT_ADMIN:<14} {passwords["tenant_admin_password"]}
  Staff            {STAFF:<14} {passwords["staff_password"]}   (admin: http://127.0.0.1:{port}/admin/)

  No mail is sent: each is a file in {settings.VAR_DIR / "mail"}
  Log: {settings.VAR_DIR / "demo.log"}
  Commands: make manage RUN="doctor"   (described in docs/operations.md)
  Press Ctrl-C to stop. The data stays in {settings.VAR_DIR}."""
