"""Reads the warehouse for one tenant.

Independent layers isolate tenants (docs/architecture.md, "Isolation"):
1. SQL reads only parameterized views and `tenant_rows` of tables, and only the reader binds
   `tenant_id`.
2. Every statement has `additional_table_filters` for every table with tenants' rows.
3. With CLICKHOUSE_READER_URL, it runs as a user that can only read, and whose row policies compare
   `tenant_id` with the statement's `log_comment` (`reader_role`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from django.conf import settings

from analytics.warehouse.catalog import LOG_TABLES, TABLES
from analytics.warehouse.errors import Unreachable
from analytics.warehouse.pool import Pool, pool, reader_login
from analytics.warehouse.sql import is_scoped, literal
from tenants.models import TENANT_ID_PATTERN, Tenant

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

    def stream(
        self, sql: str, params: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """The same, as a stream of rows, for results that may not fit into memory.

        It holds a connection until it is exhausted or closed.
        """
        bound = self._bound(sql, params)
        limits = {"max_execution_time": settings.CLICKHOUSE_LOAD_TIMEOUT}
        with _pool().client() as client:
            yield from client.execute_iter(sql, bound, settings=self._settings() | limits)

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
        with _pool().client() as client:
            values, columns = client.execute(
                sql, bound, with_column_types=True, settings=self._settings()
            )
        milliseconds = (perf_counter() - started) * 1000
        return Rows(tuple(name for name, _ in columns), values, milliseconds)

    def _settings(self) -> dict[str, Any]:
        return {
            "additional_table_filters": tenant_filters(self.tenant.id),
            "log_comment": self.tenant.id,
            "readonly": 2,
            "max_execution_time": settings.CLICKHOUSE_READ_TIMEOUT,
        }


def _pool() -> Pool:
    return pool(settings.CLICKHOUSE_READ_TIMEOUT, login=reader_login())


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
