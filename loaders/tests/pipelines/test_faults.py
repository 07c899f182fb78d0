"""Real parts die while real pipelines run: a worker, both beats, Redis, the warehouse, the
database's connections, S3. Afterwards history is what it would have been without, and no one had to
help: only the beats and workers do something about it.

Two beats run all the time, and every message comes twice (`hasty.py`).
`make faults` kills each part twenty times and writes docs/reliability.md; `make test` once each.
"""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from statistics import median

import pytest
from django.db import connection
from moto.server import ThreadedMotoServer

from analytics.warehouse import schema
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.embedded.process import EmbeddedClickHouse
from analytics.warehouse.errors import WarehouseError
from analytics.warehouse.pool import close_all
from avesa_site.celery import app
from loaders.history import integrity
from loaders.lake.s3 import Lake
from loaders.models import LoadedFile, LoadJob, PipelineRun
from loaders.pipelines import runs
from loaders.tests.histories import day
from loaders.tests.jobs.test_broken_connections import break_connections
from loaders.tests.jobs.test_worker import ROOT
from loaders.tests.lakes import key, put_parquet
from loaders.tests.recording import record
from tenants.models import Alert, Tenant

KILLS = int(os.environ.get("AVESA_KILLS", "1"))  # of each part
REPORT = os.environ.get("AVESA_FAULT_REPORT")
NAMES = ("companies", "tickets")
ROWS = 2_000
OUTAGE = 0.5  # seconds that a part is away
PATIENCE = 90  # seconds in which everything must have recovered

pytestmark = [
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(60 + KILLS * 150),
    pytest.mark.skipif(not shutil.which("redis-server"), reason="needs Debian's redis-server"),
]


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A command that may be killed and started again."""

    def __init__(self, command, environment, log):
        self._command, self._environment, self._log = command, environment, log
        self.start()

    def start(self):
        with self._log.open("ab") as output:
            self._running = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self):
        os.killpg(self._running.pid, signal.SIGKILL)
        self._running.wait()


class Arena:
    """Every part, each on its own port, so that it may be killed; the settings point to them."""

    def __init__(self, settings, folder):
        database = settings.DATABASES["default"]
        redis_port, self._s3_port = _free_port(), _free_port()
        self._folder = folder
        self._endpoint = EmbeddedClickHouse(folder / "clickhouse")
        self._endpoint_port = self._endpoint.port
        settings.CLICKHOUSE_URL = f"clickhouse://default@127.0.0.1:{self._endpoint_port}/avesa"
        settings.CELERY_BROKER_URL = f"redis://127.0.0.1:{redis_port}/0"
        settings.LAKE_ENDPOINT_URL = f"http://127.0.0.1:{self._s3_port}"
        settings.LAKE_BUCKET = "faults"
        settings.LOAD_HEARTBEAT_TIMEOUT = 3
        settings.CLICKHOUSE_POOL_SIZE = 4
        self._open_s3()
        environment = os.environ | {
            "DATABASE_URL": f"postgres://{database['USER']}:{database['PASSWORD']}"
            f"@{database['HOST']}:{database['PORT']}/{database['NAME']}",
            "CLICKHOUSE_URL": settings.CLICKHOUSE_URL,
            "CELERY_BROKER_URL": settings.CELERY_BROKER_URL,
            "LAKE_ENDPOINT_URL": settings.LAKE_ENDPOINT_URL,
            "LAKE_BUCKET": settings.LAKE_BUCKET,
            "LOAD_HEARTBEAT_TIMEOUT": "3",
            "LOAD_OVERLAP_MINUTES": "1",
            "AVESA_VAR_DIR": str(folder),
        }
        redis = ["redis-server", "--port", str(redis_port), "--save", "", "--appendonly", "no"]
        self._redis = Process(redis, os.environ, folder / "redis.log")
        celery = [sys.executable, "-m", "celery", "-A", "loaders.tests.hasty"]
        self.log = folder / "celery.log"
        schema.apply(schema.plan())
        self.lake = Lake()
        self.lake.create_bucket()
        worker, beat = [*celery, "worker", "--concurrency", "2", "-l", "INFO"], [*celery, "beat"]
        self._worker = Process(worker, environment, self.log)
        self._beats = [Process([*beat, "-l", "INFO"], environment, self.log) for _ in range(2)]
        self.parts = {
            "worker": (self._worker.kill, self._worker.start),
            "both beats": (self._beats_die, self._beats_return),
            "Redis": (self._redis.kill, self._redis.start),
            "warehouse": (self._endpoint_dies, self._endpoint_returns),
            "database connections": (break_connections, connection.close),
            "S3": (lambda: self._s3.stop(), self._open_s3),
        }

    def _open_s3(self):
        self._s3 = ThreadedMotoServer("127.0.0.1", self._s3_port, verbose=False)
        self._s3.start()

    def _endpoint_dies(self):
        self._endpoint.kill()

    def _endpoint_returns(self):
        self._endpoint = EmbeddedClickHouse(self._folder / "clickhouse", port=self._endpoint_port)

    def _beats_die(self):
        for each in self._beats:
            each.kill()

    def _beats_return(self):
        for each in self._beats:
            each.start()

    def close(self):
        self._beats_die()
        self._worker.kill()
        self._redis.kill()
        close_all()
        self._endpoint.stop()
        self._s3.stop()
        self.lake.client.close()


@pytest.fixture
def arena(settings, tmp_path, monkeypatch):
    running = Arena(settings, tmp_path)
    monkeypatch.setenv("CELERY_BROKER_URL", settings.CELERY_BROKER_URL)  # where Celery looks first
    _forget_connections()
    yield running
    running.close()
    _forget_connections()


def _forget_connections():
    app._pool = app.amqp._producer_pool = None


def test_every_part_may_die_while_pipelines_run(arena, db):
    tenants = [Tenant.objects.create(id=f"fault-{n}", name=f"Fault {n}") for n in range(2)]
    chance = random.Random(2026)
    rounds = []
    deliver(arena.lake, tenants, 0)
    recover(arena, tenants)
    parts = [part for part in arena.parts for _ in range(KILLS)]
    chance.shuffle(parts)
    for number, part in enumerate(parts, 1):
        deliver(arena.lake, tenants, number)
        moment = wait_for_a_moment(tenants, chance)
        die, come_back = arena.parts[part]
        die()
        time.sleep(OUTAGE)
        come_back()
        returned = time.monotonic()
        recover(arena, tenants)
        rounds.append((part, moment, time.monotonic() - returned))
        check(tenants)
    compare_with_a_calm_load(arena, tenants)
    assert {part for part, _, _ in rounds} == set(arena.parts)
    assert PipelineRun.objects.exclude(planned_for=None).exists(), "the schedule was at work, too"
    if REPORT:
        write_table(rounds)


def deliver(lake, tenants, number):
    """A file of each table: new keys, changes of old ones, and some that come late."""
    for tenant in tenants:
        for name in NAMES:
            first = number * 200
            rows = [
                {
                    "id": str(each),
                    "status": f"{number}",
                    # Late by a day and a half now and then; never two versions at one instant.
                    "updated_at": day(1)
                    + timedelta(hours=number - (36 if each % 7 == 0 else 0), seconds=number),
                }
                for each in range(first, first + (ROWS if number == 0 else 400))
            ]
            put_parquet(lake, tenant, name, f"{number:04}.parquet", rows)


def wait_for_a_moment(tenants, chance):
    """Until some time after pipelines were started, while at least one of them runs; what they are
    doing then.
    """
    while True:
        start(tenants)
        time.sleep(chance.uniform(0, 2.0))
        if doing := under_way():
            return doing


def under_way():
    """At what pipelines are: the steps of their loads and their own, without numbers."""
    steps = set(
        LoadJob.objects.filter(state=LoadJob.State.RUNNING).values_list("step", flat=True)
    ) or {
        run.get_step_display() for run in PipelineRun.objects.filter(state__in=PipelineRun.ACTIVE)
    }
    return sorted({re.sub(r" \d+", "", step) or "Starting" for step in steps})


def start(tenants):
    """Now, unless the schedule was faster."""
    for tenant in tenants:
        with suppress(runs.RunRefused):
            runs.request_run(tenant, PipelineRun.Trigger.COMMAND)


def recover(arena, tenants):
    """Wait, and only wait, until all that was delivered is loaded and all is well again."""
    deadline = time.monotonic() + PATIENCE
    while not all(is_done(arena.lake, each) for each in tenants):
        assert time.monotonic() < deadline, arena.log.read_text()[-5000:]
        time.sleep(0.2)


def is_done(lake, tenant):
    if Alert.objects.filter(tenant=tenant, over_at=None).exists():
        return False
    delivered = {each.key for each in lake.objects(f"{tenant.id}/canonical/")}
    loaded = LoadedFile.objects.filter(job__tenant=tenant, job__state=LoadJob.State.SUCCEEDED)
    last = PipelineRun.objects.filter(tenant=tenant).first()
    return (
        delivered <= set(loaded.values_list("key", flat=True))
        and last is not None
        and last.state == PipelineRun.State.SUCCEEDED
    )


def check(tenants):
    """Nothing is at fault, no person is needed, and no table was left behind."""
    for tenant in tenants:
        for name in NAMES:
            found = integrity.check(tenant, TABLES[name])
            assert found.is_sound, (found.faults, found.error)
    assert not LoadJob.objects.filter(needs_person=True).exists()
    assert not Alert.objects.filter(over_at=None).exists()


def compare_with_a_calm_load(arena, tenants):
    """One tenant has all the files at once, and nothing dies: its history is the same."""
    calm = Tenant(id="calm", name="Calm")
    for name in NAMES:
        for each in list(arena.lake.objects(key(tenants[0], name, ""))):
            body = arena.lake.client.get_object(Bucket=arena.lake.bucket, Key=each.key)["Body"]
            arena.lake.put(key(calm, name, Path(each.key).name), body.read())
    calm.save(force_insert=True)
    recover(arena, [calm])
    for name in NAMES:
        wanted = versions(calm, name)
        assert len(wanted) > ROWS
        for tenant in tenants:
            assert versions(tenant, name) == wanted


def versions(tenant, name):
    table = TABLES[name]
    sql = f"""SELECT {table.key}, effective_date, expiry_date, is_current, record_hash
        FROM {table.shared_name} WHERE tenant_id = {{tenant_id:String}}
        ORDER BY {table.key}, effective_date"""
    for attempt in range(5):
        try:
            return WarehouseClient().rows(sql, {"tenant_id": tenant.id})
        except WarehouseError:  # a pooled connection from before the last kill
            if attempt == 4:
                raise
    return []


def write_table(rounds):
    """The table in docs/reliability.md."""
    by_part = defaultdict(list)
    for part, moment, seconds in rounds:
        by_part[part].append((moment, seconds))
    rows = []
    for part, found in by_part.items():
        moments = sorted({step for moment, _ in found for step in moment})
        times = [seconds for _, seconds in found]
        rows.append(
            [part, f"{len(found)} times", "; ".join(moments), f"{median(times):.1f} s",
             f"{max(times):.1f} s"]
        )  # fmt: skip
    heading = [
        "Part",
        "Killed while pipelines ran",
        "At",
        "Back to normal after, median",
        "longest",
    ]
    record(REPORT, "faults", f"{len(rounds)} kills", heading, rows)
