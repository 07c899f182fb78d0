"""One lease for every queue: which worker has a row of work, and what happens when a try fails.

Rows decide, messages only wake workers. Whoever claims a row with one conditional UPDATE has it for
as long as it shows signs of life. Each later write names the claim, so a worker that was given up
changes nothing any more.
"""

from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import Case, F, Q, QuerySet, When
from django.utils import timezone

from common.retries import RetryPolicy

MAX_CLOCK_SKEW = timedelta(minutes=5)  # between the clocks of workers


class Leased(models.Model):
    """A row of work that one worker has at a time.

    `claimed_at` is set exactly while a worker has it: whatever ends or cancels the work clears it.
    Each kind of work adds its own states, and which of them wait for a worker.
    """

    LEASE: ClassVar[timedelta]
    RETRY: ClassVar[RetryPolicy]

    try_at = models.DateTimeField(
        "not before",
        null=True,
        blank=True,
        help_text="A worker may take it from this moment on; none: at once.",
    )
    claimed_at = models.DateTimeField(
        "last heartbeat",
        null=True,
        blank=True,
        help_text="Of the worker that has it; none while no worker has.",
    )
    claims = models.PositiveIntegerField(
        "times started", default=0, help_text="How often a worker took it."
    )
    attempts = models.PositiveIntegerField(
        default=0, help_text="Tries in a row that failed, or whose worker died."
    )

    class Meta:
        abstract = True

    # --- Taking it

    @classmethod
    def lease(cls) -> timedelta:
        """A worker that shows no sign of life for this long is given up."""
        return cls.LEASE

    @classmethod
    def lost(cls, now: datetime) -> QuerySet[Self]:
        """Work whose worker shows no sign of life any more."""
        return cls._default_manager.filter(is_silent("claimed_at", now, cls.lease()))

    @classmethod
    def free(cls, now: datetime) -> QuerySet[Self]:
        """Work to be claimed now: it is due and no worker has it, or its worker is lost."""
        is_due = Q(try_at=None) | has_come("try_at", now, cls.RETRY.longest)
        is_lost = is_silent("claimed_at", now, cls.lease())
        return cls._default_manager.filter(Q(is_due, claimed_at=None) | is_lost)

    @classmethod
    def claim(cls, free: QuerySet[Self], key: int, **values: Any) -> Self | None:
        """Claim the row `key` of `free`; None if it is not, or no longer, among them.

        If the row was lost, its worker has died: that counts as an attempt.
        """
        attempts = Case(When(claimed_at=None, then=F("attempts")), default=F("attempts") + 1)
        claimed = free.filter(pk=key).update(
            claimed_at=timezone.now(), claims=F("claims") + 1, attempts=attempts, **values
        )
        return cls._default_manager.get(pk=key) if claimed else None

    # --- While it is ours. Each returns False if it is not ours any more.

    def ours(self) -> QuerySet[Self]:
        """Its row, unless someone has ended it, or claimed it after us."""
        return type(self)._default_manager.filter(
            pk=self.pk, claims=self.claims, claimed_at__isnull=False
        )

    def beat(self, **values: Any) -> bool:
        """Renew the lease with a heartbeat, and set `values`."""
        return bool(self.ours().update(claimed_at=timezone.now(), **values))

    def give_back(self, **values: Any) -> bool:
        """Release the claim: the work has ended, or waits."""
        return bool(self.ours().update(claimed_at=None, **values))

    def retry(self, **values: Any) -> bool:
        """Release the claim after a failure. The next try waits, longer each time."""
        attempts = self.attempts + 1
        try_at = timezone.now() + self.RETRY.wait(attempts)
        return self.give_back(attempts=attempts, try_at=try_at, **values)

    @property
    def may_retry(self) -> bool:
        """Whether it may be tried again if this try fails."""
        return self.RETRY.allows(self.attempts + 1)

    @property
    def is_exhausted(self) -> bool:
        """Whether the worker that had it before us died at the last attempt."""
        return not self.RETRY.allows(self.attempts)


# --- Times in rows, judged so that a clock that was set back does not make work wait for ever: what
# lies further ahead than anyone writes it was written by a clock that ran ahead.


def has_come(field: str, now: datetime, longest: timedelta) -> Q:
    """The time in `field` has come; it is written at most `longest` ahead."""
    ahead = now + longest + MAX_CLOCK_SKEW
    return Q(**{f"{field}__lte": now}) | Q(**{f"{field}__gt": ahead})


def is_silent(field: str, now: datetime, limit: timedelta) -> Q:
    """The last sign of life in `field` is older than `limit`."""
    return Q(**{f"{field}__lt": now - limit}) | Q(**{f"{field}__gt": now + limit})
