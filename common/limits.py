"""How many expensive requests a user and a tenant may make: at once, and per minute.

`settings.REQUEST_LIMITS` has the numbers for each kind of request. All web processes share the
counts: in Redis if `CACHE_URL` names one, else in a file under `AVESA_VAR_DIR`. A request counts
as running until its response is sent. If Redis does not answer, each machine counts for itself.
"""

import logging
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import redis
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase

log = logging.getLogger(__name__)

MINUTE = 60
LEASE_SECONDS = 900  # after which a request that never ended counts no more: its process died
BUSY_SECONDS = 5  # to wait if too many are running
MAX_REFUSED = 10_000  # remembered by one process
_PREFIX = "avesa:limits:"
_ATTRIBUTE, _REFUSED = "_limit_releases", "_limit_refused"


def now() -> float:
    """Seconds since 1970."""
    return time.time()


class TooManyRequests(Exception):
    """The limit of a user or tenant is reached. `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many requests. Try again in {retry_after} seconds.")
        self.retry_after = retry_after


@dataclass(frozen=True)
class Limit:
    """At most `at_once` of what `key` names may run at once, and `per_minute` start in a minute."""

    key: str
    at_once: int
    per_minute: int


class Store(Protocol):
    def take(self, token: str, limits: Sequence[Limit], now: float) -> int:
        """Count a request that starts now: 0; or count nothing: the seconds to wait."""

    def release(self, token: str, limits: Sequence[Limit]) -> None:
        """The request has ended."""


class RedisStore:
    # KEYS: per limit the running ones (a sorted set by start) and the counter of this minute.
    _TAKE = """
        local now, token, minute = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
        for i = 1, #KEYS, 2 do
            redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - tonumber(ARGV[4]))
            if redis.call('ZCARD', KEYS[i]) >= tonumber(ARGV[4 + i]) then
                return tonumber(ARGV[5 + #KEYS])
            end
            if tonumber(redis.call('GET', KEYS[i + 1]) or '0') >= tonumber(ARGV[5 + i]) then
                return minute - math.floor(now) % minute
            end
        end
        for i = 1, #KEYS, 2 do
            redis.call('ZADD', KEYS[i], now, token)
            redis.call('EXPIRE', KEYS[i], ARGV[4])
            redis.call('INCR', KEYS[i + 1])
            redis.call('EXPIRE', KEYS[i + 1], minute)
        end
        return 0
    """

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=2)
        self._take = self._client.register_script(self._TAKE)

    def take(self, token: str, limits: Sequence[Limit], now: float) -> int:
        minute = int(now) // MINUTE
        keys = [
            key
            for each in limits
            for key in (f"{_PREFIX}{each.key}", f"{_PREFIX}{each.key}:{minute}")
        ]
        counts = [count for each in limits for count in (each.at_once, each.per_minute)]
        return int(self._take(keys, [now, token, MINUTE, LEASE_SECONDS, *counts, BUSY_SECONDS]))

    def release(self, token: str, limits: Sequence[Limit]) -> None:
        with self._client.pipeline(transaction=False) as pipe:
            for each in limits:
                pipe.zrem(f"{_PREFIX}{each.key}", token)
            pipe.execute()


class FileStore:
    """The same for the processes of one machine, in an SQLite file of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._connection() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS running (key, token, since)")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS started (key, minute, count, PRIMARY KEY (key, minute))"
            )

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction that writes."""
        connection = sqlite3.connect(self._path, timeout=5, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = OFF")  # after a crash, counting starts anew
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()

    def take(self, token: str, limits: Sequence[Limit], now: float) -> int:
        minute = int(now) // MINUTE
        with self._connection() as connection:
            run = connection.execute
            run("DELETE FROM running WHERE since <= ?", [now - LEASE_SECONDS])
            run("DELETE FROM started WHERE minute < ?", [minute])
            for each in limits:
                [running] = run("SELECT count(*) FROM running WHERE key = ?", [each.key]).fetchone()
                if running >= each.at_once:
                    return BUSY_SECONDS
                found = run("SELECT count FROM started WHERE key = ?", [each.key]).fetchone()
                if found and found[0] >= each.per_minute:
                    return MINUTE - int(now) % MINUTE
            for each in limits:
                run("INSERT INTO running VALUES (?, ?, ?)", [each.key, token, now])
                run(
                    "INSERT INTO started VALUES (?, ?, 1) "
                    "ON CONFLICT DO UPDATE SET count = count + 1",
                    [each.key, minute],
                )
        return 0

    def release(self, token: str, limits: Sequence[Limit]) -> None:
        with self._connection() as connection:
            connection.execute("DELETE FROM running WHERE token = ?", [token])


@lru_cache
def _redis_store(url: str) -> Store:
    return RedisStore(url)


@lru_cache
def _file_store(path: Path) -> Store:
    return FileStore(path)


def _local() -> Store:
    return _file_store(settings.VAR_DIR / "limits.sqlite3")


def limits_of(kind: str, tenant: str, caller: str) -> list[Limit]:
    """Those of the caller, then those of the tenant."""
    numbers = settings.REQUEST_LIMITS.get(kind)
    if numbers is None:
        return []
    at_once, per_minute, tenant_at_once, tenant_per_minute = numbers
    return [
        Limit(f"{kind}:{tenant}:{caller}", at_once, per_minute),
        Limit(f"{kind}:{tenant}", tenant_at_once, tenant_per_minute),
    ]


def take(request: HttpRequest, kind: str, tenant: str, caller: str) -> None:
    """Count this request as one of `kind` until its response is sent. Raises TooManyRequests."""
    limits = limits_of(kind, tenant, caller)
    if not limits:
        return
    token = uuid.uuid4().hex
    store, seconds = _take(token, limits)
    if seconds:
        log.warning("too many requests of kind %s by %s", kind, caller)
        setattr(request, _REFUSED, True)
        raise TooManyRequests(seconds)
    releases = getattr(request, _ATTRIBUTE, [])
    releases.append(lambda: _release(store, token, limits))
    setattr(request, _ATTRIBUTE, releases)


def _take(token: str, limits: Sequence[Limit]) -> tuple[Store, int]:
    if settings.CACHE_URL:
        store = _redis_store(settings.CACHE_URL)
        try:
            return store, store.take(token, limits, now())
        except redis.RedisError as error:
            log.warning("Redis does not count requests: %s", error)
    store = _local()
    return store, store.take(token, limits, now())


def _release(store: Store, token: str, limits: Sequence[Limit]) -> None:
    with suppress(redis.RedisError, sqlite3.Error):  # it ends with its lease
        store.release(token, limits)


class ReleaseLimits:
    """Middleware: what a request took is free again when its response is sent, or given up.

    Who is refused and asks for the same page before the time is over gets the same response again,
    before anything else is done for him.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        self._refused: dict[Any, tuple[float, HttpResponse]] = {}

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        key = _caller(request), request.path
        until, refusal = self._refused.get(key, (0.0, None))
        if refusal is not None and (seconds := until - now()) > 0:
            return _again(refusal, seconds)
        response = self._get_response(request)
        if hasattr(request, _REFUSED) and isinstance(response, HttpResponse):
            self._remember(key, response)
        releases = getattr(request, _ATTRIBUTE, [])
        if releases:
            close = response.close

            def close_and_release() -> Any:
                try:
                    close()
                finally:
                    while releases:
                        releases.pop()()

            response.close = close_and_release  # type: ignore[method-assign]
        return response

    def _remember(self, key: Any, response: HttpResponse) -> None:
        if len(self._refused) >= MAX_REFUSED:
            self._refused.clear()
        self._refused[key] = now() + int(response["Retry-After"]), response


def _caller(request: HttpRequest) -> tuple[str, ...]:
    """What tells callers apart before anyone has checked it."""
    session = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    address = request.META.get("REMOTE_ADDR", "")
    return session, request.headers.get("Authorization", ""), address


def _again(refusal: HttpResponse, seconds: float) -> HttpResponse:
    response = HttpResponse(refusal.content, status=refusal.status_code, headers=refusal.headers)
    response["Retry-After"] = str(ceil(seconds))
    return response
