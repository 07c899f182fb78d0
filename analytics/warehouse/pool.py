"""Connections to ClickHouse: its address, and a pool of native clients per process."""

import os
import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from clickhouse_driver import Client
from django.conf import settings

from analytics.warehouse.errors import (
    AuthenticationFailed,
    Unreachable,
    WarehouseError,
    raise_translated,
    translate,
)
from common import aws

PORTS = {"clickhouse": 9000, "clickhouses": 9440}
_HTTPS_PORT = 8443
# (idle seconds, seconds between probes, probes): a lost host is noticed within a minute.
KEEPALIVE = (30, 10, 3)
HTTP_PORTS = {8123, _HTTPS_PORT}


@dataclass(frozen=True)
class WarehouseAddress:
    """`note` explains where the address differs from its secret."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    secure: bool
    note: str = field(default="", compare=False)

    @classmethod
    def from_secret(cls, secret: Mapping[str, Any]) -> "WarehouseAddress":
        """From the JSON in Secrets Manager: host, port, username, password, database, secure and
        protocol. HTTP settings become the matching native ones, since AVESA uses the native
        protocol: https and 8443 mean TLS on 9440, http and 8123 mean 9000. Raises ValueError.
        """
        host, protocol = str(secret.get("host") or ""), str(secret.get("protocol") or "").lower()
        if not host:
            raise ValueError("it has no host")
        try:
            port = int(secret.get("port") or 0)
        except ValueError:
            raise ValueError("its port is not a number") from None
        secure = str(secret.get("secure", "")).lower() in {"true", "1", "yes"}
        secure = secure or protocol == "https" or port == _HTTPS_PORT
        native, note = PORTS["clickhouses" if secure else "clickhouse"], ""
        if protocol in {"http", "https"} or port in HTTP_PORTS:
            port = 0
            note = f"the secret names HTTP; the native port {native} is used instead"
        return cls(
            host=host,
            port=port or native,
            user=str(secret.get("username") or "default"),
            password=str(secret.get("password") or ""),
            database=str(secret.get("database") or "avesa"),
            secure=secure,
            note=note,
        )

    @classmethod
    def from_url(cls, url: str) -> "WarehouseAddress":
        """From `clickhouse[s]://user:password@host:port/database`. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in PORTS:
            raise ValueError("it must begin with clickhouse:// or clickhouses://")
        if not parts.hostname:
            raise ValueError("it has no host")
        try:
            port = parts.port or PORTS[parts.scheme]
        except ValueError:
            raise ValueError(
                "its port is not a number; write / # ? @ : of a password as %2F %23 %3F %40 %3A"
            ) from None
        if port in HTTP_PORTS:
            raise ValueError(f"port {port} is for HTTP; the native ports are 9000 and 9440")
        return cls(
            host=parts.hostname,
            port=port,
            user=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            database=parts.path.strip("/") or "avesa",
            secure=parts.scheme == "clickhouses",
        )

    def client(self, *, read_timeout: float, connect_timeout: float | None = None) -> Client:
        """A new client, not yet connected."""
        return _TextClient(
            self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=self.database,
            secure=self.secure,
            connect_timeout=connect_timeout or settings.CLICKHOUSE_CONNECT_TIMEOUT,
            send_receive_timeout=read_timeout,
            tcp_keepalive=KEEPALIVE,
            client_name="avesa",
            settings={"server_side_params": True, "strings_as_bytes": False},
        )


class _TextClient(Client):  # type: ignore[misc]  # the driver is untyped
    """Returns all text as `str`; the driver returns `bytes` for text that is not UTF-8.

    Loads reject such text, but rows that are stored already must not break pages.
    """

    def receive_packet(self) -> Any:
        packet = super().receive_packet()
        block = getattr(packet, "block", None)
        if block is not None and block.num_rows:
            types = (name for _, name in block.columns_with_types)
            block.data = [
                _as_text(column) if "String" in name else column
                for column, name in zip(block.data, types, strict=True)
            ]
        return packet


def _as_text(values: Any) -> Any:
    """A column of texts, or of arrays, tuples and maps of texts, without `bytes`."""
    kinds = set(map(type, values))
    if bytes in kinds:
        values = [v.decode(errors="replace") if type(v) is bytes else v for v in values]
    if kinds & {list, tuple}:
        values = [type(v)(_as_text(v)) if type(v) in (list, tuple) else v for v in values]
    if dict in kinds:
        values = [
            dict(zip(_as_text(list(v)), _as_text(list(v.values())), strict=True))
            if type(v) is dict
            else v
            for v in values
        ]
    return values


@dataclass(frozen=True)
class Login:
    """The names of the two settings with the warehouse's address and one of its users."""

    url: str
    secret: str

    @property
    def secret_name(self) -> str:
        return str(getattr(settings, self.secret))

    @property
    def is_set(self) -> bool:
        return bool(self.secret_name or getattr(settings, self.url))

    def address(self) -> WarehouseAddress:
        """From the secret if there is one, else from the URL.

        Raises ValueError for a wrong URL, which stops processes at the start, and
        AuthenticationFailed for a wrong or unreadable secret, which may be fixed while they run.
        """
        name = self.secret_name
        if not name:
            return WarehouseAddress.from_url(getattr(settings, self.url))
        try:
            return WarehouseAddress.from_secret(aws.cached_secret(name))
        except aws.AwsError as error:
            raise AuthenticationFailed(str(error)) from error
        except ValueError as error:
            raise AuthenticationFailed(f"The secret {name} is wrong: {error}") from error


OWNER = Login("CLICKHOUSE_URL", "CLICKHOUSE_SECRET")
READER = Login("CLICKHOUSE_READER_URL", "CLICKHOUSE_READER_SECRET")


def reader_login() -> Login:
    """The login with which tenants' statements are read; the owner's if there is no other."""
    return READER if READER.is_set else OWNER


def address() -> WarehouseAddress:
    """The address of the warehouse, with the user that owns its tables."""
    return OWNER.address()


def reachable(at: WarehouseAddress) -> None:
    """Raise a WarehouseError unless a server responds at `at` and accepts our login."""
    client = replace(at, database="default").client(read_timeout=5)
    try:
        client.execute("SELECT 1")
    except Exception as error:
        raise_translated(error)
    finally:
        client.disconnect()


class Pool:
    """Up to `size` idle clients of one address. More are created on demand and closed after use."""

    def __init__(
        self, at: WarehouseAddress, read_timeout: float, size: int, login: Login = OWNER
    ) -> None:
        self.address = at
        self.read_timeout = read_timeout
        self.login = login
        self._idle: queue.LifoQueue[Client] = queue.LifoQueue(size)

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client for one statement. After an error it is closed and not used again."""
        try:
            client = self._idle.get_nowait()
        except queue.Empty:
            client = self.address.client(read_timeout=self.read_timeout)
        try:
            yield client
        except BaseException as error:
            client.disconnect()
            if isinstance(error, Exception):
                raise self._unless_rotated(translate(error, self.login.url)) from error
            raise
        try:
            self._idle.put_nowait(client)
        except queue.Full:
            client.disconnect()

    def close(self) -> None:
        while True:
            try:
                self._idle.get_nowait().disconnect()
            except queue.Empty:
                return

    def _unless_rotated(self, error: WarehouseError) -> WarehouseError:
        """If credentials were refused because they were rotated, an error that is retried.

        Another thread may have read the new credentials already.
        """
        name = self.login.secret_name
        if not name or not isinstance(error, AuthenticationFailed):
            return error
        known = replace(self.login.address(), database=self.address.database)
        if known == self.address and not aws.was_rotated(name):
            return error
        close_all()  # they use the old credentials
        return Unreachable("The warehouse's credentials were rotated. Try again.")


_pools: dict[tuple[WarehouseAddress, float], Pool] = {}


def pool(read_timeout: float, database: str | None = None, login: Login = OWNER) -> Pool:
    """This process's pool for the configured warehouse, or for another database of it."""
    at = login.address()
    key = (replace(at, database=database) if database else at, read_timeout)
    if key not in _pools:
        _pools[key] = Pool(*key, size=settings.CLICKHOUSE_POOL_SIZE, login=login)
    return _pools[key]


def close_all() -> None:
    for each in list(_pools.values()):
        each.close()
    _pools.clear()


# A forked worker must not share its parent's sockets. It drops them without closing them, since
# the parent still uses them.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)
