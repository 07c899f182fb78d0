"""The server: listening, starting and stopping."""

import argparse
import contextlib
import ipaddress
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from analytics.warehouse.embedded.connection import Connection, Services
from analytics.warehouse.embedded.directory import DataDirectory
from analytics.warehouse.embedded.engine import Engine
from analytics.warehouse.embedded.execution import log
from analytics.warehouse.embedded.server_errors import (
    TOO_MANY_SIMULTANEOUS_QUERIES,
    ServerError,
    StartupError,
)
from analytics.warehouse.embedded.watcher import Watcher

_BACKLOG = 256
_ACCEPT_PAUSE = 0.1  # seconds
_GRACE = 1.0  # seconds that queries, and clients after an error, get to end
_PIECE = 1 << 20
_MAX_PENDING = 256
_NICENESS = 5  # on the same machine, pages come before statements


@dataclass(frozen=True)
class Options:
    path: Path
    host: str = "127.0.0.1"
    port: int = 9000  # 0 takes any free port
    user: str = "default"
    password: str = ""
    memory_limit: int = 0  # bytes; 0: the engine's default, 90 % of the machine's memory
    max_connections: int = 1024
    login_seconds: float = 10.0
    packet_seconds: float = 300.0
    until_stdin_closes: bool = False  # stop when the process that holds stdin ends


class ConnectionLimits:
    """Limits how many connections there are, and how many more have not logged in yet.

    When there are too many of the latter, the oldest is disconnected. So a client that never logs
    in cannot keep others out.
    """

    def __init__(self, maximum: int, max_pending: int) -> None:
        self._max = maximum
        self._max_pending = max_pending
        self._lock = threading.Lock()
        self._authenticated: set[socket.socket] = set()
        self._pending: dict[socket.socket, None] = {}  # in order of arrival

    def opened(self, client: socket.socket) -> None:
        with self._lock:
            self._pending[client] = None
            if len(self._pending) > self._max_pending:
                oldest = next(iter(self._pending))
                del self._pending[oldest]
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)

    def authenticated(self, client: socket.socket) -> None:
        """Raises ServerError if there are too many connections."""
        with self._lock:
            self._pending.pop(client, None)
            if len(self._authenticated) >= self._max:
                raise ServerError(
                    TOO_MANY_SIMULTANEOUS_QUERIES,
                    f"Too many connections: {self._max} (TOO_MANY_SIMULTANEOUS_QUERIES)",
                )
            self._authenticated.add(client)

    def closed(self, client: socket.socket) -> None:
        with self._lock:
            self._authenticated.discard(client)
            self._pending.pop(client, None)


class Server:
    """Owns the socket, the directory and the engine from construction until `close`."""

    def __init__(self, options: Options) -> None:
        _check_exposure(options)
        self._directory = DataDirectory(options.path)
        self._listener = _listen(options.host, options.port)
        self.host, self.port = self._listener.getsockname()[:2]
        self._engine = _open_engine(self._directory, options.memory_limit)
        self._limits = ConnectionLimits(options.max_connections, _MAX_PENDING)
        self._watcher = Watcher(self._engine.kill)
        self._services = Services(
            self._engine,
            self._watcher,
            self._directory.spool,
            options.user,
            options.password,
            options.login_seconds,
            options.packet_seconds,
        )

    def describe(self) -> str:
        return (
            f"embedded ClickHouse {self._engine.version} on {self.host}:{self.port}, "
            f"data in {self._directory.path}"
        )

    def serve(self) -> None:
        """Accepts connections, each in its own thread, until the process is stopped."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError as error:  # too many open files, or the client disconnected at once
                log(f"cannot accept a connection: {error}")
                time.sleep(_ACCEPT_PAUSE)
                continue
            self._limits.opened(client)
            thread = threading.Thread(target=self._serve_one, args=(client,), daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # too many threads
                log(f"cannot serve a connection: {error}")
                self._limits.closed(client)
                client.close()

    def close(self) -> None:
        """Kills running queries, waits for them briefly, and releases the directory."""
        self._listener.close()
        deadline = time.monotonic() + _GRACE
        while self._watcher.busy() and time.monotonic() < deadline:
            self._watcher.kill_all()
            time.sleep(0.02)
        self._directory.release()

    def _serve_one(self, client: socket.socket) -> None:
        try:
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                Connection(
                    client, self._services, lambda: self._limits.authenticated(client)
                ).serve()
                _end(client)
        except OSError:
            pass  # the client disconnected
        finally:
            self._limits.closed(client)


def _end(client: socket.socket) -> None:
    """Disconnects so that the client still gets the last packet, whatever it goes on sending.

    Closing a socket with unread data would reset the connection and discard the packet.
    """
    client.shutdown(socket.SHUT_WR)
    client.settimeout(_GRACE)
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline and client.recv(_PIECE):
        pass


def run(options: Options) -> int:
    """Serves until SIGTERM or Ctrl-C; the exit code of the process."""
    _allow_many_files()
    os.nice(_NICENESS)
    server = None
    try:
        _handle_signals(_stop)
        server = Server(options)
        _handle_signals(_stop)  # again, in case the engine replaced them
        if options.until_stdin_closes:
            threading.Thread(target=_stop_when_stdin_closes, daemon=True).start()
        sys.stdout.write(f"{server.describe()}\n")
        sys.stdout.flush()
        server.serve()
    except StartupError as error:
        sys.stderr.write(f"embedded ClickHouse: {error}\n")
        return 1
    except _Stop:
        if server is not None:
            server.close()
    # Engine threads may still be running a query; the engine recovers from this.
    os._exit(0)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="embedded", description="ClickHouse's native protocol over a chDB data directory."
    )
    parser.add_argument("--path", type=Path, required=True, help="data directory")
    parser.add_argument("--host", default=Options.host)
    parser.add_argument("--port", type=int, default=Options.port, help="0: any free port")
    parser.add_argument("--user", default=Options.user)
    parser.add_argument("--password", default=os.environ.get("EMBEDDED_CLICKHOUSE_PASSWORD", ""))
    parser.add_argument("--memory-limit", type=int, default=0, help="bytes; 0: 90 % of memory")
    parser.add_argument("--max-connections", type=int, default=Options.max_connections)
    parser.add_argument("--login-seconds", type=float, default=Options.login_seconds)
    parser.add_argument("--packet-seconds", type=float, default=Options.packet_seconds)
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop with the parent")
    return run(Options(**vars(parser.parse_args(arguments))))


class _Stop(BaseException):
    """Raised in the main thread by the signals that end the server."""


def _stop(number: int, frame: FrameType | None) -> None:
    _handle_signals(signal.SIG_IGN)  # a second Ctrl-C must not interrupt the shutdown
    raise _Stop


def _handle_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _stop_when_stdin_closes() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _allow_many_files() -> None:
    """Raise the limit of open files: all parts of all tables may be open at once."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _check_exposure(options: Options) -> None:
    if options.password or _is_loopback(options.host):
        return
    raise StartupError(
        f"refusing to listen on {options.host} without a password: set one with --password, or "
        "use --host 127.0.0.1"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StartupError(
            f"cannot listen on {host}:{port} ({reason}): stop the process on that port, or "
            "choose another with --port"
        ) from None


def _open_engine(directory: DataDirectory, memory_limit: int) -> Engine:
    try:
        return Engine(directory.path, memory_limit)
    except ServerError as error:
        raise StartupError(
            f"the engine cannot open {directory.path}: {error.text} Stop other processes that "
            "use it, free some space, or choose another directory with --path"
        ) from None
    except ImportError as error:
        raise StartupError(
            f"chDB cannot be loaded ({error}): install it with "
            "`pip install --require-hashes -r requirements-demo.lock`"
        ) from None
