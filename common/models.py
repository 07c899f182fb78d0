"""Heartbeats of processes that have no port to probe."""

from datetime import timedelta

from django.db import models
from django.utils import timezone

MAX_SIGNAL_AGE = 180  # seconds; one of three canaries may be lost


class Heartbeat(models.Model):
    """The last heartbeat of `beat`, and of `worker` (any worker that ran a canary).

    The row `schedule` holds the time up to which beat has sent everything that was due.
    """

    name = models.CharField(max_length=32, unique=True)
    at = models.DateTimeField()
    since = models.DateTimeField(
        default=timezone.now, help_text="Start of the current unbroken series of heartbeats."
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def age(self) -> timedelta:
        """How long ago it was, or how far ahead if the clock was set back since."""
        return abs(timezone.now() - self.at)

    @classmethod
    def record(cls, name: str) -> None:
        now = timezone.now()
        heartbeat, is_first = cls.objects.get_or_create(name=name, defaults={"at": now})
        if not is_first:
            if heartbeat.age.total_seconds() > MAX_SIGNAL_AGE:
                heartbeat.since = now
            heartbeat.at = now
            heartbeat.save()
