"""Signs of life of processes that nobody can ask."""

from datetime import timedelta

from django.db import models
from django.utils import timezone


class Heartbeat(models.Model):
    """When a process last showed that it works: `beat`, and `worker` for a task that was run."""

    name = models.CharField(max_length=32, unique=True)
    at = models.DateTimeField()

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
        cls.objects.update_or_create(name=name, defaults={"at": timezone.now()})
