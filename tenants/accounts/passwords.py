"""Password hashing that cannot starve pages.

A hash is slow on purpose. Each process computes one at a time, and lets a few requests wait for it.
Any other gets TooManyHashes at once, and never occupies a thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import BoundedSemaphore

from django.contrib.auth.hashers import PBKDF2PasswordHasher

AT_ONCE = 1
MAX_WAITING = 3
PATIENCE_SECONDS = 5.0


class TooManyHashes(Exception):
    """This process hashes as many passwords as it may. Try again in a moment."""


_running = BoundedSemaphore(AT_ONCE)
_admitted = BoundedSemaphore(AT_ONCE + MAX_WAITING)
_is_admitted: ContextVar[bool] = ContextVar("is_admitted", default=False)


class BoundedHasher(PBKDF2PasswordHasher):
    """Django's hasher, but for a bounded number of passwords at a time."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        with admission():
            if not _running.acquire(timeout=PATIENCE_SECONDS):
                raise TooManyHashes
            try:
                return super().encode(password, salt, iterations)
            finally:
                _running.release()


@contextmanager
def admission() -> Iterator[None]:
    """A place among those who hash or wait for it, or TooManyHashes at once.

    Taken before other work for a login, so that refusing the excess costs next to nothing.
    """
    if _is_admitted.get():
        yield
        return
    if not _admitted.acquire(blocking=False):
        raise TooManyHashes
    token = _is_admitted.set(True)
    try:
        yield
    finally:
        _is_admitted.reset(token)
        _admitted.release()
