"""Password hashing that cannot starve pages.

A hash is slow on purpose. Each process computes one at a time, and lets a few requests wait for it.
Any other gets TooManyHashes at once, and never occupies a thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from django.contrib.auth.hashers import PBKDF2PasswordHasher

AT_ONCE = 1
MAX_WAITING = 3
PATIENCE_SECONDS = 5.0


class TooManyHashes(Exception):
    """This process hashes as many passwords as it may. Try again in a moment."""


class BoundedHasher(PBKDF2PasswordHasher):
    """Django's hasher, but for a bounded number of passwords at a time."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        with _slot():
            return super().encode(password, salt, iterations)


_running = BoundedSemaphore(AT_ONCE)
_admitted = BoundedSemaphore(AT_ONCE + MAX_WAITING)


@contextmanager
def _slot() -> Iterator[None]:
    if not _admitted.acquire(blocking=False):
        raise TooManyHashes
    try:
        if not _running.acquire(timeout=PATIENCE_SECONDS):
            raise TooManyHashes
        try:
            yield
        finally:
            _running.release()
    finally:
        _admitted.release()
