"""A cache of query results by data version: a load makes a new version, so no hit is ever stale.

The key covers everything that the result depends on: the tenant, the statement with all of its
parameters, and the version of the tables that it reads (freshness.py). Entries expire; none is
deleted.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Any, TypeVar, cast

from django.conf import settings
from django.core.cache import cache

from tenants.models import Tenant

Result = TypeVar("Result")


@dataclass(frozen=True)
class Key:
    """What a result depends on. Hits are counted by `name`, which is no part of it."""

    name: str
    text: str
    cache_key: str


def key_of(tenant: Tenant, name: str, query: Any, version: str) -> Key | None:
    """The key of `query`'s result, or None without a version: such results are not cached.

    `query` is everything besides tenant and version that the result depends on; its repr is
    compared.
    """
    if not version:
        return None
    text = repr((tenant.id, query, version))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Key(name, text, f"metric:{tenant.id}:{digest}")


def find(keys: Iterable[Key]) -> dict[Key, Any]:
    """The results that are cached, with lists for tuples."""
    by_cache_key = {key.cache_key: key for key in keys}
    found = cache.get_many(list(by_cache_key)) if by_cache_key else {}
    # An entry holds the query too, so that two queries with the same hash are not confused.
    results = {
        key: found[cache_key][1]
        for cache_key, key in by_cache_key.items()
        if cache_key in found and found[cache_key][0] == key.text
    }
    for key in by_cache_key.values():
        _count("hits" if key in results else "misses", key.name)
    return results


def keep(results: Mapping[Key, Any]) -> None:
    cache.set_many(
        {key.cache_key: (key.text, result) for key, result in results.items()},
        settings.METRIC_CACHE_SECONDS,
    )


def cached(
    tenant: Tenant, name: str, query: Any, version: str, compute: Callable[[], Result]
) -> Result:
    """The result of `compute`, or the cached one, which has lists for tuples."""
    key = key_of(tenant, name, query, version)
    if key is None:
        return compute()
    for found in find([key]).values():
        return cast("Result", found)
    result = compute()
    keep({key: result})
    return result


# --- Hit counts. Each process counts in memory and publishes every few seconds: a write per query
# would cost more than a hit saves.

_counts: Counter[str] = Counter()
_published_at = monotonic()
_lock = Lock()
PUBLISH_SECONDS = 10


def _count(outcome: str, name: str) -> None:
    with _lock:
        _counts[f"metric-cache:{outcome}:{name}"] += 1
    if monotonic() - _published_at > PUBLISH_SECONDS:
        _publish_counts()


def _publish_counts() -> None:
    global _published_at
    with _lock:
        pending = dict(_counts)
        _counts.clear()
        _published_at = monotonic()
    for key, count in pending.items():
        cache.add(key, 0, None)
        try:
            cache.incr(key, count)
        except ValueError:  # evicted between the two
            cache.set(key, count, None)


def reset_hit_counts() -> None:
    _counts.clear()


def hit_counts(names: list[str]) -> dict[str, tuple[int, int]]:
    """{name: (hits, misses)} of all processes since the counters started; some seconds late."""
    _publish_counts()
    keys = [f"metric-cache:{outcome}:{name}" for name in names for outcome in ("hits", "misses")]
    found = cache.get_many(keys)
    return {
        name: (
            found.get(f"metric-cache:hits:{name}") or 0,
            found.get(f"metric-cache:misses:{name}") or 0,
        )
        for name in names
    }
