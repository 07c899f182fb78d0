"""The loop of a process that does heavy work for another one, request by request.

Without the settings or a connection to anything but the process that asks. Standard input is that
connection, a socket. It ends with the process that asks. `common.renderers` starts it.
"""

import json
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any, Protocol

MAX_DATA = 1 << 30  # bytes; the JavaScript engine reserves far more address space than it uses
NICENESS = 10  # pages come first
_SIZE = struct.Struct(">Q")
Functions = Mapping[str, Callable[..., list[bytes]]]


class Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def write(self, data: bytes, /) -> int: ...
    def flush(self) -> None: ...


def serve(stream: Stream, functions: Functions) -> None:
    """Answer requests until the other end closes the connection, or one takes too long.

    A request is JSON: the function, its arguments, and how many seconds it may take. A reply is
    an error ("" if there is none) and the sizes of its parts as JSON, then the parts.
    """
    while request := _read(stream):
        what, arguments, seconds = json.loads(request)
        signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends a process in native code, too
        error, parts = _result(functions[what], arguments)
        signal.setitimer(signal.ITIMER_REAL, 0)
        head = json.dumps([error, [len(part) for part in parts]]).encode()
        stream.write(_SIZE.pack(len(head)) + head + b"".join(parts))
        stream.flush()


def _result(
    function: Callable[..., list[bytes]], arguments: dict[str, Any]
) -> tuple[str, list[bytes]]:
    try:
        return "", function(**arguments)
    except Exception as error:
        return str(error) or type(error).__name__, []


def _read(stream: Stream) -> bytes:
    head = stream.read(_SIZE.size)
    return stream.read(*_SIZE.unpack(head)) if len(head) == _SIZE.size else b""


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (limit, limit))


def main(*functions: Callable[..., list[bytes]], niceness: int = NICENESS) -> None:
    """Serve requests for these functions, by their names, until the other process ends."""
    for each in (signal.SIGINT, signal.SIGTERM):  # they are for the process that asks
        signal.signal(each, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.nice(niceness)
    _limit(resource.RLIMIT_DATA, MAX_DATA)
    _limit(resource.RLIMIT_CORE, 0)
    with socket.socket(fileno=0) as connection, connection.makefile("rwb") as stream:
        serve(stream, {each.__name__: each for each in functions})
    os._exit(0)  # native libraries may crash while they are taken apart
