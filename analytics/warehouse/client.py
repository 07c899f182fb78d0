"""Writing: loads and DDL. Nothing here is retried; what may be repeated is the caller's to know."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clickhouse_driver import Client
from django.conf import settings

from analytics.warehouse.pool import Pool, pool
from analytics.warehouse.sql import literal, quote

Params = Mapping[str, Any]


class Writer:
    """Statements that change the warehouse, each on a pooled connection of its own.

    `database` is where unqualified names are looked up: AVESA's own, or another that is sure to
    be there while AVESA's is not. The ids of all statements begin with `label`, by which `kill`
    finds those under way. None runs longer than `seconds`, or else CLICKHOUSE_LOAD_TIMEOUT.
    """

    def __init__(
        self, database: str | None = None, label: str = "avesa-", seconds: int | None = None
    ) -> None:
        self._seconds = seconds or settings.CLICKHOUSE_LOAD_TIMEOUT
        self._pool: Pool = pool(self._seconds, database)
        self._label = label

    def run(self, sql: str, params: Params | None = None, **query_settings: Any) -> int:
        """Execute one statement; returns the rows it wrote, as far as the server reports them."""
        with self._pool.client() as client:
            self._execute(client, sql, params, query_settings)
            progress = client.last_query.progress if client.last_query else None
            return progress.written_rows if progress else 0

    def rows(self, sql: str, params: Params | None = None, **query_settings: Any) -> list[Any]:
        """Rows for the loads' and the schema's own questions; tenants read through `reader`."""
        with self._pool.client() as client:
            result: list[Any] = self._execute(client, sql, params, query_settings)
            return result

    def _execute(
        self, client: Client, sql: str, params: Params | None, query_settings: dict[str, Any]
    ) -> Any:
        limits = {"max_execution_time": self._seconds}
        query_id = f"{self._label}{uuid.uuid4()}"
        return client.execute(
            sql, params or {}, settings=limits | query_settings, query_id=query_id
        )

    def value(self, sql: str, params: Params | None = None, **query_settings: Any) -> Any:
        return self.rows(sql, params, **query_settings)[0][0]

    def insert(self, table: str, columns: Sequence[str], data: Iterable[Sequence[Any]]) -> None:
        """Insert `data`, given column by column, into the quoted name `table`."""
        names = ", ".join(quote(column) for column in columns)
        with self._pool.client() as client:
            client.execute(f"INSERT INTO {table} ({names}) VALUES", list(data), columnar=True)


def kill(label: str) -> int:
    """End the statements under way whose ids begin with `label`; returns how many there were."""
    where = f"startsWith(query_id, {literal(label)})"
    cluster = f" ON CLUSTER {quote(name)}" if (name := settings.CLICKHOUSE_CLUSTER) else ""
    writer = Writer(seconds=settings.CLICKHOUSE_READ_TIMEOUT)
    return len(writer.rows(f"KILL QUERY{cluster} WHERE {where} ASYNC"))


def under_way(label: str) -> tuple[int, int]:
    """(rows, bytes) that statements under way whose ids begin with `label` have read."""
    rows = Writer(seconds=settings.CLICKHOUSE_READ_TIMEOUT).rows(
        "SELECT sum(read_rows), sum(read_bytes) FROM system.processes "
        "WHERE startsWith(query_id, {label:String})",
        {"label": label},
    )
    return int(rows[0][0]), int(rows[0][1])
