"""Retry policies: how often work is tried, and after which waits.

Each model sets its own `RETRY`: loaders/models.py, analytics/reports/models.py, tenants/models.py.
"""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often work may fail in a row, and how long it waits after each failure."""

    first: timedelta
    factor: int = 2
    longest: timedelta
    attempts: int | None  # None: for as long as it fails

    def wait(self, failures: int) -> timedelta:
        """The wait after so many failures in a row, from 1."""
        wait = self.first
        for _ in range(failures - 1):
            wait = min(wait * self.factor, self.longest)
        return wait

    def allows(self, failures: int) -> bool:
        """Whether work that failed so often in a row is tried again."""
        return self.attempts is None or failures < self.attempts
