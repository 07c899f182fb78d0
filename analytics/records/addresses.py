"""Record ids in addresses and cursors.

Ids come from upstream and may hold anything: slashes, line breaks, thousands of characters. An id
of letters, digits and `_ - . : @` is written as it is, any other as `~` and its base64url. A long
id is written as `~.` and the base64url of its SHA-256 digest, so that no server refuses it.
"""

import base64
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from django.urls import register_converter

from analytics.warehouse.catalog import Table
from analytics.warehouse.sql import quote

MAX_BYTES = 150
_READABLE = re.compile(rf"[A-Za-z0-9_-][A-Za-z0-9_.:@-]{{0,{MAX_BYTES - 1}}}")
_READABLE_NAME = re.compile(r"[^\x00-\x20\x7f/\\~.][^\x00-\x1f\x7f/\\]{0,199}")
_ENCODED, _DIGEST = "~", "~."


@dataclass(frozen=True)
class KeyDigest:
    """The SHA-256 digest of a record id that is too long for an address."""

    hexadecimal: str


def written(key: str) -> str:
    """The record id as one safe segment of an address, of at most 201 characters."""
    if _READABLE.fullmatch(key):
        return key
    content = key.encode()
    if len(content) <= MAX_BYTES:
        return _ENCODED + to_base64(content)
    return _DIGEST + to_base64(sha256(content).digest())


def read(address: str) -> str | KeyDigest:
    """The record id that was written; text without `~` is an id as it is. Raises ValueError."""
    if not address.startswith(_ENCODED):
        return address
    if not address.startswith(_DIGEST):
        return from_base64(address.removeprefix(_ENCODED)).decode()
    digest = from_base64(address.removeprefix(_DIGEST))
    if len(digest) != sha256().digest_size:
        raise ValueError("This is no digest.")
    return KeyDigest(digest.hex())


def key_sql(table: Table, key: str | KeyDigest, name: str) -> tuple[str, dict[str, Any]]:
    """An expression for the record id, NULL if there is none, and its parameter `name`."""
    if isinstance(key, str):
        return f"{{{name}:String}}", {name: key}
    column = quote(table.key)
    return (
        f"(SELECT {column} FROM {table.name}_history(tenant_id = {{tenant_id:String}}) "
        f"WHERE length({column}) > {MAX_BYTES} AND SHA256({column}) = unhex({{{name}:String}}) "
        "LIMIT 1)",
        {name: key.hexadecimal},
    )


def to_base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def from_base64(text: str) -> bytes:
    """Raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


class RecordKeyConverter:
    """`<record_key:…>` in routes: `reverse` takes a record id, views get its address to `read`."""

    regex = r"[\s\S]+"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return written(value)


class NameConverter:
    """`<name:…>` in routes: a name as people write it, any other as `~` and its base64url."""

    regex = r"[^/]+"

    def to_python(self, value: str) -> str:
        if not value.startswith(_ENCODED):
            return value
        return from_base64(value.removeprefix(_ENCODED)).decode()

    def to_url(self, value: str) -> str:
        if _READABLE_NAME.fullmatch(value) and value == value.strip():
            return value
        return _ENCODED + to_base64(value.encode())


register_converter(RecordKeyConverter, "record_key")
register_converter(NameConverter, "name")
