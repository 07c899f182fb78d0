"""Beat's scheduler. It needs neither the database nor the broker to keep going, and survives a
clock that is set back. It also writes a heartbeat, and watches the workers.

The schedule is in the settings, its state in memory. Only one thing has to outlive a restart: up to
when everything due was sent. A `Heartbeat` row tells, which a new host finds as well and two beats
share; the file of Celery's PersistentScheduler is lost with a container, and cannot be shared.
"""

import logging
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import kombu
from celery import beat
from celery.schedules import crontab, schedule
from django.db import Error, connections
from django.utils import timezone
from kombu.exceptions import OperationalError

from common.models import MAX_SIGNAL_AGE, Heartbeat

from .health import watch

log = logging.getLogger(__name__)

SECONDS_BETWEEN_HEARTBEATS = 20
SECONDS_UNTIL_RETRY = 2.0
BROKER_ERRORS = (OperationalError, OSError)


class Scheduler(beat.Scheduler):
    max_interval = SECONDS_BETWEEN_HEARTBEATS
    _heap: list[Any] | None  # when each entry is next due
    _all_sent_at: datetime | None = None  # when last nothing was left to send
    _heartbeat_from = float("-inf")  # when the next one may be written
    _is_caught_up = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._started = monotonic()
        super().__init__(*arguments, **options)

    def setup_schedule(self) -> None:
        """Intervals are due at once: a beat that restarts often would never reach the long ones."""
        super().setup_schedule()
        for entry in self.schedule.values():
            if isinstance(entry.schedule, schedule):
                entry.last_run_at = entry.default_now() - timedelta(seconds=entry.schedule.seconds)

    def tick(self, *arguments: Any, **options: Any) -> float:
        self._correct_future_times()
        if monotonic() >= self._heartbeat_from:
            self._write_heartbeat()
        try:
            self.producer  # noqa: B018 (connects before an entry is taken)
            seconds = super().tick(*arguments, **options)
        except BROKER_ERRORS as error:
            log.warning("beat waits for the broker: %s", error)
            self._heap = None  # without the entry that could not be sent
            return SECONDS_UNTIL_RETRY
        if seconds > 0:
            self._all_sent_at = timezone.now()
        return seconds

    def apply_entry(
        self, entry: beat.ScheduleEntry, producer: kombu.Producer | None = None
    ) -> None:
        """If the broker is away the entry stays due. Celery would skip it until its next time."""
        log.info("sending %s", entry.name)
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except beat.SchedulingError as error:
            if isinstance(error.__context__, BROKER_ERRORS):
                self.schedule[str(entry.name)] = entry  # as it was before it counted as sent
                raise error.__context__ from error
            log.exception("%s cannot be sent", entry.name)

    def _ensure_connected(self) -> kombu.Connection:
        """Celery's own waits here for most of an hour, without heartbeats, and then gives up."""
        return self.connection.ensure_connection(max_retries=1, interval_start=0)

    def _correct_future_times(self) -> None:
        """After the clock was set back, what ran "in the future" would wait until that has come."""
        now = timezone.now()
        ahead = [each for each in self.schedule.values() if (each.last_run_at or now) > now]
        for entry in ahead:
            entry.last_run_at = now
        if ahead:
            self._heap = None  # its times come from the same clock

    def _write_heartbeat(self) -> None:
        self._heartbeat_from = monotonic() + SECONDS_BETWEEN_HEARTBEATS
        try:
            if not self._is_caught_up:
                self._catch_up()
            if self._all_sent_at:
                row = {"at": self._all_sent_at}
                Heartbeat.objects.update_or_create(name="schedule", defaults=row)
            Heartbeat.note("beat")
            if monotonic() - self._started > MAX_SIGNAL_AGE:
                watch("worker")
        except Error as error:
            log.warning("beat could not write its heartbeat: %s", error)
            connections.close_all()  # a broken one would stay broken

    def _catch_up(self) -> None:
        """Times of day that passed while no beat ran are due now, once."""
        all_sent = Heartbeat.objects.filter(name="schedule").first()
        for entry in self.schedule.values():
            if all_sent and isinstance(entry.schedule, crontab) and not entry.total_run_count:
                entry.last_run_at = min(entry.default_now(), all_sent.at)
        self._heap = None
        self._is_caught_up = True
