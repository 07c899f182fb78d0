"""One client connection: a hello, then queries until the client disconnects."""

import hmac
import socket
from dataclasses import dataclass
from pathlib import Path

from analytics.warehouse.embedded import protocol
from analytics.warehouse.embedded.answer import Answer
from analytics.warehouse.embedded.byte_reader import Reader
from analytics.warehouse.embedded.engine import Engine
from analytics.warehouse.embedded.execution import Execution
from analytics.warehouse.embedded.incoming import Incoming
from analytics.warehouse.embedded.protocol import ClientPacket, Hello, ServerPacket
from analytics.warehouse.embedded.server_errors import (
    AUTHENTICATION_FAILED,
    NOT_IMPLEMENTED,
    UNEXPECTED_PACKET,
    ServerError,
)
from analytics.warehouse.embedded.session import Session
from analytics.warehouse.embedded.watcher import Watcher

_PIECE = 1 << 20


@dataclass(frozen=True)
class Services:
    """Objects shared by all connections."""

    engine: Engine
    watcher: Watcher
    spool: Path
    user: str
    password: str


class Connection:
    """Serves one socket until the client disconnects."""

    def __init__(self, client: socket.socket, services: Services) -> None:
        self._client = client
        self._services = services
        self._reader = Reader(lambda: client.recv(_PIECE))
        self._incoming = Incoming(self._reader, False, services.spool)

    def serve(self) -> None:
        try:
            session = self._greet()
        except ServerError as error:
            Answer(self._client, None).error(error)
            return
        try:
            while self._reader.more() and self._packet(session):
                pass
        finally:
            session.close()

    def _greet(self) -> Session:
        if self._reader.varint() != ClientPacket.HELLO:
            raise ServerError(
                UNEXPECTED_PACKET,
                "This port speaks ClickHouse's native protocol, not HTTP "
                "(UNEXPECTED_PACKET_FROM_CLIENT)",
            )
        hello = protocol.read_hello(self._reader)
        _check_revision(hello)
        self._check_password(hello)
        session = Session(self._services.engine, hello.database)
        self._client.sendall(protocol.write_hello(self._services.engine.version_numbers()))
        self._reader.text()  # the addendum: a quota key
        return session

    def _check_password(self, hello: Hello) -> None:
        expected = f"{self._services.user}:{self._services.password}"
        given = f"{hello.user}:{hello.password}"
        if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape")):
            raise ServerError(
                AUTHENTICATION_FAILED,
                f"{hello.user}: Authentication failed: password is incorrect, or there is no "
                "user with such name. (AUTHENTICATION_FAILED)",
            )

    def _packet(self, session: Session) -> bool:
        """Handles the next packet; returns whether to continue."""
        kind = self._reader.varint()
        if kind == ClientPacket.PING:
            self._client.sendall(protocol.varint(ServerPacket.PONG))
        elif kind == ClientPacket.QUERY:
            return self._query(session)
        elif kind == ClientPacket.DATA:
            self._incoming.skip_block()  # the rest of an INSERT that has failed
        elif kind != ClientPacket.CANCEL:  # a cancel may come after the end of its query
            error = ServerError(
                UNEXPECTED_PACKET, f"Unknown packet {kind} (UNEXPECTED_PACKET_FROM_CLIENT)"
            )
            Answer(self._client, None).error(error)
            return False
        return True

    def _query(self, session: Session) -> bool:
        query = protocol.read_query(self._reader)
        self._incoming = Incoming(self._reader, query.compression, self._services.spool)
        execution = Execution(session, self._services.watcher, self._client, query, self._incoming)
        execution.run()
        return not (execution.answer.gone or self._incoming.broken)


def _check_revision(hello: Hello) -> None:
    if hello.revision < protocol.REVISION:
        raise ServerError(
            NOT_IMPLEMENTED,
            f"{hello.client} speaks protocol revision {hello.revision}; this endpoint needs "
            f"{protocol.REVISION} or later: use a newer driver, for example clickhouse-driver "
            "0.2.6 (NOT_IMPLEMENTED)",
        )
