"""A wrong setting stops the start with a hint. Some tests start real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.test import override_settings

ROOT = Path(__file__).resolve().parents[2]


def problems(**changes):
    with override_settings(**changes):
        return {message.id: message for message in run_checks()}


@pytest.mark.parametrize(
    ("changes", "check", "hint"),
    [
        ({"CELERY_BROKER_URL": "amqp://x"}, "avesa.E002", "redis://"),
        ({"CACHE_URL": "memcached://x"}, "avesa.E003", "redis://"),
        ({"LAKE_ENDPOINT_URL": "127.0.0.1:9000"}, "avesa.E004", "http"),
        ({"LOAD_TRANSPORT": "pigeon"}, "avesa.E005", "engine"),
        ({"LAKE_SECRET_ACCESS_KEY": ""}, "avesa.E006", "both"),
        ({"CLICKHOUSE_URL": "http://x:8123/db"}, "avesa.E007", "clickhouse://"),
        ({"LOADS_AT_ONCE": 0}, "avesa.E010", "1 or more"),
        ({"PIPELINE_MINUTES": -1}, "avesa.E010", "0 or more"),
        ({"LOAD_MAX_RECORD_MB": 3}, "avesa.E020", "4 or more"),
        ({"LOAD_MAX_COLUMNS": 0}, "avesa.E020", "1 or more"),
        ({"CLICKHOUSE_FILE_MEMORY_MB": -1}, "avesa.E020", "0 or more"),
        ({"PIPELINE_REFRESH_AT": "25:00"}, "avesa.E011", "02:30"),
        ({"REQUEST_LIMITS": {"exports": [1, 1, 1, 1]}}, "avesa.E015", "export"),
        ({"REQUEST_LIMITS": {"export": [1, 1, 1]}}, "avesa.E015", "four numbers"),
        ({"REQUEST_LIMITS": {"export": [0, 1, 1, 1]}}, "avesa.E015", "1 or more"),
        ({"READER_THREADS": -1}, "avesa.E016", "0 or more"),
        ({"EXPORT_MEGABYTES": 0}, "avesa.E016", "1 or more"),
    ],
)
def test_a_wrong_value_is_an_error_with_a_hint(changes, check, hint):
    found = problems(**changes)
    assert found[check].is_serious()
    assert hint in found[check].hint


def test_the_default_secret_key_is_an_error_outside_debug(settings):
    assert "avesa.E001" in problems(SECRET_KEY=settings.INSECURE_SECRET_KEY, DEBUG=False)
    assert "avesa.E001" not in problems(SECRET_KEY=settings.INSECURE_SECRET_KEY, DEBUG=True)


def test_an_unreachable_warehouse_is_only_a_warning():
    found = problems(CLICKHOUSE_URL="clickhouse://127.0.0.1:1/avesa")
    assert not found["avesa.W001"].is_serious()
    assert "cannot be reached" in found["avesa.W001"].msg


@pytest.mark.parametrize(
    ("reader", "why"),
    [("http://x:8123/avesa", "clickhouse://"), ("{same}_of_others", "another database")],
)
def test_a_wrong_reader_is_an_error(warehouse, settings, reader, why):
    owner = settings.CLICKHOUSE_URL
    reader = reader.format(same=owner)
    error = problems(CLICKHOUSE_URL=owner, CLICKHOUSE_READER_URL=reader)["avesa.E013"]
    assert error.is_serious()
    assert why in error.msg


def test_a_reachable_warehouse_is_no_problem(warehouse, settings):
    assert problems(CLICKHOUSE_URL=settings.CLICKHOUSE_URL) == {}


def _start(*command, **environment):
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("manage.py", "check"),
        ("-c", "import avesa_site.wsgi"),
        ("-m", "celery", "--app", "avesa_site", "worker", "--pool", "solo"),
    ],
    ids=["command", "web", "worker"],
)
def test_no_process_starts_without_a_secret_key(command):
    ended = _start(*command, SECRET_KEY="")
    assert ended.returncode != 0
    assert "SECRET_KEY is not set" in ended.stderr + ended.stdout


@pytest.mark.slow
def test_a_wrong_database_url_gives_the_right_format():
    ended = _start("manage.py", "check", DATABASE_URL="mysql://x")
    assert ended.returncode != 0
    assert "postgres://user:password@host:5432/name" in ended.stderr
