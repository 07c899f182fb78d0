"""A pytest plugin (`-p avesa_site.testing`): chooses the backends before Django reads its settings.

Real PostgreSQL and Redis are used if they answer, at DATABASE_URL and REDIS_URL if set, else at
127.0.0.1. Otherwise SQLite, local memory and the file-system broker replace them. The output names
the backends in use. With REQUIRE_SERVICES=1, a service that listens but is not used is an error.
"""

import os
import socket
import tempfile
from urllib.parse import urlsplit

import pytest

DEFAULT_POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"
DEFAULT_REDIS = "redis://127.0.0.1:6379/0"


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=1):
            return True
    except OSError:
        return False


def _choose() -> dict[str, str]:
    postgres = os.environ.get("DATABASE_URL") or DEFAULT_POSTGRES
    redis = os.environ.get("REDIS_URL") or DEFAULT_REDIS
    backends = {
        "DATABASE_URL": postgres if _answers(postgres) else "",
        "REDIS_URL": redis if _answers(redis) else "",
    }
    if os.environ.get("AVESA_TEST_EMBEDDED") == "1":
        backends = dict.fromkeys(backends, "")
    return backends


def _apply(backends: dict[str, str]) -> None:
    redis = backends["REDIS_URL"]
    os.environ.update(
        backends,
        DEBUG="False",
        SECRET_KEY="only-for-tests",  # noqa: S106
        ALLOWED_HOSTS="*",
        HTTPS="False",
        STAFF_SECOND_FACTOR="False",
        CELERY_BROKER_URL=redis,
        CACHE_URL=redis.rsplit("/", 1)[0] + "/1" if redis else "",
        CLICKHOUSE_URL="clickhouse://default@127.0.0.1:1/avesa",  # fixtures set the real one
        CLICKHOUSE_READER_URL="",
        CLICKHOUSE_CLUSTER="",
        LAKE_ENDPOINT_URL="http://127.0.0.1:1",
        LAKE_ACCESS_KEY_ID="test",
        LAKE_SECRET_ACCESS_KEY="test-secret",  # noqa: S106
        LAKE_BUCKET="test-lake",
        LOAD_TRANSPORT="engine",
        EMAIL_URL="",
        EMAIL_PROVIDER="",
        ANYMAIL="{}",
    )
    os.environ.setdefault("AVESA_VAR_DIR", _FOLDER.name)


# Removed when this process ends. Processes that it starts use the same one.
_FOLDER = tempfile.TemporaryDirectory(prefix="avesa-tests-", ignore_cleanup_errors=True)
BACKENDS = _choose()
_apply(BACKENDS)


def describe() -> str:
    database = "PostgreSQL" if BACKENDS["DATABASE_URL"] else "SQLite"
    broker = "Redis" if BACKENDS["REDIS_URL"] else "local memory and a file-system broker"
    return f"backends: {database}; {broker}; embedded ClickHouse; S3 emulation"


def pytest_report_header(config: pytest.Config) -> str:
    return describe()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(describe())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker, backend in (("postgres", "DATABASE_URL"), ("redis", "REDIS_URL")):
        skip = pytest.mark.skip(reason=f"no {marker} answers at {backend} or on this machine")
        for item in items:
            if item.get_closest_marker(marker) and not BACKENDS[backend]:
                item.add_marker(skip)
    for item in items:
        if {"endpoint", "lake"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("engine")
    _slow_files_first(items)


def _slow_files_first(items: list[pytest.Item]) -> None:
    """Balance parallel test processes: start slow files first and fill up with quick ones."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With REQUIRE_SERVICES=1, fail if a service that listens was not used."""
    if os.environ.get("REQUIRE_SERVICES") != "1":
        return
    defaults = {"DATABASE_URL": DEFAULT_POSTGRES, "REDIS_URL": DEFAULT_REDIS}
    left_out = [name for name, url in defaults.items() if _answers(url) and not BACKENDS[name]]
    if left_out:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"error: {', '.join(left_out)} was left out although the service listens")  # noqa: T201
