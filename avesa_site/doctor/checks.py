"""Is every part there, does it let us in, and if not: what to do. For `manage.py doctor` and staff.

Each part is asked by itself and never longer than its own time limit, so that one that is away
hides nothing about the others.
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

from analytics.warehouse import schema
from analytics.warehouse.client import Writer, under_way
from analytics.warehouse.errors import StatementFailed, WarehouseError
from analytics.warehouse.pool import address
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
MAX_PAGES = 20  # of a thousand files each, until one is found that can be read
# Of the warehouse asking S3, which it would otherwise go on with for minutes.
IMPATIENT: dict[str, Any] = {
    "s3_retry_attempts": 1,
    "s3_connect_timeout_ms": 5000,
    "s3_request_timeout_ms": 5000,
}
# What loads do in the warehouse, as docs/operations.md lists it.
RIGHTS = (
    *("SELECT", "INSERT", "ALTER", "OPTIMIZE", "TRUNCATE"),
    *("CREATE TABLE", "CREATE VIEW", "DROP TABLE", "DROP VIEW"),
)
SMTP = "django.core.mail.backends.smtp.EmailBackend"


class CheckFailed(Exception):
    """Something is wrong; the text says what, and what to do."""


@dataclass(frozen=True)
class Finding:
    """What one part said: its version and state, or what is wrong with it and what to do."""

    part: str
    is_well: bool
    says: str
    milliseconds: float


def examine(tenants: Iterable[Tenant]) -> Iterator[Finding]:
    """Every part, then the lake for each tenant."""
    parts: dict[str, Callable[[], str]] = {
        "database": _database,
        "broker": _broker,
        "cache": _cache,
        "warehouse": _warehouse,
        "mail": _mail,
        "alerts": _alerts,
    }
    for part, ask in parts.items():
        yield _finding(part, ask)
    try:
        known = list(tenants)
    except DatabaseError:
        yield Finding("lake", False, "Without the database, no tenant is known to ask for.", 0.0)
        return
    lake = _Lake()
    with ThreadPoolExecutor(LAKES_AT_ONCE) as threads:
        yield from threads.map(
            lambda tenant: _finding(f"lake for {tenant.id}", partial(lake.ask, tenant)), known
        )
    lake.close()


def _finding(part: str, ask: Callable[[], str]) -> Finding:
    started = perf_counter()
    try:
        says, is_well = ask(), True
    except (CheckFailed, WarehouseError, LakeError) as error:
        says, is_well = str(error), False
    except Exception as error:  # a check that fails must not hide the other parts
        says, is_well = f"It failed in an unforeseen way: {type(error).__name__}: {error}", False
    return Finding(part, is_well, says, (perf_counter() - started) * 1000)


# --- The parts


def _database() -> str:
    try:
        connection.ensure_connection()
        waiting = MigrationExecutor(connection).migration_plan(
            MigrationExecutor(connection).loader.graph.leaf_nodes()
        )
        version = ".".join(map(str, connection.get_database_version()))
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT now()")
                _check_clock("database server", cursor.fetchone()[0])
    except DatabaseError as error:
        raise CheckFailed(
            f"{_database_remedy(str(error))} It said: {str(error).strip()}"
        ) from error
    if waiting:
        raise CheckFailed(f"{len(waiting)} migrations are missing. Run: manage.py migrate")
    return f"{connection.display_name} {version}, all migrations applied"


def _remedy(text: str, known: dict[str, str], otherwise: str) -> str:
    found = (remedy for sign, remedy in known.items() if sign in text)
    return next(found, otherwise)


def _database_remedy(text: str) -> str:
    known = {
        "authentication failed": "It refused the user or password. Check those in DATABASE_URL.",
        "no password": "It wants a password. Add it to DATABASE_URL.",
        "does not exist": "The database, user or a table is missing. Create it, or check the name "
        "in DATABASE_URL; then run: manage.py migrate",
        "permission denied": "The user lacks a right. Make it owner of its database.",
        "timeout": "It did not answer in time. Check host, port and firewalls.",
        "refused": "Nothing listens there. Check that it runs, and host and port in DATABASE_URL.",
        "resolve": "The host is unknown. Check its name in DATABASE_URL.",
        "translate host": "The host is unknown. Check its name in DATABASE_URL.",
    }
    return _remedy(text, known, "It cannot be used. Check DATABASE_URL.")


def _redis_remedy(text: str, setting: str) -> str:
    password = f"It refused the user or password. Check those in {setting}."
    known = {
        "WRONGPASS": password,
        "invalid username-password": password,
        "invalid password": password,
        "NOAUTH": f"It wants a password. Add it to {setting}.",
        "Authentication required": f"It wants a password. Add it to {setting}.",
        "NOPERM": f"Its user lacks a right. Give the user in {setting} all commands on its keys.",
        "imed out": "It did not answer in time. Check host, port and firewalls.",
        "refused": f"Nothing listens there. Check that it runs, and host and port in {setting}.",
    }
    return _remedy(text, known, f"It cannot be used. Check that it runs, and {setting}.")


def _broker() -> str:
    with current_app.connection_for_write(connect_timeout=BROKER_SECONDS) as broker:
        try:
            broker.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
            if broker.transport.driver_type == "redis":
                channel: Any = broker.default_channel
                return f"Redis {_redis_version(channel.client)}"
        except (BrokerError, OSError, RedisError) as error:
            raise CheckFailed(
                "Without it loads and reports wait. "
                f"{_redis_remedy(str(error), 'CELERY_BROKER_URL')} It said: {error}"
            ) from error
        return f"messages as files in {settings.VAR_DIR}, for one machine only"


def _redis_version(client: Any) -> str:
    return str(client.info("server")["redis_version"])


def _cache() -> str:
    kept: Any = caches["default"]
    told = "files or memory of this machine only"
    try:
        if str(settings.CACHES["default"]["BACKEND"]).startswith("django_redis."):
            told = f"Redis {_redis_version(kept.client.get_client())}"
    except (ConnectionInterrupted, RedisError, OSError) as error:
        raise CheckFailed(
            f"Without it pages are slow. {_redis_remedy(str(error), 'CACHE_URL')} It said: {error}"
        ) from error
    cache.set("doctor", "well", 60)
    if cache.get("doctor") != "well":
        raise CheckFailed(
            "It does not keep what it is given, so pages are slow. Check CACHE_URL, and whether it "
            "is out of memory or disk space."
        )
    return told


def _warehouse() -> str:
    writer = Writer(database="default", seconds=settings.CLICKHOUSE_READ_TIMEOUT)
    version, now = writer.rows("SELECT version(), now64(3, 'UTC')")[0]
    _check_clock("warehouse server", now.replace(tzinfo=UTC))
    changes = schema.plan()
    if changes:
        raise CheckFailed(
            f"{len(changes)} tables or views are missing or differ. "
            "Run: manage.py warehouse_schema apply"
        )
    _check_permissions(writer)
    under_way("doctor-")  # takes a right on system.processes
    note = f" ({address().note})" if address().note else ""
    return f"ClickHouse {version}, schema as declared, all rights{note}"


def _check_permissions(writer: Writer) -> None:
    """Of those that loads need; servers that cannot tell are believed."""
    database = quote(placement().database)
    for right in RIGHTS:
        try:
            is_granted = writer.value(f"CHECK GRANT {right} ON {database}.*")
        except StatementFailed:
            return
        if not is_granted:
            raise CheckFailed(
                f"Its user lacks a right that loads need. Run there: GRANT {right} ON {database}.* "
                f"TO {quote(address().user)}"
            )


class _Lake:
    """Asked for each tenant, but no more once it was silent: each would wait as long again.

    Threads share it.
    """

    def __init__(self) -> None:
        self._lake = Lake()
        self._is_silent = False

    def close(self) -> None:
        with suppress(Exception):  # an address that is none was told before
            self._lake.client.close()

    def ask(self, tenant: Tenant) -> str:
        if self._is_silent:
            raise CheckFailed("It was not asked, since the lake does not answer.")
        try:
            return self._ask(home_of(tenant))
        except LakeUnreachable:
            self._is_silent = True
            raise

    def _ask(self, prefix: str) -> str:
        """List, then read the first file as workers do, and as the warehouse does."""
        lake = self._lake
        where = f"s3://{lake.bucket}/{prefix}"
        key, headers = self._first_readable(prefix, where)
        with lake_errors(lake.bucket, key):
            lake.client.get_object(Bucket=lake.bucket, Key=key)["Body"].close()
        readers = "by workers"
        if settings.LOAD_TRANSPORT == "engine":
            writer = Writer(database="default", seconds=settings.CLICKHOUSE_READ_TIMEOUT)
            writer.rows(f"SELECT _size FROM {s3_function(lake, [key], 'One')}", **IMPATIENT)
            readers += " and by the warehouse"
        server = headers.get("server", "S3").partition(",")[0]
        return f"{where} can be listed, and read {readers} ({server})"

    def _first_readable(self, prefix: str, where: str) -> tuple[str, dict[str, str]]:
        """(the key of a file that loads could read, the headers of an answer). CheckFailed."""
        pages = self._lake.client.get_paginator("list_objects_v2").paginate(
            Bucket=self._lake.bucket, Prefix=prefix
        )
        count = 0
        with lake_errors(self._lake.bucket):
            for page in islice(pages, MAX_PAGES):
                headers = page["ResponseMetadata"]["HTTPHeaders"]
                if told := headers.get("date"):
                    _check_clock("object store", parsedate_to_datetime(told))
                found = page.get("Contents", [])
                count += len(found)
                if key := next((each["Key"] for each in found if _is_readable(each)), ""):
                    return key, headers
        if not count:
            raise CheckFailed(f"There is no file under {where}. Has the pipeline upstream run?")
        raise CheckFailed(
            f"The first {count:,} files under {where} are archived, or have names that no load can "
            "take."
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
            f"It refused the user or password. Check those in EMAIL_URL. It said: {error}"
        ) from error
    except (smtplib.SMTPException, OSError) as error:
        raise CheckFailed(
            "It does not answer. Check that it runs, host and port in EMAIL_URL, and smtp+tls or "
            f"smtp+ssl as it wants. It said: {error}"
        ) from error
    finally:
        mail.close()
    return f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT} ({name}) lets us in"


def _mail_without_smtp() -> str:
    folder = getattr(settings, "EMAIL_FILE_PATH", None)
    if settings.EMAIL_PROVIDER:
        return f"{settings.EMAIL_PROVIDER}, which is asked when a mail is sent"
    if folder and not os.access(Path(folder), os.W_OK):
        raise CheckFailed(
            f"Mail is written to {folder}, which is not there or cannot be written to."
        )
    return f"mail reaches nobody, it goes to {folder or settings.EMAIL_BACKEND}. Set EMAIL_URL."


def _alerts() -> str:
    channels = alerting.channels_set_up()
    return f"sent by {', '.join(channels)}" if channels else alerting.NO_CHANNEL


def _check_clock(whose: str, now: datetime) -> None:
    skew = abs(datetime.now(UTC) - now)
    if skew > MAX_CLOCK_SKEW:
        raise CheckFailed(
            f"The clock of the {whose} differs from ours by {skew.total_seconds():,.0f} seconds. "
            "Set both by NTP: signatures, schedules and as-of dates rely on it."
        )
