"""The chDB engine over one data directory. Nothing else in the project imports chdb."""

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

from analytics.warehouse.embedded.protocol import TIMEZONE
from analytics.warehouse.embedded.server_errors import ServerError, engine_errors
from analytics.warehouse.embedded.statements import QUERY_ID_SQL


def literal(value: str) -> str:
    """`value` as an SQL string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


def identifier(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def encoded(sql: str) -> bytes:
    """The bytes of a statement, which need not be UTF-8."""
    return sql.encode("utf-8", "surrogateescape")


class Engine:
    """At most one per process, and one process per data directory."""

    def __init__(self, directory: Path, memory_limit: int) -> None:
        os.environ["TZ"] = TIMEZONE
        # The engine reads a config.xml from the current directory, so we use our own directory.
        # Also, the path "." needs no escaping in the connection string.
        os.chdir(directory)
        from chdb import _chdb  # loads half a gigabyte; the other modules do not need it

        self._connect: Any = _chdb.connect  # type: ignore[attr-defined]  # a compiled module
        self._address = f".?max_server_memory_usage={memory_limit}"
        self._control = self.open()
        self._control_lock = threading.Lock()
        self.version = self._lines("SELECT version()")[0]
        self.setting_names = frozenset(self._lines("SELECT name FROM system.settings"))

    def open(self) -> Any:
        """A new session of the engine; takes about a millisecond."""
        with engine_errors():
            return self._connect(self._address)

    def version_numbers(self) -> tuple[int, int, int]:
        major, minor, patch = self.version.split(".")[:3]
        return int(major), int(minor), int(patch)

    def kill(self, query_id: str) -> None:
        """Kills a query. Harmless if the query has ended or not started."""
        # It may fail, for example without memory; the caller tries again.
        sql = f"KILL QUERY WHERE {QUERY_ID_SQL} = {literal(query_id)} ASYNC"
        with self._control_lock, contextlib.suppress(ServerError), engine_errors():
            self._control.query(encoded(sql), "Null")

    def _lines(self, sql: str) -> list[str]:
        output: bytes = self._control.query(sql, "TSVRaw").bytes()
        return output.decode().splitlines()
