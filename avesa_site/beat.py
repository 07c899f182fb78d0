"""Beat's scheduler, which also shows that it lives and watches the workers."""

import logging
from time import monotonic

from django.db import DatabaseError
from django_celery_beat.schedulers import DatabaseScheduler

log = logging.getLogger(__name__)

SECONDS_BETWEEN = 20


class Scheduler(DatabaseScheduler):  # type: ignore[misc] # it has no types
    _began = monotonic()  # of this process
    _noted = float("-inf")

    def tick(self, *arguments: object, **options: object) -> float:
        seconds: float = super().tick(*arguments, **options)
        if monotonic() - self._noted > SECONDS_BETWEEN:
            self._note()
        return min(seconds, SECONDS_BETWEEN)

    def _note(self) -> None:
        from .health import OLDEST_SIGN, watch
        from .models import Heartbeat

        try:
            Heartbeat.note("beat")
            self._noted = monotonic()
            if monotonic() - self._began > OLDEST_SIGN:
                watch("worker")
        except DatabaseError as error:  # it is tried again at the next tick
            log.warning("beat could not note that it lives: %s", error)
