"""Heartbeats from a separate thread, while a worker is busy with long work."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connections

log = logging.getLogger(__name__)


@contextmanager
def beating(beat: Callable[[], object], seconds: float) -> Iterator[None]:
    """Call `beat` every `seconds` until the context ends."""
    stop = threading.Event()

    def keep_beating() -> None:
        try:
            while not stop.wait(seconds):
                try:
                    beat()
                except Exception as error:  # one missed beat is no reason to miss the next
                    log.warning("a heartbeat was missed: %s", error)
                    connections.close_all()
        finally:
            connections.close_all()

    thread = threading.Thread(target=keep_beating, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
