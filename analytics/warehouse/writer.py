"""Writing: loads and DDL. Nothing here is retried; what may be repeated is the caller's to know."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.conf import settings

from .connection import Pool, pool

Params = Mapping[str, Any]


class Writer:
    """Statements that change the warehouse, each on a pooled connection of its own.

    `database` is where unqualified names are looked up: AVESA's own, or another that is sure to
    be there while AVESA's is not.
    """

    def __init__(self, database: str | None = None) -> None:
        self._pool: Pool = pool(settings.CLICKHOUSE_LOAD_TIMEOUT, database)

    def run(self, sql: str, params: Params | None = None, **query_settings: Any) -> int:
        """Execute one statement; returns the rows it wrote, as far as the server reports them."""
        with self._pool.client() as client:
            client.execute(
                sql, params or {}, settings=query_settings, query_id=f"avesa-{uuid.uuid4()}"
            )
            progress = client.last_query.progress if client.last_query else None
            return progress.written_rows if progress else 0

    def rows(self, sql: str, params: Params | None = None, **query_settings: Any) -> list[Any]:
        """Rows for the loads' and the schema's own questions; tenants read through `reader`."""
        with self._pool.client() as client:
            result: list[Any] = client.execute(sql, params or {}, settings=query_settings)
            return result

    def value(self, sql: str, params: Params | None = None, **query_settings: Any) -> Any:
        return self.rows(sql, params, **query_settings)[0][0]

    def insert(self, table: str, columns: Sequence[str], data: Iterable[Sequence[Any]]) -> None:
        """Insert `data`, given column by column, into the quoted name `table`."""
        names = ", ".join(quote(column) for column in columns)
        with self._pool.client() as client:
            client.execute(f"INSERT INTO {table} ({names}) VALUES", list(data), columnar=True)


def quote(identifier: str) -> str:
    """`identifier` as ClickHouse quotes it. Identifiers come from the catalog, values never."""
    return "`" + identifier.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """`text` as a ClickHouse string literal, for the few places that take no parameters."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
