"""Reads the warehouse for one tenant.

Independent layers isolate tenants (docs/architecture.md, "Isolation"):
1. SQL reads only parameterized views and `tenant_rows` of tables, and only the reader binds
   `tenant_id`.
2. Every statement has `additional_table_filters` for every table with tenants' rows.
3. With CLICKHOUSE_READER_URL, it runs as a user that can only read, and whose row policies compare
   `tenant_id` with the statement's `log_comment` (`reader_role`).

No tenant can take the warehouse from the others: each has a share of the statements at once
(`turns.py`), and each statement has limits of threads, memory and time. If several statements of a
tenant run, the engine pauses the later ones while first ones of others run (`priority`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from time import perf_counter
from typing import IO, Any

from django.conf import settings

from analytics.warehouse.catalog import LOG_TABLES, TABLES
from analytics.warehouse.errors import NotGranted, Unreachable
from analytics.warehouse.exports import Watch, table_file
from analytics.warehouse.exports import limits as export_limits
from analytics.warehouse.pool import Pool, WarehouseAddress, pool, reader_login
from analytics.warehouse.sql import is_scoped, literal
from analytics.warehouse.turns import Turns
from common.spreadsheets import Sheet
from tenants.models import TENANT_ID_PATTERN, Tenant

MAX_WAIT = 20  # seconds for a turn
PAUSE_MILLISECONDS = 50  # how long a later statement waits for first ones of others, per block
EXPORT_RANK = 20  # any statement of a page comes before exports
MIN_MEMORY = 512 << 20
_SHARED = [table.shared_name for table in TABLES.values()] + [log.name for log in LOG_TABLES]
# Forbidden in a tenant's statement, since it could override the filters of layer 2.
_FORBIDDEN = re.compile(r"(?i)\bSETTINGS\b|\badditional_table_filters\b|;")


class RefusedStatement(ValueError):
    """The statement could read other tenants' rows, so it is not sent."""


@dataclass(frozen=True)
class Rows:
    """A result: column names, rows, and the duration in milliseconds."""

    columns: tuple[str, ...]
    values: list[tuple[Any, ...]]
    milliseconds: float

    def dicts(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.values]

    def one(self) -> dict[str, Any]:
        """The only row."""
        (row,) = self.dicts()
        return row


class TenantReader:
    """Runs SELECTs that see only one tenant's rows."""

    def __init__(self, tenant: Tenant) -> None:
        if not isinstance(tenant, Tenant) or not re.match(TENANT_ID_PATTERN, tenant.id or ""):
            raise RefusedStatement("A reader needs a tenant with a valid id.")
        self.tenant = tenant

    def select(self, sql: str, params: Mapping[str, Any] | None = None) -> Rows:
        """The rows of `sql`, with `params` and `{tenant_id:String}` bound by name.

        Datetimes must be aware; they are bound in UTC to the millisecond. A lost connection is
        retried once, which is safe for reads. Raises WarehouseError, RefusedStatement.
        """
        bound = self._bound(sql, params)
        try:
            return self._send(sql, bound)
        except Unreachable:
            return self._send(sql, bound)

    def table_file(
        self,
        sql: str,
        params: Mapping[str, Any] | None,
        sheet: Sheet,
        kind: str,
        watch: Watch | None = None,
    ) -> IO[bytes]:
        """A temporary file (csv or xlsx) with all rows of `sql`, however many there are.

        With `watch`, as a job (`exports.table_file`). Raises ExportRefused, ExportStopped,
        WarehouseError, RefusedStatement.
        """
        bound = self._bound(sql, params)
        seconds, _ = export_limits(is_job=watch is not None)
        limits = {"max_threads": 1, "max_execution_time": seconds}
        statement = sql, bound, self._settings(EXPORT_RANK) | limits
        return table_file(self.tenant.id, statement, sheet, kind, self.tenant.zone, watch)

    def _bound(self, sql: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
        if _FORBIDDEN.search(sql):
            raise RefusedStatement("A tenant's statement must not contain SETTINGS or a semicolon.")
        if not is_scoped(sql, _SHARED):
            raise RefusedStatement("A tenant's statement must read tables through tenant_rows.")
        bound = {name: _bind(value) for name, value in (params or {}).items()}
        bound["tenant_id"] = self.tenant.id
        return bound

    def _send(self, sql: str, bound: dict[str, Any]) -> Rows:
        started = perf_counter()
        with _turns().turn(self.tenant.id) as rank, _pool().client() as client:
            values, columns = client.execute(
                sql, bound, with_column_types=True, settings=self._settings(rank)
            )
        milliseconds = (perf_counter() - started) * 1000
        return Rows(tuple(name for name, _ in columns), values, milliseconds)

    def _settings(self, rank: int) -> dict[str, Any]:
        threads, memory = statement_limits()
        return {
            "priority": rank,
            "low_priority_query_wait_time_ms": PAUSE_MILLISECONDS,
            "max_threads": threads,
            "max_memory_usage": memory,
            "additional_table_filters": tenant_filters(self.tenant.id),
            "log_comment": self.tenant.id,
            "readonly": 2,
            "max_execution_time": settings.CLICKHOUSE_READ_TIMEOUT,
        }


def _pool() -> Pool:
    return pool(settings.CLICKHOUSE_READ_TIMEOUT, login=reader_login())


@lru_cache
def _turns_of(size: int) -> Turns:
    return Turns(size, MAX_WAIT)


def _turns() -> Turns:
    return _turns_of(settings.CLICKHOUSE_POOL_SIZE)


def statement_limits() -> tuple[int, int]:
    """The threads and the bytes of memory of one statement of a page."""
    threads, memory = settings.READER_THREADS, settings.READER_MEMORY_MB << 20
    if not threads or not memory:
        engine_threads, engine_memory = _engine(reader_login().address())
        threads = threads or max(2, engine_threads // 2)
        memory = memory or max(MIN_MEMORY, engine_memory // 8)
    return threads, memory


@lru_cache
def _engine(at: WarehouseAddress) -> tuple[int, int]:
    """The threads and the memory of the server at this address; 0 if it does not tell."""
    with _pool().client() as client:
        [(threads,)] = client.execute("SELECT getSetting('max_threads')")
    sql = "SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'"
    try:
        with _pool().client() as client:
            found = client.execute(sql)
    except NotGranted:
        found = []
    return threads, int(found[0][0]) if found else 0


def tenant_filters(tenant_id: str) -> str:
    """The `additional_table_filters` value that hides every other tenant's rows."""
    database = reader_login().address().database
    predicate = f"tenant_id = {literal(tenant_id)}"
    pairs = (f"{literal(f'{database}.{name}')}: {literal(predicate)}" for name in _SHARED)
    return "{" + ", ".join(pairs) + "}"


def _bind(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("Datetimes for the warehouse must be aware.")
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return value
