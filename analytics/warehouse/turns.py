"""Turns to use the warehouse: a bounded number at once, a fair share for each tenant."""

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from analytics.warehouse.errors import WarehouseBusy

ALONE_SECONDS = 10  # after which other tenants count as gone


class Turns:
    """At most `at_once` turns: half of them for a tenant that is alone, else a quarter for each.

    Others wait up to `seconds`. The next turn goes to the tenant with the fewest, and among equals
    to the one that waited longest.
    """

    def __init__(self, at_once: int, seconds: float) -> None:
        self.at_once = at_once
        self.seconds = seconds
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._ranks: defaultdict[str, set[int]] = defaultdict(set)
        self._waiting: dict[int, str] = {}
        self._seen: dict[str, float] = {}

    @contextmanager
    def turn(self, tenant: str) -> Iterator[int]:
        """Wait for a turn; its rank is 1 for the tenant's first, 2 for a second beside it, …

        While a tenant is alone, all of its turns have rank 1. Raises WarehouseBusy.
        """
        rank = self._begin(tenant)
        try:
            yield rank if self._others(tenant) else 1
        finally:
            with self._changed:
                self._ranks[tenant].discard(rank)
                if not self._ranks[tenant]:
                    del self._ranks[tenant]
                self._changed.notify_all()

    def _begin(self, tenant: str) -> int:
        with self._changed:
            self._seen[tenant] = time.monotonic()
            number = next(self._numbers)
            self._waiting[number] = tenant
            try:
                if not self._changed.wait_for(lambda: self._next() == number, self.seconds):
                    raise WarehouseBusy("Too many statements are running. Try again later.")
            finally:
                del self._waiting[number]
            taken = self._ranks[tenant]
            rank = next(each for each in itertools.count(1) if each not in taken)
            taken.add(rank)
            self._changed.notify_all()  # there may be room for another one
            return rank

    def _others(self, tenant: str) -> bool:
        """Whether other tenants had turns, or waited for one, a moment ago."""
        with self._changed:
            since = time.monotonic() - ALONE_SECONDS
            self._seen = {name: seen for name, seen in self._seen.items() if seen > since}
            return bool(self._seen.keys() - {tenant})

    def _next(self) -> int | None:
        """The number that has the next turn, if there is room."""
        counts = {tenant: len(ranks) for tenant, ranks in self._ranks.items() if ranks}
        if sum(counts.values()) >= self.at_once:
            return None
        possible = [
            (counts.get(tenant, 0), number)
            for number, tenant in self._waiting.items()
            if counts.get(tenant, 0) < self._share(tenant)
        ]
        return min(possible)[1] if possible else None

    def _share(self, tenant: str) -> int:
        return max(1, self.at_once // (4 if self._others(tenant) else 2))
