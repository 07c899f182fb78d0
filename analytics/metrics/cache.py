"""Answers kept by data version: a load makes a new version, so nothing stale is ever shown.

The key holds everything that the answer depends on: the tenant, the statement with all of its
parameters, and the version of the tables that it reads. Nothing is deleted by hand.
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

Answer = TypeVar("Answer")


class NotCached(LookupError):
    """The answer is not in the cache."""


def cached(
    tenant: Tenant,
    name: str,
    question: Any,
    version: str,
    answer: Callable[[], tuple[Answer, float]] | None,
) -> tuple[Answer, float]:
    """(answer, milliseconds), from the cache in 0.0 if it was asked of this version before.

    `question` is whatever decides the answer besides tenant and version; its repr is compared.
    What rests on no version is not kept. Without `answer`, what is not kept raises NotCached.
    """
    if not version:
        return _asked(answer)
    text = repr((tenant.id, name, question, version))
    key = f"metric:{tenant.id}:{name}:{hashlib.sha256(text.encode()).hexdigest()}"
    kept = cache.get(key)
    # Two questions with one hash would have to be told apart, so the question is kept as well.
    if kept is not None and kept[0] == text:
        _count("hits", name)
        return kept[1], 0.0
    found, milliseconds = _asked(answer)
    _count("misses", name)
    cache.set(key, (text, found), settings.METRIC_CACHE_SECONDS)
    return found, milliseconds


def _asked(answer: Callable[[], tuple[Answer, float]] | None) -> tuple[Answer, float]:
    if answer is None:
        raise NotCached
    return answer()


# --- How often that helps. Counted here and handed on now and then: a note for each answer would
# cost more than the answer.

_counts: Counter[str] = Counter()
_handed_on = monotonic()
_counting = Lock()
SECONDS_BETWEEN = 10


def _count(what: str, name: str) -> None:
    with _counting:
        _counts[f"metric-cache:{what}:{name}"] += 1
    if monotonic() - _handed_on > SECONDS_BETWEEN:
        _hand_on()


def _hand_on() -> None:
    global _handed_on
    with _counting:
        waiting = dict(_counts)
        _counts.clear()
        _handed_on = monotonic()
    for key, count in waiting.items():
        cache.add(key, 0, None)
        try:
            cache.incr(key, count)
        except ValueError:  # it was thrown out between the two
            cache.set(key, count, None)


def uses(names: list[str]) -> dict[str, tuple[int, int]]:
    """{name: (hits, misses)} since the counters began; of other processes, some seconds late."""
    _hand_on()
    keys = [f"metric-cache:{what}:{name}" for name in names for what in ("hits", "misses")]
    found = cache.get_many(keys)
    return {
        name: (
            found.get(f"metric-cache:hits:{name}", 0),
            found.get(f"metric-cache:misses:{name}", 0),
        )
        for name in names
    }
