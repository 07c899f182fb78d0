"""Reads values of the native protocol from any source of bytes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from analytics.warehouse.embedded.server_errors import (
    INCORRECT_DATA,
    TOO_LARGE_STRING_SIZE,
    ServerError,
)

Sink = Callable[[bytes], object]

MAX_TEXT = 1 << 30  # bytes, as on a server
_VARINT_BYTES = 10


class Reader:
    """Reads values, and can copy the bytes it reads or skips to a sink.

    `receive` returns the next bytes, empty at the end. If the data ends within a value, EOFError
    is raised. A value that no client of the protocol sends raises ServerError.
    """

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self.max_text = MAX_TEXT
        self._receive = receive
        self._buffer = b""
        self._at = 0
        self._sink: Sink | None = None
        self._copied = 0

    @classmethod
    def of(cls, data: bytes) -> "Reader":
        pieces = iter([data])
        return cls(lambda: next(pieces, b""))

    def more(self) -> bool:
        """Whether more data follows; waits for it."""
        if self._at == len(self._buffer):
            try:
                self._more()
            except EOFError:
                return False
        return True

    def read(self, size: int) -> bytes:
        end = self._at + size
        if end <= len(self._buffer):
            value = self._buffer[self._at : end]
            self._at = end
            return value
        return self._read_across(size)

    def byte(self) -> int:
        if self._at == len(self._buffer):
            self._more()
        self._at += 1
        return self._buffer[self._at - 1]

    def varint(self) -> int:
        result = 0
        for shift in range(0, 7 * _VARINT_BYTES, 7):
            byte = self.byte()
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result
        raise ServerError(INCORRECT_DATA, "A number is too long (INCORRECT_DATA)")

    def text(self) -> str:
        size = self.varint()
        if size > self.max_text:
            raise ServerError(
                TOO_LARGE_STRING_SIZE, f"A text of {size} bytes is too long (TOO_LARGE_STRING_SIZE)"
            )
        return self.read(size).decode("utf-8", "surrogateescape")

    def uint64(self) -> int:
        return int.from_bytes(self.read(8), "little")

    def skip(self, size: int) -> None:
        while size > (here := len(self._buffer) - self._at):
            size -= here
            self._at = len(self._buffer)
            self._more()
        self._at += size

    def skip_strings(self, count: int) -> None:
        """Skips `count` length-prefixed strings; the hot loop of every text INSERT."""
        while count:
            buffer, at, size = self._buffer, self._at, len(self._buffer)
            while count and at < size and (length := buffer[at]) < 0x80:
                end = at + length + 1
                if end > size:
                    break
                at = end
                count -= 1
            self._at = at
            if count:  # a long string, or one cut by the end of the buffer
                self.skip(self.varint())
                count -= 1

    @contextmanager
    def copying_to(self, sink: Sink) -> Iterator[None]:
        """Copies everything that is read inside to `sink`, in order."""
        self._sink, self._copied = sink, self._at
        try:
            yield
        finally:
            self._copy()
            self._sink = None

    def _copy(self) -> None:
        if self._sink is not None and self._at > self._copied:
            self._sink(self._buffer[self._copied : self._at])
        self._copied = self._at

    def _more(self) -> None:
        self._copy()
        piece = self._receive()
        if not piece:
            raise EOFError("the client closed the connection")
        self._buffer = self._buffer[self._at :] + piece
        self._at = self._copied = 0

    def _read_across(self, size: int) -> bytes:
        pieces = []
        while size:
            if self._at == len(self._buffer):
                self._more()
            piece = self._buffer[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)
