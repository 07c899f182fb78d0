"""One client connection: a hello, then queries until the client disconnects."""

import hashlib
import hmac
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from analytics.warehouse.embedded import protocol
from analytics.warehouse.embedded.answer import Answer
from analytics.warehouse.embedded.byte_reader import MAX_TEXT, Reader
from analytics.warehouse.embedded.engine import Engine
from analytics.warehouse.embedded.execution import Execution, log
from analytics.warehouse.embedded.incoming import Incoming
from analytics.warehouse.embedded.protocol import ClientPacket, Hello, ServerPacket
from analytics.warehouse.embedded.server_errors import (
    AUTHENTICATION_FAILED,
    NOT_IMPLEMENTED,
    SOCKET_TIMEOUT,
    UNEXPECTED_PACKET,
    ServerError,
    internal_error,
)
from analytics.warehouse.embedded.session import Session
from analytics.warehouse.embedded.watcher import Watcher

_MAX_TEXT_BEFORE_LOGIN = 1 << 16  # bytes
_PIECE = 1 << 20


@dataclass(frozen=True)
class Services:
    """Objects shared by all connections."""

    engine: Engine
    watcher: Watcher
    spool: Path
    user: str
    password: str
    login_seconds: float  # that a client has to log in
    packet_seconds: float  # without a byte in the middle of a packet, in either direction


class Connection:
    """Serves one socket until the client disconnects."""

    def __init__(
        self, client: socket.socket, services: Services, authenticated: Callable[[], None]
    ) -> None:
        """Calls `authenticated` after the check of the password; it may raise ServerError."""
        self._client = client
        self._services = services
        self._authenticated = authenticated
        self._deadline: float | None = time.monotonic() + services.login_seconds
        self._reader = Reader(self._receive)
        self._reader.max_text = _MAX_TEXT_BEFORE_LOGIN
        self._incoming = Incoming(self._reader, False, services.spool)
        self._revision = protocol.REVISION
        _set_timeout(client, socket.SO_SNDTIMEO, services.login_seconds)

    def serve(self) -> None:
        """Whatever the client does, it gets an exception packet before this side disconnects."""
        try:
            session = self._greet()
            try:
                while self._next_packet() and self._packet(session):
                    pass
            finally:
                session.close()
        except ServerError as error:
            Answer(self._client, None).error(error)
        except OSError:
            raise  # the client disconnected
        except Exception as error:
            log(f"an internal error ended a connection: {error!r}")
            Answer(self._client, None).error(internal_error(error))

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
        self._authenticated()
        self._revision = hello.revision
        session = Session(self._services.engine, hello.database)
        try:
            self._client.sendall(protocol.write_hello(self._services.engine.version_numbers()))
            self._reader.text()  # the addendum: a quota key
        except BaseException:
            session.close()
            raise
        self._deadline = None
        self._reader.max_text = MAX_TEXT
        _set_timeout(self._client, socket.SO_SNDTIMEO, self._services.packet_seconds)
        return session

    def _check_password(self, hello: Hello) -> None:
        right_user = _equal(hello.user, self._services.user)
        right_password = _equal(hello.password, self._services.password)
        if not (right_user & right_password):
            raise ServerError(
                AUTHENTICATION_FAILED,
                f"{hello.user}: Authentication failed: password is incorrect, or there is no "
                "user with such name. (AUTHENTICATION_FAILED)",
            )

    def _next_packet(self) -> bool:
        """Waits for the next packet, for as long as the client likes."""
        _set_timeout(self._client, socket.SO_RCVTIMEO, 0)
        try:
            return self._reader.more()
        finally:
            _set_timeout(self._client, socket.SO_RCVTIMEO, self._services.packet_seconds)

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
            raise ServerError(
                UNEXPECTED_PACKET, f"Unknown packet {kind} (UNEXPECTED_PACKET_FROM_CLIENT)"
            )
        return True

    def _query(self, session: Session) -> bool:
        query = protocol.read_query(self._reader)
        self._incoming = Incoming(self._reader, query.compression, self._services.spool)
        execution = Execution(
            session, self._services.watcher, self._client, query, self._incoming, self._revision
        )
        execution.run()
        return not execution.broken

    def _receive(self) -> bytes:
        if self._deadline is not None:
            rest = max(self._deadline - time.monotonic(), 0.001)
            _set_timeout(self._client, socket.SO_RCVTIMEO, rest)
        try:
            piece = self._client.recv(_PIECE)
        except BlockingIOError:
            raise ServerError(
                SOCKET_TIMEOUT, "The client stopped in the middle of a packet (SOCKET_TIMEOUT)"
            ) from None
        if not piece:
            raise ConnectionResetError("the client closed the connection")
        return piece


def _check_revision(hello: Hello) -> None:
    if hello.revision < protocol.MIN_REVISION:
        raise ServerError(
            NOT_IMPLEMENTED,
            f"{hello.client} speaks protocol revision {hello.revision}; this endpoint needs "
            f"{protocol.MIN_REVISION} or later: use a newer driver, for example "
            "clickhouse-driver 0.2.6 (NOT_IMPLEMENTED)",
        )


def _equal(given: str, expected: str) -> bool:
    """Compares in a time that depends on neither."""
    digests = (
        hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        for text in (given, expected)
    )
    return hmac.compare_digest(*digests)


def _set_timeout(client: socket.socket, direction: int, seconds: float) -> None:
    """Of single calls of the system; zero waits forever."""
    whole, fraction = divmod(seconds, 1)
    value = struct.pack("@ll", int(whole), int(fraction * 1_000_000))
    client.setsockopt(socket.SOL_SOCKET, direction, value)
