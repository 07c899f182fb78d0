"""Kills queries that were canceled or killed, or whose client disconnected."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from analytics.warehouse.embedded.protocol import ClientPacket
from analytics.warehouse.embedded.server_errors import (
    QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING,
    ServerError,
)

_INTERVAL = 0.05  # seconds between checks, and the longest delay of a cancel


class Outcome(Enum):
    RUNNING = auto()
    CANCELED = auto()
    GONE = auto()
    KILLED = auto()


@dataclass
class Watch:
    client: socket.socket
    query_id: str
    outcome: Outcome = field(default=Outcome.RUNNING)


class Watcher:
    """One thread for all connections. It checks a client only while its query runs."""

    def __init__(self, kill: Callable[[str], None]) -> None:
        self._kill = kill
        self._watches: dict[int, Watch] = {}
        self._running: set[str] = set()
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="watcher", daemon=True).start()

    @contextlib.contextmanager
    def watching(self, client: socket.socket, query_id: str) -> Iterator[Watch]:
        watch = Watch(client, query_id)
        with self._changed:
            self._watches[client.fileno()] = watch
            self._changed.notify()
        try:
            yield watch
        finally:
            with self._changed:
                self._watches.pop(client.fileno(), None)

    @contextlib.contextmanager
    def running(self, query_id: str) -> Iterator[None]:
        """Reserves the id for one query; a second query with the same id is refused."""
        with self._changed:
            if query_id in self._running:
                raise ServerError(
                    QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING,
                    f"Query with id = {query_id} is already running. "
                    "(QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING)",
                )
            self._running.add(query_id)
        try:
            yield
        finally:
            with self._changed:
                self._running.discard(query_id)

    def busy(self) -> bool:
        return bool(self._running)

    def kill_all(self) -> None:
        with self._changed:
            for query_id in self._running:
                self._kill(query_id)

    def killed(self, query_ids: Collection[str]) -> None:
        """A KILL QUERY selected these ids.

        A query may be several statements of the engine, and the KILL may have come between two of
        them. So it is sent again at every check.
        """
        with self._changed:
            for watch in self._watches.values():
                if watch.query_id in query_ids:
                    watch.outcome = Outcome.KILLED

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._watches)
            time.sleep(_INTERVAL)
            self.check()

    def check(self) -> None:
        """Checks every client once and kills each query that should end."""
        # The lock is held throughout, so that a watch that has ended is not read or killed.
        with self._changed:
            for watch in self._readable():
                watch.outcome = _outcome_of(watch.client)
            for watch in self._watches.values():
                if watch.outcome is not Outcome.RUNNING:
                    self._kill(watch.query_id)  # at every check, since it may come before its query

    def _readable(self) -> list[Watch]:
        running = {f: w for f, w in self._watches.items() if w.outcome is Outcome.RUNNING}
        poll = select.poll()
        for number in running:
            poll.register(number, select.POLLIN | select.POLLHUP)
        return [running[number] for number, _ in poll.poll(0)]


def _outcome_of(client: socket.socket) -> Outcome:
    try:
        waiting = client.recv(1, socket.MSG_PEEK)
        if waiting == bytes([ClientPacket.CANCEL]):
            client.recv(1)
            return Outcome.CANCELED
    except OSError:
        waiting = b""
    return Outcome.RUNNING if waiting else Outcome.GONE
