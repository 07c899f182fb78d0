"""kill -9 of the endpoint and of workers in the middle of loads."""

import subprocess
import sys
import time
from datetime import timedelta

import pytest

from analytics.warehouse import schema
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.connection import close_all
from analytics.warehouse.embedded.process import EmbeddedClickHouse
from analytics.warehouse.errors import WarehouseError
from loaders import history as history_module
from loaders import jobs, upkeep
from loaders import load as load_module
from loaders.integrity import check
from loaders.load import Load
from loaders.models import LoadJob
from loaders.results import LoadFailed
from loaders.tests import memory_lake
from loaders.tests.crashing import before_statement
from loaders.tests.histories import day, history, row, stored
from loaders.tests.lakes import put_parquet
from loaders.tests.test_worker import ROOT, environment
from loaders.tests.thoroughness import THOROUGH, statements
from tenants.models import Tenant

__all__ = ["environment"]

pytestmark = pytest.mark.slow
OLD, NEW = [("A", 1, None)], [("A", 1, 3), ("B", 3, None)]
MOST_STATEMENTS = 40


@pytest.fixture
def own_endpoint(tmp_path, settings):
    """An endpoint that may be killed; the function does so and starts it again."""
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


@pytest.mark.parametrize("swap_above", [0, 1000])
def test_the_endpoint_may_die_before_any_statement(own_endpoint, monkeypatch, swap_above):
    monkeypatch.setattr(load_module, "examined_before", lambda tenant, table: {})
    monkeypatch.setattr(history_module, "SWAP_ABOVE", swap_above)
    lake = memory_lake.MemoryLake()
    memory_lake.use(lake, monkeypatch)
    shown = set()
    for number in statements(MOST_STATEMENTS):
        tenant = Tenant(id=f"killed-{number}")
        put(lake, tenant, "a", row("A", 1), row("X", 1, id="2"))
        Load(tenant, TABLES["companies"], 1).run()
        put(lake, tenant, "b", row("B", 3), row("Y", 3, id="3"))
        with monkeypatch.context() as patch:
            killed = before_statement(patch, number, own_endpoint)
            try:
                Load(tenant, TABLES["companies"], 2, 1).run()
            except (WarehouseError, LoadFailed):
                shown.add("failed")
        state = history(tenant)
        assert state in (OLD, NEW), number
        shown.add(tuple(state))
        Load(tenant, TABLES["companies"], 2, 2).run()
        assert history(tenant) == NEW
        upkeep.tidy(tenant, TABLES["companies"], 2)
        assert stored(tenant, "countIf(is_current), count()") == [(3, 4)]
        if not killed():
            break
    assert not killed(), "not every statement was tried"
    assert {tuple(OLD), tuple(NEW), "failed"} == shown


def put(lake, tenant, name, *rows):
    number = len(lake.files)
    lake.files[f"{tenant.id}/canonical/companies/{name}.parquet"] = (
        list(rows),
        day(10) + timedelta(seconds=number),
    )


@pytest.mark.parametrize("environment", ["filesystem"], indirect=True)  # no message is sent
@pytest.mark.django_db(transaction=True)
def test_workers_may_die_while_they_load(environment, acme, lake, monkeypatch, settings, tmp_path):
    """Workers killed at different moments; the sweep and the next one finish their loads."""
    settings.LOAD_HEARTBEAT_TIMEOUT = 1
    settings.CELERY_BROKER_URL = "memory://"
    monkeypatch.setattr(jobs, "FIRST_RETRY", timedelta(0))
    for number in range(4 if THOROUGH else 2):
        rows = [
            {"id": f"{n}", "status": f"{number}", "updated_at": day(1) + timedelta(hours=number)}
            for n in range(20_000)
        ]
        put_parquet(lake, acme, "companies", f"{number}.parquet", rows)
        job = jobs.request_load(acme, TABLES["companies"])
        worker = run_job(environment, job)
        wait_for(job, LoadJob.State.RUNNING)
        time.sleep(0.2 * number)
        worker.kill()
        worker.wait()
        time.sleep(1.2)
        jobs.sweep()
        assert run_job(environment, job).wait(60) == 0
        job.refresh_from_db()
        assert job.state == LoadJob.State.SUCCEEDED, job.error
        found = check(acme, TABLES["companies"])
        assert [fault for fault in found.faults if fault["check"] != "leftover"] == []
        assert found.versions == 20_000 * (number + 1)


def run_job(environment, job):
    """A process that runs the job as a worker does."""
    code = f"import django; django.setup(); from loaders import runs; runs.run({job.pk})"
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
