"""A cache of query results by data version: a load makes a new version, so no hit is ever stale.

The key covers everything that the result depends on: the tenant, the statement with all of its
parameters, and the version of the tables that it reads (freshness.py). Entries expire; none is
deleted.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

from django.conf import settings
from django.core.cache import cache

from tenants.models import Tenant

Result = TypeVar("Result")


class CacheMiss(LookupError):
    """The result is not in the cache."""


def cached(
    tenant: Tenant,
    name: str,
    query: Any,
    version: str,
    compute: Callable[[], tuple[Result, float]] | None,
) -> tuple[Result, float]:
    """(result, milliseconds) of `compute`; a hit takes 0.0 milliseconds, and has lists for tuples.

    `query` is everything besides tenant and version that the result depends on; its repr is
    compared. Results without a version are not cached. Without `compute`, a miss raises CacheMiss.
    """
    if not version:
        return _computed(compute)
    text = repr((tenant.id, name, query, version))
    key = f"metric:{tenant.id}:{name}:{hashlib.sha256(text.encode()).hexdigest()}"
    entry = cache.get(key)
    # The entry holds the query too, so that two queries with the same hash are not confused.
    if entry is not None and entry[0] == text:
        _count("hits", name)
        return entry[1], 0.0
    result, milliseconds = _computed(compute)
    _count("misses", name)
    cache.set(key, (text, result), settings.METRIC_CACHE_SECONDS)
    return result, milliseconds


def _computed(compute: Callable[[], tuple[Result, float]] | None) -> tuple[Result, float]:
    if compute is None:
        raise CacheMiss
    return compute()


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
