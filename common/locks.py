"""Locks across all processes."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """A transaction that holds the lock `name`. Keep it short.

    PostgreSQL has advisory locks for this. On SQLite, only one transaction can write at a time.
    """
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [zlib.crc32(name.encode())])
        yield
