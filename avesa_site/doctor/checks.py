"""Connection checks for `manage.py doctor` and staff: is each part reachable, does it accept our
credentials, and if not, what to do.

Each part is checked separately with its own timeout, so that one failure does not hide others.
"""

import os
import smtplib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.cache import cache, caches
from django.core.mail import get_connection
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django_redis.exceptions import ConnectionInterrupted
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from analytics.warehouse import reader_role, schema
from analytics.warehouse.client import WarehouseClient, under_way
from analytics.warehouse.errors import StatementFailed, WarehouseError
from analytics.warehouse.pool import READER, address, pool, reader_login
from analytics.warehouse.schema import placement
from analytics.warehouse.sql import quote
from loaders.lake.discovery import home_of, is_addressable
from loaders.lake.s3 import Lake, LakeError, LakeUnreachable, lake_errors
from loaders.staging.readers import s3_function
from tenants import alerting
from tenants.models import Tenant

MAX_CLOCK_SKEW = timedelta(seconds=10)
BROKER_SECONDS = 5
LAKES_AT_ONCE = 8
MAX_PAGES = 20  # of 1,000 files each, searched for one that can be read
# Limits for the warehouse's requests to S3. By default, it retries for minutes.
SHORT_TIMEOUTS: dict[str, Any] = {
    "s3_retry_attempts": 1,
    "s3_connect_timeout_ms": 5000,
    "s3_request_timeout_ms": 5000,
}
# The privileges that loads need, as listed in docs/operations.md.
PRIVILEGES = (
    *("SELECT", "INSERT", "ALTER", "OPTIMIZE", "TRUNCATE"),
    *("CREATE TABLE", "CREATE VIEW", "DROP TABLE", "DROP VIEW"),
)
SMTP = "django.core.mail.backends.smtp.EmailBackend"


class CheckFailed(Exception):
    """A check failed. The text explains the problem and the remedy."""


@dataclass(frozen=True)
class Finding:
    """The result for one part: its version and state, or the problem and the remedy."""

    part: str
    is_ok: bool
    message: str
    milliseconds: float


def examine(tenants: Iterable[Tenant]) -> Iterator[Finding]:
    """Check every part, then the lake for each tenant."""
    parts: dict[str, Callable[[], str]] = {
        "database": _database,
        "broker": _broker,
        "cache": _cache,
        "warehouse": _warehouse,
        "warehouse for pages": _warehouse_for_pages,
        "mail": _mail,
        "alerts": _alerts,
    }
    for part, check in parts.items():
        yield _finding(part, check)
    try:
        known = list(tenants)
    except DatabaseError:
        yield Finding(
            "lake", False, "Not checked: without the database, no tenants are known.", 0.0
        )
        return
    lake = _Lake()
    with ThreadPoolExecutor(LAKES_AT_ONCE) as threads:
        yield from threads.map(
            lambda tenant: _finding(f"lake for {tenant.id}", partial(lake.check, tenant)), known
        )
    lake.close()


def _finding(part: str, check: Callable[[], str]) -> Finding:
    started = perf_counter()
    try:
        message, is_ok = check(), True
    except (CheckFailed, WarehouseError, LakeError) as error:
        message, is_ok = str(error), False
    except Exception as error:  # a check that fails must not hide the other parts
        message, is_ok = f"Unexpected error: {type(error).__name__}: {error}", False
    return Finding(part, is_ok, message, (perf_counter() - started) * 1000)


# --- The parts


def _database() -> str:
    try:
        connection.ensure_connection()
        missing = MigrationExecutor(connection).migration_plan(
            MigrationExecutor(connection).loader.graph.leaf_nodes()
        )
        version = ".".join(map(str, connection.get_database_version()))
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT now()")
                _check_clock("database server", cursor.fetchone()[0])
    except DatabaseError as error:
        raise CheckFailed(f"{_database_remedy(str(error))} Error: {str(error).strip()}") from error
    if missing:
        raise CheckFailed(f"{len(missing)} migrations are missing. Run: manage.py migrate")
    return f"{connection.display_name} {version}, all migrations applied"


def _remedy(text: str, known: dict[str, str], otherwise: str) -> str:
    found = (remedy for pattern, remedy in known.items() if pattern in text)
    return next(found, otherwise)


def _database_remedy(text: str) -> str:
    known = {
        "authentication failed": "It rejected the user or password. Check them in DATABASE_URL.",
        "no password": "It requires a password. Add it to DATABASE_URL.",
        "does not exist": "The database, user or a table is missing. Create it, or check the name "
        "in DATABASE_URL; then run: manage.py migrate",
        "permission denied": "The user lacks a privilege. Make it the owner of its database.",
        "timeout": "It did not answer in time. Check host, port and firewalls.",
        "refused": "Nothing listens there. Check that it runs, and host and port in DATABASE_URL.",
        "resolve": "The host is unknown. Check its name in DATABASE_URL.",
        "translate host": "The host is unknown. Check its name in DATABASE_URL.",
    }
    return _remedy(text, known, "The connection failed. Check DATABASE_URL.")


def redis_remedy(text: str, setting: str) -> str:
    password = f"It rejected the user or password. Check them in {setting}."
    known = {
        "WRONGPASS": password,
        "invalid username-password": password,
        "invalid password": password,
        "NOAUTH": f"It requires a password. Add it to {setting}.",
        "Authentication required": f"It requires a password. Add it to {setting}.",
        "NOPERM": f"Its user lacks a permission. Allow that of {setting} all commands on its keys.",
        "imed out": "It did not answer in time. Check host, port and firewalls.",
        "refused": f"Nothing listens there. Check that it runs, and host and port in {setting}.",
    }
    return _remedy(text, known, f"The connection failed. Check that it runs, and check {setting}.")


def _broker() -> str:
    with current_app.connection_for_write(connect_timeout=BROKER_SECONDS) as broker:
        try:
            broker.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
            if broker.transport.driver_type == "redis":
                channel: Any = broker.default_channel
                return f"Redis {_redis_version(channel.client)}"
        except (BrokerError, OSError, RedisError) as error:
            raise CheckFailed(
                "Without it, loads and reports wait. "
                f"{redis_remedy(str(error), 'CELERY_BROKER_URL')} Error: {error}"
            ) from error
        return f"messages as files in {settings.VAR_DIR}, for one machine only"


def _redis_version(client: Any) -> str:
    return str(client.info("server")["redis_version"])


def _cache() -> str:
    backend: Any = caches["default"]
    description = "files or memory of this machine only"
    try:
        if str(settings.CACHES["default"]["BACKEND"]).startswith("django_redis."):
            description = f"Redis {_redis_version(backend.client.get_client())}"
    except (ConnectionInterrupted, RedisError, OSError) as error:
        raise CheckFailed(
            f"Without it, pages are slow. {redis_remedy(str(error), 'CACHE_URL')} Error: {error}"
        ) from error
    cache.set("doctor", "ok", 60)
    if cache.get("doctor") != "ok":
        raise CheckFailed(
            "It does not return stored values, so pages are slow. Check CACHE_URL, and whether it "
            "is out of memory or disk space."
        )
    return description


def _warehouse() -> str:
    client = WarehouseClient(database="default", seconds=settings.CLICKHOUSE_READ_TIMEOUT)
    version, now = client.rows("SELECT version(), now64(3, 'UTC')")[0]
    _check_clock("warehouse server", now.replace(tzinfo=UTC))
    changes = schema.plan()
    if changes:
        raise CheckFailed(
            f"{len(changes)} tables or views are missing or differ. "
            "Run: manage.py warehouse_schema apply"
        )
    _check_permissions(client)
    under_way("doctor-")  # needs a privilege on system.processes
    note = f" ({address().note})" if address().note else ""
    return f"ClickHouse {version}, schema up to date, all privileges granted{note}"


def _warehouse_for_pages() -> str:
    """Whether the user with which pages read answers, and can only read."""
    with pool(settings.CLICKHOUSE_READ_TIMEOUT, login=reader_login()).client() as client:
        (user,) = client.execute("SELECT currentUser()")[0]
    if changes := reader_role.plan():
        raise CheckFailed(
            f"{len(changes)} of its privileges are missing or differ. "
            "Run: manage.py warehouse_schema apply"
        )
    if problem := reader_role.what_pages_can_write():
        raise CheckFailed(f"{problem} {reader_role.HINT}")
    if READER.is_set:
        return f"{user} can only read, and one tenant at a time"
    return f"{user}; this server has no second user that can only read"


def _check_permissions(client: WarehouseClient) -> None:
    """Check the privileges that loads need, on servers that support CHECK GRANT."""
    database = quote(placement().database)
    for privilege in PRIVILEGES:
        try:
            is_granted = client.value(f"CHECK GRANT {privilege} ON {database}.*")
        except StatementFailed:
            return
        if not is_granted:
            raise CheckFailed(
                f"Its user lacks a privilege that loads need. Run there: GRANT {privilege} "
                f"ON {database}.* TO {quote(address().user)}"
            )


class _Lake:
    """Checks the lake per tenant. After one timeout, other tenants are skipped: each would wait as
    long. Threads share one instance.
    """

    def __init__(self) -> None:
        self._lake = Lake()
        self._is_unreachable = False

    def close(self) -> None:
        with suppress(Exception):  # an invalid address was already reported
            self._lake.client.close()

    def check(self, tenant: Tenant) -> str:
        if self._is_unreachable:
            raise CheckFailed("Not checked, since the lake does not answer.")
        try:
            return self._check(home_of(tenant))
        except LakeUnreachable:
            self._is_unreachable = True
            raise

    def _check(self, prefix: str) -> str:
        """List files, then read the first one as workers do, and as the warehouse does."""
        lake = self._lake
        where = f"s3://{lake.bucket}/{prefix}"
        key, headers = self._first_readable(prefix, where)
        with lake_errors(lake.bucket, key):
            lake.client.get_object(Bucket=lake.bucket, Key=key)["Body"].close()
        readers = "by workers"
        if settings.LOAD_TRANSPORT == "engine":
            client = WarehouseClient(database="default", seconds=settings.CLICKHOUSE_READ_TIMEOUT)
            client.rows(f"SELECT _size FROM {s3_function(lake, [key], 'One')}", **SHORT_TIMEOUTS)
            readers += " and by the warehouse"
        server = headers.get("server", "S3").partition(",")[0]
        return f"{where} can be listed, and can be read {readers} ({server})"

    def _first_readable(self, prefix: str, where: str) -> tuple[str, dict[str, str]]:
        """(key of a file that loads can read, headers of a response). Raises CheckFailed."""
        pages = self._lake.client.get_paginator("list_objects_v2").paginate(
            Bucket=self._lake.bucket, Prefix=prefix
        )
        count = 0
        with lake_errors(self._lake.bucket):
            for page in islice(pages, MAX_PAGES):
                headers = page["ResponseMetadata"]["HTTPHeaders"]
                if date := headers.get("date"):
                    _check_clock("object store", parsedate_to_datetime(date))
                found = page.get("Contents", [])
                count += len(found)
                if key := next((each["Key"] for each in found if _is_readable(each)), ""):
                    return key, headers
        if not count:
            raise CheckFailed(f"There is no file under {where}. Has the upstream pipeline run?")
        raise CheckFailed(
            f"The first {count:,} files under {where} are archived, or loads cannot read "
            "their names."
        )


def _is_readable(listed: Any) -> bool:
    is_archived = listed.get("StorageClass") in {"GLACIER", "DEEP_ARCHIVE"}
    return is_addressable(listed["Key"]) and not is_archived


def _mail() -> str:
    if settings.EMAIL_BACKEND != SMTP:
        return _mail_without_smtp()
    mail: Any = get_connection()
    try:
        mail.open()
        name = (mail.connection.ehlo_resp or b"").decode(errors="replace").partition("\n")[0]
    except smtplib.SMTPAuthenticationError as error:
        raise CheckFailed(
            f"It rejected the user or password. Check them in EMAIL_URL. Error: {error}"
        ) from error
    except (smtplib.SMTPException, OSError) as error:
        raise CheckFailed(
            "It does not answer. Check that it runs, host and port in EMAIL_URL, and whether the "
            f"server requires smtp+tls or smtp+ssl. Error: {error}"
        ) from error
    finally:
        mail.close()
    return f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT} ({name}) accepts our login"


def _mail_without_smtp() -> str:
    folder = getattr(settings, "EMAIL_FILE_PATH", None)
    if settings.EMAIL_PROVIDER:
        return f"{settings.EMAIL_PROVIDER}; its connection is tested only when a mail is sent"
    if folder and not os.access(Path(folder), os.W_OK):
        raise CheckFailed(
            f"Mail is written to {folder}, which does not exist or cannot be written to."
        )
    return f"no mail is delivered, it goes to {folder or settings.EMAIL_BACKEND}. Set EMAIL_URL."


def _alerts() -> str:
    channels = alerting.channels_set_up()
    return f"sent by {', '.join(channels)}" if channels else alerting.NO_CHANNEL


def _check_clock(whose: str, now: datetime) -> None:
    skew = abs(datetime.now(UTC) - now)
    if skew > MAX_CLOCK_SKEW:
        raise CheckFailed(
            f"The clock of the {whose} differs from ours by {skew.total_seconds():,.0f} seconds. "
            "Synchronize both with NTP: signatures, schedules and as-of dates depend on it."
        )
