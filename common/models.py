"""Signs of life of processes that nobody can ask."""

from datetime import timedelta

from django.db import models
from django.utils import timezone

MAX_SIGNAL_AGE = 180  # seconds: of three canaries one may be lost


class Heartbeat(models.Model):
    """When a process last showed that it works: `beat`, and `worker` for a task that was run.
    `schedule` is the moment up to which beat has sent all that was due.
    """

    name = models.CharField(max_length=32, unique=True)
    at = models.DateTimeField()
    since = models.DateTimeField(
        default=timezone.now, help_text="Since when it has shown that without a break."
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def age(self) -> timedelta:
        """How long ago; or how far ahead, if the clock was set back since."""
        return abs(timezone.now() - self.at)

    @classmethod
    def note(cls, name: str) -> None:
        now = timezone.now()
        sign, is_first = cls.objects.get_or_create(name=name, defaults={"at": now})
        if not is_first:
            if sign.age.total_seconds() > MAX_SIGNAL_AGE:
                sign.since = now
            sign.at = now
            sign.save()
