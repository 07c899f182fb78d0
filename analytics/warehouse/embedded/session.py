"""One client's session inside the engine."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from analytics.warehouse.embedded.blocks import Column
from analytics.warehouse.embedded.byte_reader import Reader
from analytics.warehouse.embedded.engine import Engine, encoded, identifier, literal
from analytics.warehouse.embedded.inserts import ClientInsert
from analytics.warehouse.embedded.protocol import Query, Setting
from analytics.warehouse.embedded.server_errors import (
    BAD_ARGUMENTS,
    NO_SUCH_COLUMN_IN_TABLE,
    READONLY,
    UNKNOWN_SETTING,
    ServerError,
    engine_errors,
)

# A client that sends `1` must get an error; drivers parse the short form of types.
_BASE_SETTINGS = {"implicit_select": "0", "print_pretty_type_names": "0"}
# Would send the engine's log to our stderr; the client gets a line from the endpoint instead.
_IGNORED_SETTINGS = ("send_logs_level",)
# What statements of our own need, whatever the client has set.
_NEEDED = {
    **dict.fromkeys(("max_result_rows", "max_result_bytes", "limit", "offset"), "0"),
    **dict.fromkeys(("describe_compact_output", "describe_include_subcolumns"), "0"),
    **{"describe_extend_object_types": "0", "print_pretty_type_names": "0"},
    "result_overflow_mode": "'throw'",
}
_DESCRIBE_FIELDS = 7
_QUERY_SIZE = 1 << 18  # the engine's default of max_query_size
_NOT_INSERTED_BY_DEFAULT = ("MATERIALIZED", "ALIAS", "EPHEMERAL")

Progress = Callable[[Mapping[str, int]], None]


class Session:
    """Runs statements one at a time. Raises ServerError."""

    def __init__(self, engine: Engine, database: str) -> None:
        self._engine = engine
        self._on_progress: Progress | None = None
        self._given: dict[str, str] = {}  # settings of the last query, still set
        self._before: dict[str, str] = {}  # the same settings, as SQL, before that query
        self._client_set_something = False
        self._locked = ""  # the value of readonly that this session is held at
        self._held_back: dict[str, str] = {}  # settings that would stop our own statements
        self._database = database  # in which to continue after a query with such settings
        self._connection = self._open(database)

    def close(self) -> None:
        self._connection.close()

    def begin(self, query: Query, query_id: str) -> None:
        """Applies the query's settings and id, and reverts those of the last query."""
        given = {s.name: s.value for s in self._known(query.settings)}
        held_back = {n: given.pop(n) for n in [*given] if _stops_us(n, given[n])}
        if self._locked and given.get("readonly") != self._locked:
            self._unlock()
        own_comment = given.pop("log_comment", "")
        comment = f"{query_id}\n{own_comment}" if own_comment else query_id
        before = self._values_before(given)
        changes = [f"log_comment = {literal(comment)}", *self._differences(given)]
        try:
            self._run(f"SET {', '.join(changes)}", "Null")
        except ServerError as error:
            # In a session that the client made readonly, nothing can be set, not even our id.
            if error.code != READONLY or len(changes) > 1:
                raise
        self._given, self._before = given, before
        if held_back:
            self._database, self._held_back = self._current_database(), held_back

    def end(self) -> None:
        """Call after the query. The readonly setting of a session cannot be reverted.

        With readonly = 2 all other settings can still be changed, so the session is kept for
        more queries of that kind. With 1, not even the next query's id can be set.
        """
        if self._held_back:
            self._unlock()
        elif self._given.get("readonly") == "2":
            self._locked = "2"

    def _unlock(self) -> None:
        """Continues in a new session of the same database."""
        if not self._held_back:
            self._database = self._current_database()
        self._connection.close()
        self._given, self._before, self._client_set_something = {}, {}, False
        self._locked, self._held_back = "", {}
        self._connection = self._open(self._database)

    def run_lasting(self, sql: str) -> None:
        """Runs SET or USE, whose effect lasts, without the query's own settings for results."""
        self.restore()
        self._client_set_something = True
        self._apply_held_back()
        self._run(sql, "Null")
        if self._held_back:
            self._database = self._current_database()

    def restore(self) -> None:
        """Reverts the settings of the last query."""
        if self._locked:
            self._unlock()
        if self._given:
            self._run(f"SET {', '.join(self._differences({}))}", "Null")
        self._given, self._before = {}, {}

    def describe(self, query: str, parameters: dict[str, str]) -> tuple[Column, ...]:
        """Names and types of a SELECT's result."""
        return tuple(column for column, _ in self._describe(f"({query}\n)", parameters))

    def insert_columns(
        self, insert: ClientInsert, parameters: dict[str, str]
    ) -> tuple[Column, ...]:
        """Names and types that the client's blocks must have."""
        if insert.column_list is not None and insert.names is None:
            # From parts of the client's own statement.
            return self.describe(f"SELECT {insert.column_list} FROM {insert.target}", parameters)
        described = self._describe(insert.target, parameters)
        if insert.names is None:
            return tuple(c for c, default in described if default not in _NOT_INSERTED_BY_DEFAULT)
        by_name = {column.name: column for column, _ in described}
        return tuple(_named(by_name, name, insert.target) for name in insert.names)

    def run(
        self,
        sql: str,
        parameters: dict[str, str] | None = None,
        progress: Progress | None = None,
    ) -> bytes:
        """Runs a statement to its end; returns its output as FORMAT Native."""
        self._apply_held_back()
        with self._reporting(progress):
            return self._run(sql, "Native", parameters)

    def lines(self, sql: str) -> list[str]:
        """The values of the only column of a query of our own."""
        reader = Reader.of(self._run(f"{sql}\n{self._unaffected()}", "RowBinary"))
        texts = []
        while reader.more():
            texts.append(reader.text())
        return texts

    def stream(self, sql: str, parameters: dict[str, str], progress: Progress) -> Iterator[bytes]:
        """Pieces of the engine's Buffers output, one at a time."""
        self._apply_held_back()
        with self._reporting(progress):
            result = self._send(sql, parameters)
            rows = size = 0
            while (piece := self._fetch(result)).rows_read():
                rows += piece.storage_rows_read()
                size += piece.storage_bytes_read()
                yield piece.bytes()
            # The engine reports no progress for short queries.
            progress({"read_rows": rows, "read_bytes": size, "total_rows_to_read": rows})

    @contextmanager
    def _reporting(self, progress: Progress | None) -> Iterator[None]:
        self._on_progress = progress
        try:
            yield
        finally:
            self._on_progress = None

    def _apply_held_back(self) -> None:
        if self._held_back:
            changes = (f"{name} = {literal(value)}" for name, value in self._held_back.items())
            self._run(f"SET {', '.join(changes)}", "Null")

    def _current_database(self) -> str:
        return self.lines("SELECT currentDatabase()")[0]

    def _open(self, database: str) -> Any:
        connection = self._engine.open()
        connection.set_progress_callback(self._progress)
        base = ", ".join(f"{name} = {value}" for name, value in _BASE_SETTINGS.items())
        try:
            with engine_errors():
                connection.query(f"SET {base}", "Null")
                if database:
                    connection.query(encoded(f"USE {identifier(database)}"), "Null")
        except ServerError:
            connection.close()
            raise
        return connection

    def _progress(self, values: Mapping[str, int]) -> None:
        if self._on_progress is not None:
            self._on_progress(values)

    def _known(self, settings: tuple[Setting, ...]) -> Iterator[Setting]:
        for setting in settings:
            if setting.name in _IGNORED_SETTINGS:
                continue
            if setting.name in self._engine.setting_names:
                yield setting
            elif setting.important:
                raise ServerError(
                    UNKNOWN_SETTING, f"Unknown setting '{setting.name}' (UNKNOWN_SETTING)"
                )

    def _differences(self, given: dict[str, str]) -> list[str]:
        """Assignments that change the last query's settings to `given`."""
        stale = [f"{name} = {self._before[name]}" for name in self._given if name not in given]
        fresh = [
            f"{name} = {literal(value)}"
            for name, value in given.items()
            if self._given.get(name) != value
        ]
        return stale + fresh

    def _values_before(self, given: dict[str, str]) -> dict[str, str]:
        """The values to restore after the query, as SQL."""
        known = {name: self._before[name] for name in given if name in self._before}
        fresh = {name: _base_value(name) for name in given if name not in known}
        if fresh and self._client_set_something:
            names = ", ".join(map(literal, fresh))
            changed = "SELECT name, value FROM system.settings WHERE changed"
            fresh |= self._pairs(f"{changed} AND name IN ({names})")
        return known | fresh

    def _pairs(self, sql: str) -> dict[str, str]:
        reader = Reader.of(self._run(f"{sql} {self._unaffected()}", "RowBinary"))
        pairs: dict[str, str] = {}
        while reader.more():
            name = reader.text()
            pairs[name] = literal(reader.text())
        return pairs

    def _describe(self, what: str, parameters: dict[str, str]) -> list[tuple[Column, str]]:
        """Columns of a table, table function or subquery, each with its kind of default."""
        sql = f"DESCRIBE TABLE {what} {self._unaffected()}"
        reader = Reader.of(self._run(sql, "RowBinary", parameters))
        described = []
        while reader.more():
            fields = [reader.text() for _ in range(_DESCRIBE_FIELDS)]
            described.append((Column(fields[0], fields[1]), fields[2]))
        return described

    def _unaffected(self) -> str:
        """The SETTINGS of a statement of our own; empty if there is nothing to change."""
        names = _NEEDED if self._client_set_something else _NEEDED.keys() & self._given.keys()
        changes = ", ".join(f"{name} = {_NEEDED[name]}" for name in names)
        return f"SETTINGS {changes}" if changes else ""

    def _run(self, sql: str, output: str, parameters: dict[str, str] | None = None) -> bytes:
        with engine_errors():
            result = self._connection.query(encoded(sql), output, params=_checked(parameters))
            return result.bytes() or b""

    def _send(self, sql: str, parameters: dict[str, str]) -> Any:
        with engine_errors():
            return self._connection.send_query(encoded(sql), "Buffers", params=_checked(parameters))

    def _fetch(self, result: Any) -> Any:
        with engine_errors():
            return self._connection.streaming_fetch_result(result)


def _stops_us(name: str, value: str) -> bool:
    """Whether nothing could be set in the session any more, or not in one statement."""
    if name == "max_query_size":
        return value.isdecimal() and 0 < int(value) < _QUERY_SIZE
    return name == "readonly" and value not in ("", "0", "2")


def _checked(parameters: dict[str, str] | None) -> dict[str, str]:
    """The engine takes parameters as text only."""
    for name, value in (parameters or {}).items():
        try:
            f"{name}{value}".encode()
        except UnicodeEncodeError:
            raise ServerError(
                BAD_ARGUMENTS, "A query parameter is not valid UTF-8 (BAD_ARGUMENTS)"
            ) from None
    return parameters or {}


def _base_value(name: str) -> str:
    return _BASE_SETTINGS.get(name, "DEFAULT")


def _named(by_name: dict[str, Column], name: str, table: str) -> Column:
    try:
        return by_name[name]
    except KeyError:
        raise ServerError(
            NO_SUCH_COLUMN_IN_TABLE,
            f"No such column {name} in table {table} (NO_SUCH_COLUMN_IN_TABLE)",
        ) from None
