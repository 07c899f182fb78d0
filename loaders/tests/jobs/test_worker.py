"""A real Celery worker, on each broker, takes a load from the database to the warehouse."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loaders.models import LoadJob
from loaders.tests.lakes import put_jsonl

ROOT = Path(__file__).resolve().parents[3]
pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture(params=[pytest.param("redis", marks=pytest.mark.redis), "filesystem"])
def environment(request, tmp_path, settings, warehouse, lake):
    """Environment variables for processes that share the test's database, warehouse and lake."""
    database = settings.DATABASES["default"]
    if "sqlite" in database["ENGINE"]:
        pytest.skip("SQLite's test database lives in this process's memory")
    user, host, port = database["USER"], database["HOST"], database["PORT"]
    redis = settings.CELERY_BROKER_URL.rsplit("/", 1)[0] + f"/{9 + _worker_number()}"
    return os.environ | {
        "DATABASE_URL": f"postgres://{user}:{database['PASSWORD']}@{host}:{port}/{database['NAME']}",
        "CLICKHOUSE_URL": settings.CLICKHOUSE_URL,
        "LAKE_ENDPOINT_URL": settings.LAKE_ENDPOINT_URL,
        "LAKE_BUCKET": settings.LAKE_BUCKET,
        "CELERY_BROKER_URL": redis if request.param == "redis" else "",
        "AVESA_VAR_DIR": str(tmp_path),
    }


def _worker_number():
    """Which of several parallel pytest processes this is, so that each has a broker of its own."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4


@pytest.fixture
def worker(environment, tmp_path):
    """A running worker; yields the path of its log."""
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "avesa_site", "worker", "--concurrency", "2"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        yield log
        process.terminate()
        process.wait(20)


def _request(environment, *options):
    command = [sys.executable, "manage.py", "load", *options]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)


def test_a_worker_loads_what_was_requested(worker, environment, acme, lake, warehouse):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}, {"id": "2"}])
    put_jsonl(lake, acme, "contacts", "a.jsonl", [{"id": "1"}])
    _request(environment, "--tenant", acme.id, "--table", "companies", "--table", "contacts")
    deadline = time.monotonic() + 60
    while LoadJob.objects.filter(state__in=LoadJob.ACTIVE).exists():
        assert time.monotonic() < deadline, worker.read_text()
        time.sleep(0.1)
    loaded = dict(LoadJob.objects.values_list("table", "rows_loaded"))
    assert loaded == {"companies": 2, "contacts": 1}
    rows = "SELECT count() FROM companies_current WHERE tenant_id = {tenant_id:String}"
    assert warehouse.value(rows, {"tenant_id": acme.id}) == 2
