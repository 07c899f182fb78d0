"""Beat's scheduler. It keeps running without the database or the broker, and survives a clock
that is set back. It also writes a heartbeat and monitors the workers.

The schedule is in the settings, its state in memory. Only one value must survive a restart: the
time up to which everything due was sent. It is stored in a `Heartbeat` row, which two beats share
and a new host can read. Celery's PersistentScheduler uses a file, which is lost with a container.
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
    _all_sent_at: datetime | None = None  # when the schedule was last fully sent
    _heartbeat_from = float("-inf")  # earliest time of the next heartbeat
    _is_caught_up = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._started = monotonic()
        super().__init__(*arguments, **options)

    def setup_schedule(self) -> None:
        """Make intervals due at once: a beat that restarts often would never reach long ones."""
        super().setup_schedule()
        for entry in self.schedule.values():
            if isinstance(entry.schedule, schedule):
                entry.last_run_at = entry.default_now() - timedelta(seconds=entry.schedule.seconds)

    def tick(self, *arguments: Any, **options: Any) -> float:
        self._correct_future_times()
        if monotonic() >= self._heartbeat_from:
            self._write_heartbeat()
        try:
            self.producer  # noqa: B018 (connects before an entry is popped)
            seconds = super().tick(*arguments, **options)
        except BROKER_ERRORS as error:
            log.warning("beat is waiting for the broker: %s", error)
            self._heap = None  # it has lost the entry that could not be sent
            return SECONDS_UNTIL_RETRY
        if seconds > 0:
            self._all_sent_at = timezone.now()
        return seconds

    def apply_entry(
        self, entry: beat.ScheduleEntry, producer: kombu.Producer | None = None
    ) -> None:
        """If the broker is down, the entry stays due. Celery would skip it until its next time."""
        log.info("sending %s", entry.name)
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except beat.SchedulingError as error:
            if isinstance(error.__context__, BROKER_ERRORS):
                self.schedule[str(entry.name)] = entry  # restore it: Celery has marked it as sent
                raise error.__context__ from error
            log.exception("%s cannot be sent", entry.name)

    def _ensure_connected(self) -> kombu.Connection:
        """Celery's version blocks for most of an hour, without heartbeats, and then gives up."""
        return self.connection.ensure_connection(max_retries=1, interval_start=0)

    def _correct_future_times(self) -> None:
        """After the clock was set back, entries sent "in the future" would not run until then."""
        now = timezone.now()
        ahead = [each for each in self.schedule.values() if (each.last_run_at or now) > now]
        for entry in ahead:
            entry.last_run_at = now
        if ahead:
            self._heap = None  # it was built with the same clock

    def _write_heartbeat(self) -> None:
        self._heartbeat_from = monotonic() + SECONDS_BETWEEN_HEARTBEATS
        try:
            if not self._is_caught_up:
                self._catch_up()
            if self._all_sent_at:
                row = {"at": self._all_sent_at}
                Heartbeat.objects.update_or_create(name="schedule", defaults=row)
            Heartbeat.record("beat")
            if monotonic() - self._started > MAX_SIGNAL_AGE:
                watch("worker")
        except Error as error:
            log.warning("beat could not write its heartbeat: %s", error)
            connections.close_all()  # a broken connection is not repaired

    def _catch_up(self) -> None:
        """Make times of day that passed while no beat ran due now, once."""
        all_sent = Heartbeat.objects.filter(name="schedule").first()
        for entry in self.schedule.values():
            if all_sent and isinstance(entry.schedule, crontab) and not entry.total_run_count:
                entry.last_run_at = min(entry.default_now(), all_sent.at)
        self._heap = None
        self._is_caught_up = True
