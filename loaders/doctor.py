"""Is every part there, does it let us in, and if not: what to do. For `manage.py doctor` and staff.

Each part is asked by itself and never longer than its own time limit, so that one that is away
hides nothing about the others.
"""

import os
import smtplib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from time import perf_counter

from celery import current_app
from django.conf import settings
from django.core.cache import cache
from django.core.mail import get_connection
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from kombu.exceptions import OperationalError as BrokerError

from analytics.warehouse import schema
from analytics.warehouse.errors import WarehouseError
from analytics.warehouse.writer import Writer
from tenants.models import Tenant

from .lake import Lake, LakeError, lake_errors

MOST_SKEW = timedelta(seconds=10)
BROKER_SECONDS = 5
SMTP = "django.core.mail.backends.smtp.EmailBackend"


class Unwell(Exception):
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
    }
    for part, ask in parts.items():
        yield _finding(part, ask)
    try:
        known = list(tenants)
    except DatabaseError:
        yield Finding("lake", False, "Without the database, no tenant is known to ask for.", 0.0)
        return
    for tenant in known:
        yield _finding(f"lake for {tenant.id}", partial(_lake, tenant))


def _finding(part: str, ask: Callable[[], str]) -> Finding:
    started = perf_counter()
    try:
        says, is_well = ask(), True
    except (Unwell, WarehouseError, LakeError) as error:
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
        raise Unwell(f"{_database_remedy(str(error))} It said: {str(error).strip()}") from error
    if waiting:
        raise Unwell(f"{len(waiting)} migrations are missing. Run: manage.py migrate")
    return f"{connection.display_name} {version}, all migrations applied"


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
    found = (remedy for sign, remedy in known.items() if sign in text)
    return next(found, "It cannot be used. Check DATABASE_URL.")


def _broker() -> str:
    with current_app.connection_for_write(connect_timeout=BROKER_SECONDS) as broker:
        try:
            broker.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
        except (BrokerError, OSError) as error:
            raise Unwell(
                "It does not answer: loads and reports wait until it does. Check that it runs, and "
                f"host, port and password in CELERY_BROKER_URL. It said: {error}"
            ) from error
        kind = broker.transport.driver_type
        return f"{kind} ({broker.transport.driver_version()})"


def _cache() -> str:
    cache.set("doctor", "well", 60)
    if cache.get("doctor") != "well":
        raise Unwell(
            "It does not keep what it is given, so pages are slow. Check that it runs, CACHE_URL, "
            "and whether it is out of memory or disk space."
        )
    return f"{settings.CACHES['default']['BACKEND']}"


def _warehouse() -> str:
    writer = Writer(database="default")
    version, now = writer.rows("SELECT version(), now64(3, 'UTC')")[0]
    _check_clock("warehouse server", now.replace(tzinfo=UTC))
    changes = schema.plan()
    if changes:
        raise Unwell(
            f"{len(changes)} tables or views are missing or differ. "
            "Run: manage.py warehouse_schema apply"
        )
    return f"ClickHouse {version}, schema as declared"


def _lake(tenant: Tenant) -> str:
    lake = Lake()
    try:
        with lake_errors(lake.bucket):
            answer = lake.client.list_objects_v2(
                Bucket=lake.bucket, Prefix=f"{tenant.id}/canonical/", MaxKeys=1
            )
    finally:
        lake.client.close()
    told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    if told:
        _check_clock("object store", parsedate_to_datetime(told))
    prefix = f"s3://{lake.bucket}/{tenant.id}/canonical/"
    if not answer.get("KeyCount"):
        raise Unwell(f"There is no file under {prefix}. Has the pipeline upstream run?")
    return f"{prefix} can be listed and holds files"


def _mail() -> str:
    if settings.EMAIL_BACKEND != SMTP:
        return _mail_without_smtp()
    mail = get_connection()
    try:
        mail.open()
    except smtplib.SMTPAuthenticationError as error:
        raise Unwell(
            f"It refused the user or password. Check those in EMAIL_URL. It said: {error}"
        ) from error
    except (smtplib.SMTPException, OSError) as error:
        raise Unwell(
            "It does not answer. Check that it runs, host and port in EMAIL_URL, and smtp+tls or "
            f"smtp+ssl as it wants. It said: {error}"
        ) from error
    finally:
        mail.close()
    return f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT} lets us in"


def _mail_without_smtp() -> str:
    folder = getattr(settings, "EMAIL_FILE_PATH", None)
    if settings.EMAIL_PROVIDER:
        return f"{settings.EMAIL_PROVIDER}, which is asked when a mail is sent"
    if folder and not os.access(Path(folder), os.W_OK):
        raise Unwell(f"Mail is written to {folder}, which is not there or cannot be written to.")
    return f"mail reaches nobody, it goes to {folder or settings.EMAIL_BACKEND}. Set EMAIL_URL."


def _check_clock(whose: str, now: datetime) -> None:
    skew = abs(datetime.now(UTC) - now)
    if skew > MOST_SKEW:
        raise Unwell(
            f"The clock of the {whose} differs from ours by {skew.total_seconds():,.0f} seconds. "
            "Set both by NTP: signatures, schedules and as-of dates rely on it."
        )
