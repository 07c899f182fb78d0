"""Beat writes its heartbeat, and keeps running without the database or the broker, after a restart,
and after its clock was changed.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.db import OperationalError as DatabaseDown
from django.utils import timezone
from kombu.exceptions import EncodeError, OperationalError

from avesa_site import beat
from avesa_site.celery import app
from common.models import Heartbeat
from tenants.models import Alert

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
NAMES = set(configured.CELERY_BEAT_SCHEDULE)
NIGHTLY = "purge old records"  # at 4:41
HOURLY = "check integrity"  # at 3:17, 4:17, 5:17 and 6:17
INTERVALS = {
    name
    for name, entry in configured.CELERY_BEAT_SCHEDULE.items()
    if isinstance(entry["schedule"], float)
}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ROOT = Path(__file__).resolve().parents[2]


class Clock:
    """A fake clock: the time of day, and the monotonic time."""

    def __init__(self):
        self.now = datetime(2026, 3, 10, 4, 0, tzinfo=UTC)
        self.passed = 1000.0

    def sleep(self, seconds):
        self.passed += max(seconds, 0.001)
        self.now += timedelta(seconds=max(seconds, 0.001))


class Broker:
    """Counts the entries that were sent; raises `error` instead while there is one."""

    def __init__(self):
        self.sent = Counter()
        self.error = None

    def send(self, entry, **options):
        if self.error:
            raise self.error
        self.sent[entry.name] += 1


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(app, "now", lambda: clock.now)
    monkeypatch.setattr(timezone, "now", lambda: clock.now)
    monkeypatch.setattr(beat, "monotonic", lambda: clock.passed)
    return clock


@pytest.fixture
def broker(monkeypatch):
    broker = Broker()

    def apply_async(self, entry, **options):
        try:
            broker.send(entry)
        except Exception as error:
            raise beat.beat.SchedulingError(str(error))  # noqa: B904 (as Celery does)

    monkeypatch.setattr(beat.Scheduler, "apply_async", apply_async)
    monkeypatch.setattr(beat.Scheduler, "producer", None)
    return broker


@pytest.fixture
def start(clock, broker):
    return lambda: beat.Scheduler(app)


@pytest.fixture
def run(clock):
    """Runs a scheduler as Celery does, for some time on a fake clock."""

    def running(scheduler, duration):
        end = clock.passed + duration.total_seconds()
        while clock.passed < end:
            clock.sleep(min(scheduler.tick(), end - clock.passed))

    return running


@pytest.fixture
def no_database(monkeypatch):
    """Makes the database fail, until it is called again with False."""

    def fail(*arguments, **options):
        raise DatabaseDown("the server closed the connection")

    def switch(is_down=True):
        if is_down:
            monkeypatch.setattr(Heartbeat, "record", fail)
            monkeypatch.setattr(Heartbeat.objects, "filter", fail)
            monkeypatch.setattr(Heartbeat.objects, "update_or_create", fail)
            # This test's own connection is needed.
            monkeypatch.setattr(beat.connections, "close_all", lambda: None)
        else:
            for name in ("filter", "update_or_create"):
                monkeypatch.delattr(Heartbeat.objects, name)
            monkeypatch.setattr(Heartbeat, "record", classmethod(record.__func__))

    record = Heartbeat.record
    return switch


# --- The heartbeat


def test_it_writes_a_heartbeat_but_not_at_every_tick(start, clock):
    scheduler = start()
    scheduler.tick()
    first = Heartbeat.objects.get(name="beat").at
    clock.sleep(1)
    scheduler.tick()
    assert Heartbeat.objects.get(name="beat").at == first
    clock.sleep(beat.SECONDS_BETWEEN_HEARTBEATS)
    scheduler.tick()
    assert Heartbeat.objects.get(name="beat").at == clock.now


def test_heartbeats_are_regular_even_if_nothing_is_due(start, run):
    scheduler = start()
    scheduler.schedule = {NIGHTLY: scheduler.schedule[NIGHTLY]}
    for _ in range(20):
        run(scheduler, timedelta(seconds=30))
        assert Heartbeat.objects.get(name="beat").age < timedelta(seconds=45)


def test_it_watches_the_worker_after_a_grace_period(start, run):
    scheduler = start()
    run(scheduler, timedelta(seconds=100))
    assert not Alert.objects.exists()
    run(scheduler, timedelta(seconds=120))
    assert Alert.objects.get().subject == "worker"


# --- The schedule


def test_the_schedule_is_the_one_in_the_settings(start):
    assert set(start().schedule) == NAMES


def test_each_entry_is_sent_as_often_as_it_should(start, run, broker):
    run(start(), HOUR)  # from 4:00
    assert broker.sent[NIGHTLY] == broker.sent[HOURLY] == 1
    assert broker.sent["canary"] == pytest.approx(60, abs=1)
    assert broker.sent["sweep pipelines"] == pytest.approx(240, abs=3)


# --- Restarts


def test_after_a_start_intervals_are_due_and_times_of_day_are_not(start, run, broker):
    run(start(), timedelta(seconds=1))
    assert broker.sent == Counter(INTERVALS)


def test_a_beat_that_is_restarted_often_still_sends_entries_with_long_intervals(start, run, broker):
    for _ in range(3):
        run(start(), timedelta(seconds=100))
    assert broker.sent["watch freshness"] == 3


@pytest.mark.parametrize("duration", [HOUR, 5 * DAY])
def test_what_was_missed_while_no_beat_ran_is_sent_once(start, run, clock, broker, duration):
    run(start(), timedelta(minutes=10))  # until 4:10
    clock.sleep(duration.total_seconds())
    broker.sent.clear()
    scheduler = start()
    run(scheduler, timedelta(minutes=1))
    assert broker.sent[NIGHTLY] == broker.sent[HOURLY] == 1
    run(scheduler, timedelta(minutes=4))
    assert broker.sent[NIGHTLY] == broker.sent[HOURLY] == 1


def test_what_was_sent_before_a_restart_is_not_sent_again(start, run, clock, broker):
    run(start(), HOUR)
    for _ in range(3):
        clock.sleep(60)
        run(start(), timedelta(minutes=1))
    assert broker.sent[NIGHTLY] == broker.sent[HOURLY] == 1


def test_one_of_two_beats_that_restarts_has_missed_nothing(start, run, clock, broker):
    run(start(), timedelta(minutes=10))
    clock.sleep(3600)
    run(start(), timedelta(minutes=2))  # it has caught up
    run(start(), timedelta(minutes=2))
    assert broker.sent[NIGHTLY] == broker.sent[HOURLY] == 1


# --- The clock


def test_a_clock_that_was_set_back_stops_nothing(start, run, clock, broker):
    scheduler = start()
    run(scheduler, HOUR)
    clock.now -= 10 * DAY + HOUR  # it is 4:00 again
    broker.sent.clear()
    run(scheduler, timedelta(minutes=10))
    assert set(broker.sent) == INTERVALS
    assert broker.sent["canary"] == pytest.approx(10, abs=1)
    assert broker.sent["watch freshness"] == pytest.approx(2, abs=1)
    run(scheduler, HOUR)
    assert broker.sent[NIGHTLY] == broker.sent[HOURLY] == 1


def test_a_clock_that_was_set_forward_sends_each_entry_once(start, run, clock, broker):
    scheduler = start()
    run(scheduler, timedelta(minutes=10))
    clock.now += 10 * DAY + 10 * HOUR
    broker.sent.clear()
    run(scheduler, timedelta(seconds=1))
    assert broker.sent == Counter(NAMES)
    run(scheduler, timedelta(minutes=10))
    assert broker.sent[NIGHTLY] == broker.sent[HOURLY] == 1
    assert broker.sent["canary"] == pytest.approx(11, abs=1)


def test_a_clock_that_jumps_back_and_forth_sends_no_flood(start, run, clock, broker):
    scheduler = start()
    for number in range(20):
        clock.now += HOUR / 2 if number % 2 else -HOUR / 2
        run(scheduler, timedelta(minutes=1))
    assert broker.sent[NIGHTLY] <= 10
    assert broker.sent["watch freshness"] <= 20
    assert 10 <= broker.sent["canary"] <= 30
    broker.sent.clear()
    run(scheduler, timedelta(minutes=10))
    assert broker.sent["canary"] == pytest.approx(10, abs=1)


def test_a_heartbeat_from_the_future_is_corrected_at_the_start(start, run, clock, broker):
    run(start(), timedelta(minutes=1))
    clock.now -= 10 * DAY
    scheduler = start()
    run(scheduler, timedelta(minutes=1))
    assert {each.at <= clock.now for each in Heartbeat.objects.all()} == {True}
    run(scheduler, HOUR)
    assert broker.sent[NIGHTLY] == 1


# --- The database is down


def test_it_keeps_running_without_the_database(start, run, broker, no_database, caplog):
    scheduler = start()
    run(scheduler, timedelta(minutes=1))
    broker.sent.clear()
    no_database()
    run(scheduler, HOUR)
    assert broker.sent[NIGHTLY] == 1
    assert broker.sent["canary"] == pytest.approx(60, abs=1)
    assert "could not write its heartbeat" in caplog.text
    no_database(False)
    run(scheduler, timedelta(minutes=1))
    assert Heartbeat.objects.get(name="beat").age < timedelta(minutes=1)


def test_without_a_database_at_the_start_it_catches_up_later(
    start, run, clock, broker, no_database
):
    run(start(), timedelta(minutes=10))
    clock.sleep(3 * 3600)  # until 7:10
    broker.sent.clear()
    no_database()
    scheduler = start()
    run(scheduler, timedelta(minutes=10))
    assert set(broker.sent) == INTERVALS
    no_database(False)
    run(scheduler, timedelta(minutes=1))
    assert broker.sent[NIGHTLY] == broker.sent[HOURLY] == 1


def test_entries_sent_meanwhile_are_not_sent_again(start, run, clock, broker, no_database):
    run(start(), timedelta(minutes=10))
    no_database()
    scheduler = start()
    run(scheduler, HOUR)
    no_database(False)
    run(scheduler, timedelta(minutes=1))
    assert broker.sent[NIGHTLY] == broker.sent[HOURLY] == 1


# --- The broker is down


@pytest.mark.parametrize("error", [OperationalError("down"), ConnectionResetError("down")])
def test_an_entry_that_could_not_be_sent_stays_due(start, run, broker, caplog, error):
    scheduler = start()
    run(scheduler, timedelta(minutes=1))
    broker.sent.clear()
    broker.error = error
    run(scheduler, HOUR)
    assert Heartbeat.objects.get(name="beat").age < timedelta(minutes=1)
    assert "waiting for the broker" in caplog.text
    broker.error = None
    run(scheduler, timedelta(seconds=3))
    assert broker.sent == Counter(NAMES)


def test_an_entry_that_could_not_be_sent_is_sent_after_a_restart(start, run, broker):
    scheduler = start()
    run(scheduler, timedelta(minutes=1))
    broker.error = OperationalError("down")
    run(scheduler, HOUR)
    run(start(), HOUR)
    broker.error = None
    broker.sent.clear()
    run(start(), timedelta(seconds=3))
    assert broker.sent == Counter(NAMES)


def test_it_starts_without_the_broker(monkeypatch):
    """Celery's own scheduler would wait for it, without heartbeats."""
    scheduler = beat.Scheduler(app)
    with app.connection_for_write("redis://127.0.0.1:1/0") as connection:
        monkeypatch.setattr(beat.Scheduler, "connection", connection)
        assert scheduler.tick() == scheduler.tick() == beat.SECONDS_UNTIL_RETRY
    assert Heartbeat.objects.get(name="beat")


def test_an_entry_that_can_never_be_sent_does_not_block_others(
    start, run, monkeypatch, broker, caplog
):
    def send(entry):
        if entry.name == "canary":
            raise EncodeError("cannot be written as JSON")
        broker.sent[entry.name] += 1

    monkeypatch.setattr(broker, "send", send)
    run(start(), timedelta(minutes=10))
    assert set(broker.sent) == INTERVALS - {"canary"}
    assert "canary cannot be sent" in caplog.text


# --- As a process


@pytest.mark.slow
def test_the_process_starts_and_sends_without_a_database(tmp_path):
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "AVESA_VAR_DIR": str(tmp_path),
        "CELERY_BROKER_URL": "",
        "DATABASE_URL": "postgres://user@127.0.0.1:1/nothing",
    }
    command = [sys.executable, "-m", "celery", "-A", "avesa_site", "beat", "--loglevel", "INFO"]
    with (tmp_path / "log").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "broker").glob("*.msg"))) < len(INTERVALS):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
    finally:
        process.terminate()
        process.wait(20)
    assert "could not write its heartbeat" in (tmp_path / "log").read_text()
    assert not list(tmp_path.glob("celerybeat*")), "beat writes no state file"
