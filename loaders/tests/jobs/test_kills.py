"""kill -9 of the endpoint and of workers in the middle of loads.

A load's recorded state must be true: "succeeded" means that readers see all its rows.
"""

import os
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from analytics.warehouse import schema
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.embedded.process import EmbeddedClickHouse
from analytics.warehouse.pool import close_all
from common.tests.queues import impatient
from loaders.history import compaction
from loaders.history import publishing as history_module
from loaders.history.integrity import check
from loaders.jobs import queue, worker
from loaders.models import LoadJob
from loaders.tests.crashing import before_statement
from loaders.tests.histories import day, history, load, row
from loaders.tests.jobs.test_worker import ROOT, environment
from loaders.tests.lakes import put_jsonl, put_parquet, put_text
from loaders.tests.recording import record
from loaders.tests.thoroughness import THOROUGH
from tenants.models import Tenant

__all__ = ["environment"]

pytestmark = pytest.mark.slow
OLD, NEW = [("A", 1, None)], [("A", 1, 3), ("B", 3, None)]
MAX_STATEMENTS = 60
REPORT = os.environ.get("AVESA_KILL_REPORT")
TRIED = {}


def put_csv(lake, tenant, table, name, rows):
    names = sorted({column for row in rows for column in row})
    lines = [",".join(str(row.get(column) or "") for column in names) for row in rows]
    put_text(lake, tenant, table, name, "\n".join([",".join(names), *lines]) + "\n")


PUT = {"parquet": put_parquet, "jsonl": put_jsonl, "csv": put_csv}
# Format, who reads the files, where scratch tables are stored, how the load is published.
WAYS = [
    *((form, "engine", where, how) for form in PUT for where in ("memory", "disk")
      for how in ("flip", "swap")),
    ("jsonl", "worker", "memory", "flip"),
    ("csv", "worker", "memory", "flip"),
]  # fmt: skip
# `make test` tries each choice once, though not every combination; `make kills` tries all.
SOME_WAYS = WAYS if THOROUGH else [*WAYS[0:12:5], *WAYS[11:]]


def _statements(way):
    """Which statements are tried: all with `make kills`, else another one for each way to load."""
    return range(1, MAX_STATEMENTS) if THOROUGH else [3 + 2 * way]


@pytest.fixture
def own_endpoint(tmp_path, settings):
    """An endpoint of its own; the returned function kills and restarts it."""
    running = EmbeddedClickHouse(tmp_path / "clickhouse")
    port = running.port
    settings.CLICKHOUSE_URL = f"clickhouse://default@127.0.0.1:{port}/avesa"
    schema.apply(schema.plan())

    def kill_and_restart():
        nonlocal running
        running.kill()
        running = EmbeddedClickHouse(tmp_path / "clickhouse", port=port)

    yield kill_and_restart
    close_all()
    running.stop()


@pytest.fixture
def way(request, settings, monkeypatch):
    """(format, short name) of a way to load."""
    form, transport, where, how = request.param
    settings.LOAD_TRANSPORT = transport
    monkeypatch.setattr(LoadJob, "RETRY", impatient(LoadJob.RETRY))
    settings.LOAD_IN_MEMORY_MB = 128 if where == "memory" else -1
    monkeypatch.setattr(history_module, "SWAP_ABOVE", 1000 if how == "flip" else 0)
    return form, f"{form}, {transport}, {where}, {how}"


@pytest.mark.timeout(900)
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", SOME_WAYS, indirect=True, ids="-".join)
def test_a_load_whose_endpoint_is_killed_reports_its_true_state(
    way, lake, own_endpoint, monkeypatch
):
    form, name = way
    outcomes = {"succeeded": 0, "queued": 0}
    for number in _statements(WAYS.index(_way_of(name))):
        tenant = Tenant.objects.create(id=f"killed-{number}", name="k")
        PUT[form](lake, tenant, "companies", f"a.{form}", [row("A", 1), row("X", 1, id="2")])
        assert load(tenant).state == LoadJob.State.SUCCEEDED
        PUT[form](lake, tenant, "companies", f"b.{form}", [row("B", 3), row("Y", 3, id="3")])
        with monkeypatch.context() as patch:
            killed = before_statement(patch, number, own_endpoint)
            job = load(tenant)
        check_reported_state(job, tenant)
        outcomes[job.state] += killed()
        if job.state == LoadJob.State.QUEUED:
            worker.run(job.pk)
        check_load_is_complete(job, tenant)
        if not killed():
            break
    assert not (THOROUGH and killed()), "not every statement was tried"
    TRIED[name] = outcomes


@pytest.fixture(scope="module", autouse=True)
def _table():
    """The table in docs/reliability.md."""
    yield
    if REPORT and len(TRIED) == len(WAYS):
        rows = [[name, *TRIED[name].values()] for name in TRIED]
        rows.append(["all", *map(sum, zip(*(row[1:] for row in rows), strict=True))])
        heading = ["Format, read by, worked on in, shown by", "Succeeded at once", "Tried again"]
        record(REPORT, "kills", f"{sum(rows[-1][1:])} kills", heading, rows)


def _way_of(name):
    return tuple(name.split(", "))


def check_reported_state(job, tenant):
    """Check the state after the first attempt."""
    assert job.state in (LoadJob.State.SUCCEEDED, LoadJob.State.QUEUED), job.error
    assert "report this" not in job.error
    if job.state == LoadJob.State.SUCCEEDED:
        assert history(tenant) == NEW
    else:
        assert history(tenant) in ([OLD, NEW] if job.publishing_began_at else [OLD])


def check_load_is_complete(job, tenant):
    job.refresh_from_db()
    assert job.state == LoadJob.State.SUCCEEDED, job.error
    assert history(tenant) == NEW
    compaction.tidy(tenant, TABLES["companies"], job.pk)
    found = check(tenant, TABLES["companies"])
    assert (found.faults, found.versions) == ([], 4)


@pytest.mark.parametrize("environment", ["filesystem"], indirect=True)  # no message is sent
@pytest.mark.django_db(transaction=True)
def test_loads_survive_killed_workers(environment, acme, lake, monkeypatch, settings, tmp_path):
    """Workers are killed at different times; the sweep and the next worker finish their loads."""
    settings.LOAD_HEARTBEAT_TIMEOUT = 1
    settings.CELERY_BROKER_URL = "memory://"
    monkeypatch.setattr(LoadJob, "RETRY", impatient(LoadJob.RETRY))
    for number in range(4 if THOROUGH else 2):
        rows = [
            {"id": f"{n}", "status": f"{number}", "updated_at": day(1) + timedelta(hours=number)}
            for n in range(20_000)
        ]
        put_parquet(lake, acme, "companies", f"{number}.parquet", rows)
        job = queue.request_load(acme, TABLES["companies"])
        worker = run_job(environment, job)
        wait_for(job, LoadJob.State.RUNNING)
        time.sleep(0.2 * number)
        worker.kill()
        worker.wait()
        time.sleep(1.2)
        queue.sweep()
        assert run_job(environment, job).wait(60) == 0
        job.refresh_from_db()
        assert job.state == LoadJob.State.SUCCEEDED, job.error
        found = check(acme, TABLES["companies"])
        assert [fault for fault in found.faults if fault["check"] != "leftover"] == []
        assert found.versions == 20_000 * (number + 1)


def run_job(environment, job):
    """A process that runs the job as a worker does."""
    code = f"import django; django.setup(); from loaders.jobs import worker; worker.run({job.pk})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment | {"DJANGO_SETTINGS_MODULE": "avesa_site.settings"},
        stderr=subprocess.DEVNULL,
    )


def wait_for(job, state):
    deadline = time.monotonic() + 30
    while job.state != state:
        assert time.monotonic() < deadline
        time.sleep(0.02)
        job.refresh_from_db()
