"""One at a time, in all processes."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def alone(name: str) -> Iterator[None]:
    """A transaction during which no other of this name runs. Keep it short.

    PostgreSQL has locks for this; on SQLite every transaction that writes is alone already.
    """
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [zlib.crc32(name.encode())])
        yield
