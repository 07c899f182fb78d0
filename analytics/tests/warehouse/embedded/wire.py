"""A client that speaks the protocol by hand, and so can send what no driver sends."""

import socket
import struct
from contextlib import suppress

from analytics.warehouse.embedded import compression
from analytics.warehouse.embedded.protocol import string, varint

REVISION = 54459
HELLO = varint(0) + string("attack") + varint(1) + varint(0) + varint(REVISION)
BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
END_OF_DATA = varint(2) + string("") + BLOCK_INFO + varint(0) + varint(0)
PING = varint(4)


class Wire:
    """A client that sends whatever it likes."""

    def __init__(self, endpoint, user="default", password="", database=""):
        self.socket = socket.create_connection((endpoint.host, endpoint.port), timeout=8)
        self.login = HELLO + b"".join(map(string, (database, user, password)))

    def close(self):
        self.socket.close()

    def logged_in(self):
        self.socket.sendall(self.login)
        assert self.socket.recv(1) == b"\x00"
        self.socket.recv(1000)
        self.socket.sendall(string(""))  # the addendum
        return self

    def send(self, data):
        self.socket.sendall(data)
        return self

    def query(self, sql, compressed=False, settings=b""):
        data = sql if isinstance(sql, bytes) else sql.encode()
        client_info = b"\x00"
        head = varint(1) + string("") + client_info + settings + string("")
        head += string("") + varint(2) + varint(compressed)
        return self.send(head + varint(len(data)) + data + string("") + END_OF_DATA)

    def read(self):
        """Everything until the endpoint disconnects or pauses."""
        received = b""
        with suppress(TimeoutError, ConnectionResetError):
            while piece := self.socket.recv(1 << 20):
                received += piece
        return received

    def error(self):
        """The code and text of the exception packet that comes next, maybe after other packets."""
        received = b""
        while b"\x02" not in received or b"DB::Exception" not in received:
            piece = self.socket.recv(1 << 20)
            assert piece, f"disconnected without an exception after {received!r}"
            received += piece
        start = received.index(b"DB::Exception")
        return struct.unpack("<i", received[start - 5 : start - 1])[0], received[start:].decode(
            errors="replace"
        )

    def lives(self):
        """Whether the connection still answers."""
        self.socket.sendall(PING)
        with suppress(OSError):
            while piece := self.socket.recv(1 << 20):
                if piece.endswith(b"\x04"):
                    return True
        return False


def block(*columns, rows=1, compressed=False):
    """A data packet; columns are (name, type, bytes)."""
    data = BLOCK_INFO + varint(len(columns)) + varint(rows)
    for name, type_name, values in columns:
        data += string(name) + string(type_name) + b"\0" + values
    if compressed:
        data = compression.compress(data, compression.LZ4)
    return varint(2) + string("") + data
