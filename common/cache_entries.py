"""The form of cache entries: JSON, so that whoever can write to the cache runs no code here.

Django's own caches keep pickles, and a pickle can call any function when it is read. Entries that
cannot be read, such as pickles of an earlier version, count as missing.
"""

import hmac
import json
import zlib
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from time import time
from typing import IO, Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.filebased import FileBasedCache
from django.utils.crypto import salted_hmac
from django_redis.serializers.base import BaseSerializer
from unfold.dataclasses import SearchResult

_SIGNATURE_BYTES = 32
_SALT = "common.cache_entries"


class Unreadable(ValueError):
    """The bytes are no entry."""


# --- Values


def encode(value: Any) -> bytes:
    """JSON. Raises TypeError for a type that would not come back as it was.

    Exact: text, numbers, Decimals, dates, datetimes, None, and lists and dicts of them. Tuples come
    back as lists. Keys of dicts must be text, and not begin with "$".
    """
    return json.dumps(value, default=_tagged, separators=(",", ":")).encode()


def decode(data: bytes) -> Any:
    """What `encode` got. Raises Unreadable."""
    try:
        return json.loads(data, object_hook=_untagged)
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        raise Unreadable(str(error)) from None


def _tagged(value: Any) -> dict[str, Any]:
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, datetime):
        return {"$datetime": value.isoformat()}
    if isinstance(value, date):
        return {"$date": value.isoformat()}
    if isinstance(value, SearchResult):  # django-unfold keeps those of the admin's search
        fields = (value.title, value.description, value.link, value.icon)
        return {"$found": [field and str(field) for field in fields]}
    raise TypeError(f"{type(value).__name__} cannot be kept in the cache.")


_TYPES: dict[str, Callable[[Any], Any]] = {
    "$decimal": Decimal,
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$found": lambda fields: SearchResult(*fields),
}


def _untagged(found: dict[str, Any]) -> Any:
    if len(found) == 1:
        ((name, value),) = found.items()
        if name in _TYPES:
            return _TYPES[name](value)
    return found


# --- Caches


class JsonSerializer(BaseSerializer):  # type: ignore[misc] # django-redis has no types
    """For django-redis. An entry that cannot be read is None, which readers take for a miss."""

    def dumps(self, value: Any) -> bytes:
        return encode(value)

    def loads(self, value: bytes) -> Any:
        try:
            return decode(value)
        except Unreadable:
            return None


class SignedFileCache(FileBasedCache):
    """Django's cache of files, but each entry is a signature and the compressed JSON of its key,
    its expiry and its value.

    The signature needs SECRET_KEY. It covers the key, so that no entry can pass for another.
    """

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        found = self._entry(key, version)
        return default if found is None else found[0]

    def has_key(self, key: Any, version: int | None = None) -> bool:
        return self._entry(key, version) is not None

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        found = self._entry(key, version)
        if found is None:
            return False
        self.set(key, found[0], timeout, version)
        return True

    def set(
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> None:
        named = (self.make_and_validate_key(key, version=version), value)
        super().set(key, named, timeout, version)

    def _write_content(self, file: IO[bytes], timeout: Any, value: Any) -> None:
        name, content = value
        data = zlib.compress(encode([name, self.get_backend_timeout(timeout), content]), 1)
        file.write(_signature(data) + data)

    def _entry(self, key: Any, version: int | None) -> list[Any] | None:
        """[value], or None if there is no valid entry of this key."""
        path = Path(self._key_to_file(key, version))  # type: ignore[attr-defined] # not in the stubs
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        signature, data = content[:_SIGNATURE_BYTES], content[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, _signature(data)):
            return None
        name, expiry, value = decode(zlib.decompress(data))
        if name != self.make_and_validate_key(key, version=version):
            return None
        return None if expiry is not None and expiry < time() else [value]


def _signature(data: bytes) -> bytes:
    return salted_hmac(_SALT, data, algorithm="sha256").digest()
