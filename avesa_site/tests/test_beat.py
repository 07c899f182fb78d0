"""Beat shows that it lives, goes on without the database for a while, and after its clock was set
back.
"""

from datetime import timedelta
from time import monotonic

import pytest
from django.db import OperationalError
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from avesa_site import beat
from avesa_site.celery import app
from common.models import Heartbeat
from tenants.models import Alert

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = {"sweep load jobs", "sweep pipelines", "canary"}


@pytest.fixture
def sent(monkeypatch):
    """Names of the entries whose messages a real scheduler would have sent."""
    names = []
    monkeypatch.setattr(
        beat.Scheduler, "apply_entry", lambda self, entry, producer=None: names.append(entry.name)
    )
    return names


@pytest.fixture
def start(sent):
    """A real scheduler, which leaves nothing to be done when the process ends."""

    def starting():
        scheduler = beat.Scheduler(app)
        scheduler._finalize.cancel()
        return scheduler

    return starting


def tick(scheduler, times=40):
    for _ in range(times):
        scheduler.tick()


def all_ran_at(moment):
    PeriodicTask.objects.update(last_run_at=moment)


def test_it_shows_that_it_lives_but_not_at_every_tick(start):
    scheduler = start()
    scheduler.tick()
    first = Heartbeat.objects.get(name="beat").at
    scheduler.tick()
    assert Heartbeat.objects.get(name="beat").at == first


def test_it_watches_the_worker_once_it_had_time_to_show_up(start):
    scheduler = start()
    scheduler._began = monotonic()
    scheduler.tick()
    assert not Alert.objects.exists()
    scheduler._began, scheduler._noted = monotonic() - 600, float("-inf")
    scheduler.tick()
    assert Alert.objects.get().subject == "worker"


def test_a_clock_that_was_set_back_stops_nothing(start, sent):
    scheduler = start()
    tick(scheduler)
    sent.clear()
    for entry in scheduler.schedule.values():  # as if each had run when the clock was a day ahead
        entry.last_run_at = entry.model.last_run_at = timezone.now() + timedelta(days=1)
    scheduler._heap = None
    tick(scheduler)
    waits = [entry.is_due().next for entry in scheduler.schedule.values()]
    assert all(entry.model.last_run_at <= timezone.now() for entry in scheduler.schedule.values())
    for entry in scheduler.schedule.values():
        entry.last_run_at = entry.model.last_run_at = timezone.now() - timedelta(minutes=10)
    scheduler._heap = None
    tick(scheduler)
    assert set(sent) >= NAMES
    assert min(waits) <= 60


def test_times_of_the_future_in_the_database_are_mended_at_the_start(start):
    start()
    all_ran_at(timezone.now() + timedelta(days=1))
    scheduler = start()
    tick(scheduler, 1)
    assert all(entry.model.last_run_at <= timezone.now() for entry in scheduler.schedule.values())


def test_entries_of_earlier_releases_go(start):
    start()
    every = PeriodicTask.objects.get(name="canary").interval
    PeriodicTask.objects.create(name="forget quiet runs", task="no.more", interval=every)
    scheduler = start()
    names = set(PeriodicTask.objects.values_list("name", flat=True))
    assert names == set(scheduler.schedule)
    assert "forget quiet runs" not in names
    assert set(app.conf.beat_schedule) <= names


def test_it_waits_for_a_database_that_is_away(start, monkeypatch):
    scheduler = start()
    tick(scheduler)
    with monkeypatch.context() as patch:

        def fail(self):
            raise OperationalError("the server closed the connection")

        patch.setattr(beat.Scheduler, "_heed_the_clock", fail)
        patch.setattr(beat.connections, "close_all", lambda: None)  # this test's own is needed
        assert scheduler.tick() == beat.SECONDS_UNTIL_RETRY
    assert scheduler.tick() is not None
