"""The response to one query."""

import socket
import struct
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from analytics.warehouse.embedded import compression, protocol
from analytics.warehouse.embedded.blocks import EMPTY, Block, Column
from analytics.warehouse.embedded.protocol import ServerPacket
from analytics.warehouse.embedded.server_errors import ServerError

_PROGRESS_FIELDS = (
    "read_rows",
    "read_bytes",
    "total_rows_to_read",
    "written_rows",
    "written_bytes",
)
_LOG_COLUMNS = (
    Column("event_time", "DateTime"),
    Column("event_time_microseconds", "UInt32"),
    Column("host_name", "String"),
    Column("query_id", "String"),
    Column("thread_id", "UInt64"),
    Column("priority", "Int8"),
    Column("source", "String"),
    Column("text", "String"),
)
_DEBUG = 7
_PIECE = 1 << 16
_NO_TABLE = protocol.string("")


class Answer:
    """Writes packets. A disconnected client is not an error here; it sets `gone`."""

    def __init__(
        self, client: socket.socket, method: int | None, revision: int = protocol.REVISION
    ) -> None:
        """`method` is the compression of blocks; None for no compression."""
        self.gone = False
        self._client = client
        self._method = method
        self._sends_elapsed = revision >= protocol.REVISION
        self._clock = time.monotonic_ns()
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._rows = self._blocks = self._bytes = 0
        self._reported = dict.fromkeys(_PROGRESS_FIELDS, 0)

    def block(self, block: Block) -> None:
        data = block.encode()
        self._rows += block.rows
        self._blocks += bool(block.rows)
        self._bytes += len(data)
        if self._method is not None:
            data = compression.compress(data, self._method)
        self._send(protocol.varint(ServerPacket.DATA) + _NO_TABLE, data)

    def progress(self, values: Mapping[str, int]) -> None:
        """`values` count from the start of the query, as the engine reports them."""
        now = {name: max(values.get(name, 0), self._reported[name]) for name in _PROGRESS_FIELDS}
        increments = [now[name] - self._reported[name] for name in _PROGRESS_FIELDS]
        self._reported = now
        if any(increments):
            self._progress(increments)
            self.flush()  # the engine reports progress ten times a second

    def _progress(self, increments: list[int]) -> None:
        now = time.monotonic_ns()
        elapsed = [now - self._clock] if self._sends_elapsed else []
        self._clock = now
        self._send(protocol.write_progress(increments + elapsed))

    def sample(self, block: Block) -> None:
        """The empty block that asks the client for its data."""
        self.block(block)
        self.flush()

    def profile_events(self) -> None:
        """Drivers wait for this packet after every block they insert; it is never compressed."""
        self._send(protocol.varint(ServerPacket.PROFILE_EVENTS) + _NO_TABLE, EMPTY.encode())
        self.flush()

    def log(self, query_id: str, text: str) -> None:
        """A line of the server's log; never compressed."""
        seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        values = (
            *(struct.pack("<I", seconds), struct.pack("<I", microseconds)),
            *(protocol.string("embedded"), protocol.string(query_id)),
            *(struct.pack("<Q", threading.get_native_id()), struct.pack("<b", _DEBUG)),
            *(protocol.string("executeQuery"), protocol.string(text)),
        )
        block = Block(_LOG_COLUMNS, 1, values)
        self._send(protocol.varint(ServerPacket.LOG) + _NO_TABLE, block.encode())

    def profile_info(self) -> None:
        """The sizes of the result, and a last progress packet, which drivers expect."""
        self._send(protocol.write_profile_info(self._rows, self._blocks, self._bytes))
        self._progress([0] * len(_PROGRESS_FIELDS))

    def error(self, error: ServerError) -> None:
        self._send(protocol.write_exception(error.code, error.text))
        self.flush()

    def end(self) -> None:
        self._send(protocol.varint(ServerPacket.END_OF_STREAM))
        self.flush()

    def flush(self) -> None:
        parts, self._waiting, self._waiting_size = self._waiting, [], 0
        if not self.gone:
            try:
                self._client.sendall(b"".join(parts))
            except OSError:
                self.gone = True
                # For the watcher, which then ends the query: the client may just not read.
                with suppress(OSError):
                    self._client.shutdown(socket.SHUT_RDWR)

    def _send(self, *parts: bytes) -> None:
        # One system call per packet would cost a small query half a millisecond.
        self._waiting += parts
        self._waiting_size += sum(map(len, parts))
        if self._waiting_size > _PIECE:
            self.flush()
