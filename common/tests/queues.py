"""What time does to leased work, done to it at once."""

from dataclasses import replace
from datetime import timedelta

from django.utils import timezone


def make_due(model):
    """All that waits may be taken now."""
    model.objects.update(try_at=None)


def lose(model):
    """The workers that have some are given up."""
    model.objects.exclude(claimed_at=None).update(claimed_at=timezone.now() - timedelta(hours=1))


def impatient(policy, first=timedelta(0)):
    """The same policy, hardly waiting."""
    return replace(policy, first=first)
