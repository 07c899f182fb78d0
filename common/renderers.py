"""Native renderers in processes of their own: one that aborts costs one request.

Charts (vl-convert), documents (typst) and mails (mrml) are made by `common/renderer_process.py`.
Each process that renders keeps up to MAX_PROCESSES of these, started when they are needed and used
again. They are no children of multiprocessing, which Celery's prefork workers may not have. They
end when the connection to their parent closes, however it ended. `Renderers` does the same for
other work that takes a Python process long, such as spreadsheets.
"""

import atexit
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

MAX_PROCESSES = 2
MAX_REQUESTS = 500  # of one process, since native libraries leak
MAX_ERROR = 500  # characters
MAX_REPLY = 256 << 20  # bytes
SECONDS = 20.0  # for one request
MAX_WAIT = 20.0  # seconds, for a process to be free
_START = 10.0  # seconds more, for the first request of a process
_SIZE = struct.Struct(">Q")
_ROOT = Path(__file__).resolve().parents[1]
# The rest of the environment holds secrets.
_INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR", "TZ")


_all: "set[Renderers]" = set()


class RenderingFailed(Exception):
    """A chart, a document or a mail could not be made. Its text explains why."""


class _Process:
    """One renderer process, for one request at a time."""

    def __init__(self, module: str) -> None:
        self._socket, theirs = socket.socketpair()
        self.requests = 0
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        paths = [str(_ROOT), environment.get("PYTHONPATH", "")]
        with theirs:
            # -P: modules of the current folder must not hide others.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            )

    @property
    def is_usable(self) -> bool:
        return self.requests < MAX_REQUESTS and self._process.poll() is None

    def render(self, request: bytes, seconds: float) -> tuple[str, list[bytes]]:
        """(error or "", the parts). Raises OSError or EOFError if the process is lost."""
        deadline = time.monotonic() + seconds + (0 if self.requests else _START)
        self.requests += 1
        self._socket.settimeout(deadline - time.monotonic())
        self._socket.sendall(_SIZE.pack(len(request)) + request)
        (size,) = _SIZE.unpack(self._receive(_SIZE.size, deadline))
        error, sizes = json.loads(self._receive(size, deadline))
        return error, [bytes(self._receive(each, deadline)) for each in sizes]

    def _receive(self, size: int, deadline: float) -> bytearray:
        if size > MAX_REPLY:
            raise EOFError
        received = bytearray(size)
        rest = memoryview(received)
        while rest:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            count = self._socket.recv_into(rest)
            if not count:
                raise EOFError
            rest = rest[count:]
        return received

    def end(self) -> int:
        """End the process. Returns its exit status: minus the signal if one had ended it."""
        self._socket.close()
        try:
            # One that crashed has closed its socket, but may still be ending.
            return self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def disown(self) -> None:
        """Let go of the process of another process, of which this one is a fork."""
        self._socket.close()
        self._process.returncode = 0  # it is not ours to wait for


class Renderers:
    """Up to `MAX_PROCESSES` processes that run `module`. Threads wait for one that is free.

    The module calls `common.renderer_loop.main`.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._start()
        _all.add(self)

    def _start(self) -> None:
        self._free = threading.BoundedSemaphore(MAX_PROCESSES)
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()

    def render(self, what: str, seconds: float = SECONDS, **arguments: Any) -> list[bytes]:
        """The parts that the function `what` of the module makes. Raises RenderingFailed."""
        request = json.dumps([what, arguments, seconds]).encode()
        if not self._free.acquire(timeout=MAX_WAIT):
            raise RenderingFailed("All renderers are busy. Try again in a moment.")
        try:
            error, parts = self._on_one(request, seconds)
        finally:
            self._free.release()
        if error:
            raise RenderingFailed(error[:MAX_ERROR])
        return parts

    def _on_one(self, request: bytes, seconds: float) -> tuple[str, list[bytes]]:
        process = self._take()
        try:
            reply = process.render(request, seconds)
        except (OSError, EOFError) as error:
            reason = _reason(error, self._end(process), seconds)
            log.error("rendering failed: %s", reason)
            raise RenderingFailed(reason) from error
        except BaseException:  # the request was given up, its reply may still come
            self._end(process)
            raise
        with self._lock:
            self._busy.discard(process)
            self._idle.append(process)
        return reply

    def _take(self) -> _Process:
        with self._lock:
            process = self._idle.pop() if self._idle else None
        while process is not None and not process.is_usable:
            process.end()
            with self._lock:
                process = self._idle.pop() if self._idle else None
        process = process or _Process(self._module)
        with self._lock:
            self._busy.add(process)
        return process

    def _end(self, process: _Process) -> int:
        with self._lock:
            self._busy.discard(process)
        return process.end()

    def end_all(self) -> None:
        with self._lock:
            processes, self._idle = self._idle, []
        for each in processes:
            each.end()

    def after_fork(self) -> None:
        """A fork has renderers of its own: it neither uses its parent's nor keeps them alive."""
        for each in (*self._idle, *self._busy):
            each.disown()
        self._start()


def _reason(error: Exception, status: int, seconds: float) -> str:
    if isinstance(error, TimeoutError) or status == -signal.SIGALRM:
        return f"The renderer took longer than {seconds:g} seconds."
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return f"The renderer crashed ({how})."


_renderers = Renderers("common.renderer_process")


def render(what: str, seconds: float = SECONDS, **arguments: Any) -> list[bytes]:
    """The parts that a function of `common/renderer_process.py` makes. Raises RenderingFailed.

    The arguments are plain data. Texts in them should be printable (`common.texts`).
    """
    return _renderers.render(what, seconds, **arguments)


def _after_fork() -> None:
    for each in _all:
        each.after_fork()


def _end_all() -> None:
    for each in _all:
        each.end_all()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_end_all)
