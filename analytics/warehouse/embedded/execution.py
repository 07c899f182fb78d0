"""Running one query of a client and answering it."""

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

from analytics.warehouse.embedded import compression
from analytics.warehouse.embedded.answer import Answer
from analytics.warehouse.embedded.blocks import Column, from_buffers, from_native, header
from analytics.warehouse.embedded.column_types import layout
from analytics.warehouse.embedded.engine import identifier, literal
from analytics.warehouse.embedded.incoming import ExternalTable, Incoming
from analytics.warehouse.embedded.inserts import ClientInsert
from analytics.warehouse.embedded.protocol import Query
from analytics.warehouse.embedded.server_errors import (
    NO_SUCH_COLUMN_IN_TABLE,
    QUERY_WAS_CANCELLED,
    ServerError,
    internal_error,
)
from analytics.warehouse.embedded.session import Session
from analytics.warehouse.embedded.spool import Spool
from analytics.warehouse.embedded.statements import Kind, Statement, parse
from analytics.warehouse.embedded.watcher import Outcome, Watch, Watcher

_LOGGED_CHARACTERS = 300
_LEVELS_WITH_QUERIES = ("debug", "trace", "test")  # of what a client may ask for


class Execution:
    """Runs a query and sends its response. Errors of the query are sent, not raised."""

    def __init__(
        self,
        session: Session,
        watcher: Watcher,
        client: socket.socket,
        query: Query,
        incoming: Incoming,
        revision: int,
    ) -> None:
        self.answer = Answer(client, _method(query), revision)
        self.broken = False  # whether the connection must end after the answer
        self._session = session
        self._watcher = watcher
        self._client = client
        self._query = query
        self._incoming = incoming
        self._id = query.query_id or str(uuid4())

    def run(self) -> None:
        try:
            with ExitStack() as files:
                tables = self._incoming.external_tables(files)
                if self._query.setting("send_logs_level") in _LEVELS_WITH_QUERIES:
                    self.answer.log(self._id, self._query.sql)
                statement = parse(self._query.sql)
                files.enter_context(self._watcher.running(self._id))
                self._run_in_session(statement, tables)
        except ServerError as error:
            log(f"query {self._id} failed: {error.code} {error.text}")
            self.answer.error(error)
        except OSError:
            raise  # the client disconnected
        except Exception as error:  # a mistake of ours must not look like a lost connection
            log(f"query {self._id} met an internal error: {error!r}")
            self.answer.error(internal_error(error))
            self.broken = True
        else:
            self.answer.end()
        self.broken |= self.answer.gone or self._incoming.broken

    def _run_in_session(self, statement: Statement, tables: list[ExternalTable]) -> None:
        with ExitStack() as tables_in_session:
            for table in tables:  # before the query's settings, which may be readonly
                tables_in_session.enter_context(self._created(table))
            self._session.begin(self._query, self._id)
            try:
                self._dispatch(statement)
            finally:
                self._session.end()

    def _dispatch(self, statement: Statement) -> None:
        if statement.insert is not None:
            self._insert(statement.insert)
        elif statement.kind is Kind.SELECT:
            self._select(statement.sql)
        elif statement.kind is Kind.SESSION:
            self._session.run_lasting(statement.sql)
        else:
            if statement.victims:
                self._watcher.killed(self._session.lines(statement.victims))
            self._other(statement.sql)

    def _select(self, sql: str) -> None:
        with self._cancelable() as watch:
            columns = self._session.describe(sql, self._query.parameters)
            self.answer.block(header(columns))
            pieces = self._session.stream(sql, self._query.parameters, self.answer.progress)
            for piece in pieces:
                # Read a canceled query until its KILL takes effect: while a stream is open, the
                # session answers no other query.
                if watch.outcome is Outcome.RUNNING:
                    for block in from_buffers(columns, piece):
                        self.answer.block(block)
        self.answer.profile_info()

    def _other(self, sql: str) -> None:
        with self._cancelable():
            output = self._session.run(sql, self._query.parameters, self.answer.progress)
            for number, block in enumerate(from_native(output)):
                if not number:
                    self.answer.block(header(block.columns))
                self.answer.block(block)
            if output:
                self.answer.profile_info()

    def _insert(self, insert: ClientInsert) -> None:
        columns = self._session.insert_columns(insert, self._query.parameters)
        for column in columns:
            layout(column.type)  # refuses unknown types before any data is sent
        self.answer.sample(header(columns))
        with Spool(self._incoming.directory) as spool:
            for given in self._incoming.blocks(spool):
                _check_names(given, columns)
                spool.check()
                self.answer.profile_events()
            spool.seal()
            spool.check()
            if spool.rows:
                # As on a server, there is no progress: the client knows what it has sent.
                self._session.run(insert.from_file(str(spool.path)), self._query.parameters)
        self.answer.profile_events()

    @contextmanager
    def _cancelable(self) -> Iterator[Watch]:
        """If the client cancels the query, it ends without an error after the rows sent so far."""
        with self._watcher.watching(self._client, self._id) as watch:
            try:
                yield watch
            except ServerError as error:
                is_canceled = watch.outcome in (Outcome.CANCELED, Outcome.GONE)
                if error.code != QUERY_WAS_CANCELLED or not is_canceled:
                    raise
            self.answer.gone |= watch.outcome is Outcome.GONE

    @contextmanager
    def _created(self, table: ExternalTable) -> Iterator[None]:
        self._session.restore()
        name = identifier(table.name)
        columns = ", ".join(f"{identifier(c.name)} {c.type}" for c in table.columns)
        self._session.run(f"CREATE TEMPORARY TABLE {name} ({columns}) ENGINE = Memory")
        path = literal(str(table.spool.path))
        if table.spool.rows:
            self._session.run(f"INSERT INTO {name} FROM INFILE {path} FORMAT Native")
        try:
            yield
        finally:
            self._session.restore()
            self._session.run(f"DROP TEMPORARY TABLE IF EXISTS {name}")


def _check_names(given: tuple[Column, ...], expected: tuple[Column, ...]) -> None:
    """The engine would ignore a column of another name, and its values would be lost."""
    given_names, names = (sorted(c.name for c in columns) for columns in (given, expected))
    if given_names != names:
        raise ServerError(
            NO_SUCH_COLUMN_IN_TABLE,
            f"The block has the columns {', '.join(given_names)}; this INSERT takes "
            f"{', '.join(names)} (NO_SUCH_COLUMN_IN_TABLE)",
        )


def log(text: str) -> None:
    """One short line to the server's log."""
    line = " ".join(text.split())[:_LOGGED_CHARACTERS]
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
    sys.stderr.flush()


def _method(query: Query) -> int | None:
    """The compression that this client requested; drivers read both methods."""
    if not query.compression:
        return None
    wanted = (query.setting("network_compression_method") or "lz4").lower()
    return compression.ZSTD if wanted == "zstd" else compression.LZ4
