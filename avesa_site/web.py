"""The web server: gunicorn starts and watches the processes, waitress serves in each of them.

In waitress, one thread receives requests and sends responses, for all clients at once. Others
compute pages: each takes a request when all of it is there, and leaves its response to be sent. So
clients that send or read slowly hold no thread. `gunicorn.conf.py` selects this worker.
"""

import os
import resource
import sys
import time
from typing import Any

from gunicorn.workers.base import Worker as GunicornWorker
from waitress import create_server, wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, ThreadedTaskDispatcher

HEADER_SECONDS = 20  # to send all headers of a request
BODY_SECONDS = 300  # to send all of a request
IDLE_SECONDS = 60  # between two requests, and between two reads of a response
MAX_HEADERS = 32 << 10  # bytes
MAX_BODY = 10 << 20  # bytes; the largest is an uploaded logo
MAX_CONNECTIONS = 2000  # of one process
SWITCH_SECONDS = 0.0005  # between threads that compute; with 0.005, short ones wait too often
FILES_PER_CONNECTION = 3  # the socket, and temporary files of its request and response
LIVE = "/health/live/"


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress is untyped
    """A connection. A request that takes too long to arrive ends it."""

    _began = 0.0

    def received(self, data: bytes) -> bool:
        if self.request is None:
            self._began = time.time()
        return bool(super().received(data))

    @property
    def is_idle(self) -> bool:
        return not self.requests and self.request is None and not self.total_outbufs_len

    def end_if_late(self, now: float) -> None:
        request = self.request
        if request is None:
            return
        if now - self._began > (BODY_SECONDS if request.headers_finished else HEADER_SECONDS):
            self.will_close = True


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Hands requests to threads. Liveness probes have one of their own, so no page delays them."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._probes = ThreadedTaskDispatcher()
        self._probes.set_thread_count(1)
        self.set_thread_count(threads)

    def add_task(self, task: Channel) -> None:
        if getattr(task.requests[0], "path", "") == LIVE:
            self._probes.add_task(task)
        else:
            super().add_task(task)

    def shutdown(self, *args: Any, **options: Any) -> bool:
        self._probes.shutdown(*args, **options)
        return bool(super().shutdown(*args, **options))


class Worker(GunicornWorker):  # type: ignore[misc]  # gunicorn is untyped
    """A process of gunicorn that serves with waitress."""

    def run(self) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        _allow_files(MAX_CONNECTIONS * FILES_PER_CONNECTION)
        dispatcher = Dispatcher(self.cfg.threads)
        connections: dict[int, Any] = {}
        create_server(
            self.wsgi,
            map=connections,
            _dispatcher=dispatcher,
            sockets=[each.sock for each in self.sockets],  # out of gunicorn's wrappers
            asyncore_use_poll=True,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=5,
            clear_untrusted_proxy_headers=False,  # Django decides (HTTPS in the settings)
            connection_limit=MAX_CONNECTIONS,
            ident=None,
            max_request_body_size=MAX_BODY,
            max_request_header_size=MAX_HEADERS,
        )
        servers = [each for each in connections.values() if isinstance(each, BaseWSGIServer)]
        for server in servers:
            server.channel_class = Channel
        while self.alive and self.ppid == os.getppid():
            self._serve(connections)
        self._finish(servers, connections)
        dispatcher.shutdown(timeout=1)

    def _finish(self, servers: list[Any], connections: dict[int, Any]) -> None:
        """Accept no more, and send the responses that are being made, for a while."""
        for server in servers:
            server.del_channel()
            server.socket.close()
        end = time.time() + self.cfg.graceful_timeout
        while time.time() < end and any(server.active_channels for server in servers):
            for each in list(connections.values()):
                if isinstance(each, Channel) and each.is_idle:
                    each.will_close = True
            self._serve(connections)

    _checked_at = 0.0

    def _serve(self, connections: dict[int, Any]) -> None:
        """Receive and send what can be; wait for it up to a second."""
        wasyncore.loop(timeout=1, use_poll=True, map=connections, count=1)
        now = time.time()
        if now - self._checked_at >= 1:
            self._checked_at = now
            self.notify()
            for each in list(connections.values()):
                if isinstance(each, Channel):
                    each.end_if_late(now)


def _allow_files(count: int) -> None:
    """Raise this process's limit of open files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
