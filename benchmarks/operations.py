"""Hundreds of tenants on the schedule: how many are served in time, and the cost of planning."""

import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta
from statistics import median, quantiles
from time import monotonic, sleep

from benchmarks.report import Figure, Section
from benchmarks.stack import timed

SERVICES = True  # PostgreSQL and Redis, as in production
TENANTS, FEW, ROWS, MINUTES = 500, 50, 200, 15
MAX_WAIT = 3600
SWEEP = timedelta(minutes=1)  # time to start the runs planned last
BAR = 1.2


def measure():
    from django.utils import timezone

    from loaders.models import LoadJob, PipelineRun

    planning = {count: _cost_of_planning(count) for count in (FEW, TENANTS)}
    _deliver(0)
    with _processes():
        first = _wait(lambda: _tenants_loaded() == TENANTS)
        _deliver(1)
        began = timezone.now()
        end = began + timedelta(minutes=MINUTES)
        planned = PipelineRun.objects.filter(planned_for__gte=began, planned_for__lt=end)
        _wait(lambda: timezone.now() > end + SWEEP)
        _wait(lambda: not planned.filter(state__in=PipelineRun.ACTIVE).exists())
    runs = list(planned.filter(state=PipelineRun.State.SUCCEEDED))
    lags = sorted((run.finished_at - run.planned_for).total_seconds() for run in runs)
    served = len({run.tenant_id for run in runs if run.finished_at - run.planned_for < end - began})
    loads = LoadJob.objects.filter(pipeline__in=[run.pk for run in runs])
    growth = planning[TENANTS][1] / planning[FEW][1] / (TENANTS / FEW)
    return Section(
        "operations",
        f"{TENANTS} tenants with 4 tables, each with new files, on the schedule of {MINUTES} "
        "minutes with beat and one worker of two processes. Lag is the time from the planned start "
        "of a run to its end, when readers see the data",
        [
            Figure(f"first loads of all {TENANTS * 4:,} tables", f"{first / 60:.1f} min"),
            Figure("runs planned within one period", f"{planned.count():,}"),
            Figure("their loads, all succeeded", f"{loads.count():,}"),
            Figure("lag, median", f"{median(lags):.0f} s"),
            Figure("lag, 95th percentile", f"{quantiles(lags, n=20)[-1]:.0f} s"),
            Figure("lag, longest", f"{lags[-1]:.0f} s"),
            Figure(f"**tenants served within {MINUTES} minutes**", f"**{served}** of {TENANTS}"),
            *(
                Figure(
                    f"planning {count} tenants, none due / all due",
                    f"{quiet * 1000:.1f} ms / {busy * 1000:.0f} ms",
                )
                for count, (quiet, busy) in planning.items()
            ),
            Figure(
                f"**planning {TENANTS} / {FEW} tenants, per tenant**",
                f"**{growth:.2f}** (bar: ≤ {BAR})",
            ),
        ],
        passed=served == TENANTS and growth <= BAR,
    )


def _cost_of_planning(count):
    """Seconds of one scheduling pass: (with none due, with all due)."""
    from django.utils import timezone

    from loaders.models import PipelineRun
    from loaders.pipelines import schedule
    from tenants.models import Tenant

    _add_tenants(count)
    assert Tenant.objects.count() == count
    busy, quiet = [], []
    for number in range(7):
        now = timezone.now() + timedelta(days=number)
        seconds, started = timed(lambda now=now: schedule.start_due(now))
        assert started == count
        busy.append(seconds)
        PipelineRun.objects.update(state=PipelineRun.State.SUCCEEDED)
        seconds, started = timed(lambda now=now: schedule.start_due(now))
        assert started == 0
        quiet.append(seconds)
    PipelineRun.objects.all().delete()
    _purge_messages()
    return median(quiet), median(busy)


def _purge_messages():
    from avesa_site.celery import app

    app.control.purge()


def _add_tenants(count):
    from tenants.models import Tenant

    present = Tenant.objects.count()
    Tenant.objects.bulk_create(
        Tenant(id=f"bench-{number}", name=f"Bench {number}") for number in range(present, count)
    )


def _deliver(edition):
    """A Parquet file for each table of each tenant: changed and new records."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from django.utils import timezone

    from analytics.warehouse.catalog import TABLES
    from loaders.lake.s3 import Lake
    from tenants.models import Tenant

    rows = [
        {
            "id": str(number + edition * ROWS // 2),
            "status": f"edition {edition}",
            "updated_at": timezone.now() - timedelta(days=9 - edition),
        }
        for number in range(ROWS)
    ]
    body = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), body)
    lake = Lake()
    for tenant in Tenant.objects.all():
        for name in TABLES:
            lake.put(f"{tenant.id}/canonical/{name}/{edition}.parquet", body.getvalue())


@contextmanager
def _processes():
    """Beat, and one worker with two processes."""
    celery = [sys.executable, "-m", "celery", "-A", "avesa_site"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [
        subprocess.Popen([*celery, "worker", "--concurrency", "2"], **quiet),
        subprocess.Popen([*celery, "beat"], **quiet),
    ]
    try:
        yield
    finally:
        for each in running:
            each.terminate()
        for each in running:
            each.wait()


def _tenants_loaded():
    from loaders.models import PipelineRun

    done = PipelineRun.objects.filter(state=PipelineRun.State.SUCCEEDED)
    return done.values("tenant").distinct().count()


def _wait(until):
    """Seconds until `until` holds."""
    began = monotonic()
    while not until():
        if monotonic() - began > MAX_WAIT:
            raise RuntimeError("timed out")
        sleep(1)
    return monotonic() - began
