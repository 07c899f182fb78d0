"""Statements that are not bound to one tenant: loads, DDL, checks.

Nothing here is retried: only the caller knows what may be repeated.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from clickhouse_driver import Client as DriverClient
from django.conf import settings

from analytics.warehouse.pool import Pool, pool
from analytics.warehouse.sql import literal, quote

Params = Mapping[str, Any]


class Written(NamedTuple):
    """What a statement wrote, as far as the server reports it; `size` in bytes, uncompressed."""

    rows: int
    size: int


class WarehouseClient:
    """Runs statements for loads, schema changes and checks, each on a pooled connection of its own.

    Pages and the API read through `TenantReader` instead. `database` is where unqualified names
    are looked up: AVESA's own by default, or one that exists before AVESA's does. The ids of all
    statements begin with `label`, by which `kill` finds the running ones. No statement runs longer
    than `seconds` (default: CLICKHOUSE_LOAD_TIMEOUT), or takes more memory than
    CLICKHOUSE_LOAD_MEMORY_MB.
    """

    def __init__(
        self, database: str | None = None, label: str = "avesa-", seconds: int | None = None
    ) -> None:
        self._seconds = seconds or settings.CLICKHOUSE_LOAD_TIMEOUT
        self._pool: Pool = pool(self._seconds, database)
        self._label = label

    def run(self, sql: str, params: Params | None = None, **query_settings: Any) -> Written:
        """Run one statement; return what it wrote."""
        with self._pool.client() as client:
            self._execute(client, sql, params, query_settings)
            progress = client.last_query.progress if client.last_query else None
            if progress is None:
                return Written(0, 0)
            return Written(progress.written_rows, progress.written_bytes)

    def rows(self, sql: str, params: Params | None = None, **query_settings: Any) -> list[Any]:
        """Run one statement; return its rows."""
        with self._pool.client() as client:
            result: list[Any] = self._execute(client, sql, params, query_settings)
            return result

    def _execute(
        self, client: DriverClient, sql: str, params: Params | None, query_settings: dict[str, Any]
    ) -> Any:
        query_id = f"{self._label}{uuid.uuid4()}"
        return client.execute(
            sql, params or {}, settings=self._limits() | query_settings, query_id=query_id
        )

    def _limits(self) -> dict[str, Any]:
        return {
            "max_execution_time": self._seconds,
            **memory_limit(settings.CLICKHOUSE_LOAD_MEMORY_MB),
        }

    def value(self, sql: str, params: Params | None = None, **query_settings: Any) -> Any:
        """The first column of the first row."""
        return self.rows(sql, params, **query_settings)[0][0]

    def insert(self, table: str, columns: Sequence[str], data: Iterable[Sequence[Any]]) -> None:
        """Insert `data`, a sequence per column, into `table`, a quoted name."""
        names = ", ".join(quote(column) for column in columns)
        with self._pool.client() as client:
            client.execute(
                f"INSERT INTO {table} ({names}) VALUES",
                list(data),
                columnar=True,
                settings=self._limits(),
            )


def memory_limit(megabytes: int) -> dict[str, int]:
    """Settings of a statement that may take so much memory; 0: as much as the server allows."""
    return {"max_memory_usage": megabytes << 20} if megabytes else {}


def kill(label: str) -> int:
    """Cancel the running statements whose ids begin with `label`; return how many there were."""
    where = f"startsWith(query_id, {literal(label)})"
    cluster = f" ON CLUSTER {quote(name)}" if (name := settings.CLICKHOUSE_CLUSTER) else ""
    client = WarehouseClient(seconds=settings.CLICKHOUSE_READ_TIMEOUT)
    return len(client.rows(f"KILL QUERY{cluster} WHERE {where} ASYNC"))


def under_way(label: str) -> tuple[int, int]:
    """(rows, bytes) read so far by the running statements whose ids begin with `label`."""
    rows = WarehouseClient(seconds=settings.CLICKHOUSE_READ_TIMEOUT).rows(
        "SELECT sum(read_rows), sum(read_bytes) FROM system.processes "
        "WHERE startsWith(query_id, {label:String})",
        {"label": label},
    )
    return int(rows[0][0]), int(rows[0][1])
