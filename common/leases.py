"""Times in rows, judged so that a clock that was set back does not make work wait for ever.

What lies further ahead than anybody sets it was written by a clock that ran ahead.
"""

from datetime import datetime, timedelta

from django.db.models import Q

# Seconds after which a message is dropped that nobody took: sweeps send it again. Long enough for
# hosts whose clocks differ by minutes, since it is beat's that decides when they are over.
EXPIRES = 600


def has_come(field: str, now: datetime, longest: timedelta) -> Q:
    """The time in `field` has come; nobody sets it further ahead than `longest`."""
    return Q(**{f"{field}__lte": now}) | Q(**{f"{field}__gt": now + longest})


def is_silent(field: str, now: datetime, limit: timedelta) -> Q:
    """The last sign in `field` is older than `limit`."""
    return Q(**{f"{field}__lt": now - limit}) | Q(**{f"{field}__gt": now + limit})
