"""A fresh stack for benchmarks: the embedded endpoint, an S3 emulation and a database."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import redis

from analytics.warehouse.embedded.process import EmbeddedClickHouse

POSTGRES, REDIS = "postgres://postgres@127.0.0.1:5432", "redis://127.0.0.1:6379/15"


@contextmanager
def stack(services=False):
    """Starts the services, sets the environment and sets up Django.

    With `services`, uses the local PostgreSQL and Redis, else their replacements.
    """
    folder = Path(tempfile.mkdtemp(prefix="avesa-bench-"))
    port = _free_port()
    s3 = subprocess.Popen(
        [Path(sys.executable).parent / "moto_server", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with EmbeddedClickHouse(folder / "clickhouse") as endpoint, ExitStack() as cleanup:
            _set_environment(folder, port, endpoint.port)
            if services:
                _use_services(cleanup)
            os.environ["BENCH_ENDPOINT_PID"] = str(endpoint.pid)
            _wait_for(port)
            _set_up()
            yield
    finally:
        s3.terminate()
        s3.wait()
        shutil.rmtree(folder)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _set_environment(folder, s3_port, warehouse_port):
    os.environ.update(
        DJANGO_SETTINGS_MODULE="avesa_site.settings",
        DEBUG="False",
        SECRET_KEY="only-for-measuring",
        ALLOWED_HOSTS="*",
        AVESA_VAR_DIR=str(folder / "var"),
        DATABASE_URL="",
        CELERY_BROKER_URL="",
        CACHE_URL="",
        CLICKHOUSE_URL=f"clickhouse://default@127.0.0.1:{warehouse_port}/avesa",
        LAKE_BUCKET="bench-lake",
        LAKE_ENDPOINT_URL=f"http://127.0.0.1:{s3_port}",
        LAKE_ACCESS_KEY_ID="bench",
        LAKE_SECRET_ACCESS_KEY="bench-secret",
        LOG_LEVEL="ERROR",
    )


def _use_services(cleanup):
    """Uses a new database, dropped at the end, and an emptied Redis database."""
    name = f"avesa_bench_{os.getpid()}"

    def run(sql):
        with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True) as connection:
            connection.execute(sql)

    run(f"CREATE DATABASE {name}")
    cleanup.callback(run, f"DROP DATABASE {name} WITH (FORCE)")
    broker = redis.Redis.from_url(REDIS)
    broker.flushdb()
    cleanup.callback(broker.close)
    cleanup.callback(broker.flushdb)
    os.environ.update(DATABASE_URL=f"{POSTGRES}/{name}", CELERY_BROKER_URL=REDIS)


def _wait_for(port):
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the S3 emulation did not start")


def _set_up():
    import django

    django.setup()
    from django.core.management import call_command

    from analytics.warehouse import schema
    from loaders.lake.s3 import Lake

    call_command("migrate", verbosity=0, skip_checks=True)
    schema.apply(schema.plan())
    Lake().create_bucket()


def timed(action):
    """(seconds, result) of one call."""
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result
