"""Beat's scheduler, which outlives an absent database and a clock that is set back.

It also shows that it lives, and watches the workers.
"""

import logging
from time import monotonic

from django.db import Error, connections
from django.db.models import Q
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

log = logging.getLogger(__name__)

SECONDS_BETWEEN = 20
SECONDS_UNTIL_RETRY = 2.0


class Scheduler(DatabaseScheduler):  # type: ignore[misc] # it has no types
    _began = monotonic()  # of this process
    _noted = float("-inf")

    def setup_schedule(self) -> None:
        """Entries of earlier releases would go on, for tasks that are no more."""
        ours = self.app.conf.beat_schedule
        PeriodicTask.objects.exclude(Q(name__in=ours) | Q(name__startswith="celery.")).delete()
        super().setup_schedule()

    def tick(self, *arguments: object, **options: object) -> float:
        try:
            self._heed_the_clock()
            seconds: float = super().tick(*arguments, **options)
        except Error as error:
            log.warning("beat waits for the database: %s", error)
            connections.close_all()
            return SECONDS_UNTIL_RETRY
        if monotonic() - self._noted > SECONDS_BETWEEN:
            self._note()
        return min(seconds, SECONDS_BETWEEN)

    def _heed_the_clock(self) -> None:
        """What was last run in the future, as it seems, would not run until that has come again."""
        now = timezone.now()
        ahead = [each for each in self.schedule.values() if each.model.last_run_at > now]
        for entry in ahead:
            entry.last_run_at = entry.model.last_run_at = now
        if ahead:
            self._heap_invalidated = True  # its times were reckoned from those

    def _note(self) -> None:
        from avesa_site.health import watch
        from common.models import OLDEST_SIGN, Heartbeat

        try:
            Heartbeat.note("beat")
            self._noted = monotonic()
            if monotonic() - self._began > OLDEST_SIGN:
                watch("worker")
        except Error as error:  # it is tried again at the next tick
            log.warning("beat could not note that it lives: %s", error)
