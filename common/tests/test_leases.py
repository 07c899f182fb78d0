"""The lease, tried with each queue that has one."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from analytics.reports import deliveries, occurrences
from analytics.reports.models import Delivery, Occurrence, Report
from analytics.warehouse.catalog import TABLES
from common.leases import MAX_CLOCK_SKEW
from common.retries import RetryPolicy
from common.tests.queues import lose
from loaders.jobs import queue as loads
from loaders.models import LoadJob, PipelineRun
from loaders.pipelines import runs
from tenants import alerting
from tenants.models import Alert


@dataclass
class Queue:
    """One kind of work: how it begins, what of it may be taken, the states to take and end it."""

    model: Any
    begin: Any
    due: Any
    taken: str = "running"
    waiting: str = "queued"
    done: str = "succeeded"

    def claim(self, key):
        return self.model.claim(self.due(), key, **self._state(self.taken))

    def give_back(self, work, **values):
        return work.give_back(**self._state(self.waiting), **values)

    def retry(self, work):
        return work.retry(**self._state(self.waiting))

    def end(self, work):
        if self.model is Alert:
            return work.give_back(pending_channels=[])
        return work.give_back(state=self.done)

    def _state(self, state):
        return {"state": state} if self.model is not Alert else {}


def _occurrence(tenant):
    report = Report.objects.create(tenant=tenant, name="Tickets")
    return report.occurrences.create(due_at=timezone.now())


def _delivery(tenant):
    occurrence = _occurrence(tenant)
    return occurrence.deliveries.create(is_member=False, address="a@b.example", message_id="<1>")


def _alert(tenant):
    return Alert.objects.create(
        kind=Alert.Kind.LOAD, tenant=tenant, subject="tickets", pending_channels=["mail"]
    )


QUEUES = {
    "loads": Queue(
        LoadJob, lambda tenant: loads.request_load(tenant, TABLES["tickets"]), loads.due
    ),
    "runs": Queue(
        PipelineRun,
        lambda tenant: runs.request_run(tenant, PipelineRun.Trigger.COMMAND),
        runs.due,
        waiting="running",
    ),
    "occurrences": Queue(
        Occurrence,
        _occurrence,
        lambda: occurrences.to_run(timezone.now()),
        "composing",
        "waiting",
        "done",
    ),
    "deliveries": Queue(
        Delivery,
        _delivery,
        lambda: deliveries.to_send(timezone.now()),
        "sending",
        "queued",
        "sent",
    ),
    "alerts": Queue(Alert, _alert, alerting.due),
}
# A load that was lost waits in between, so that no more than allowed run at once.
TAKEN_OVER = sorted(QUEUES.keys() - {"loads"})
each_queue = pytest.mark.parametrize("name", QUEUES)


@pytest.fixture
def queue(name, sent_tasks):
    return QUEUES[name]


@pytest.fixture
def work(queue, acme):
    return queue.begin(acme)


@each_queue
def test_new_work_is_taken_at_once_and_by_one_worker(queue, work):
    ours = queue.claim(work.pk)
    assert (ours.pk, ours.claims, ours.attempts) == (work.pk, 1, 0)
    assert queue.claim(work.pk) is None


@each_queue
def test_work_that_waits_is_not_taken_before_its_moment(queue, work):
    soon, past = timezone.now() + timedelta(seconds=5), timezone.now()
    assert queue.give_back(queue.claim(work.pk), try_at=soon)
    assert queue.claim(work.pk) is None
    queue.model.objects.update(try_at=past)
    assert queue.claim(work.pk).claims == 2


@each_queue
def test_a_failure_counts_and_waits_longer_each_time(queue, work):
    waits = []
    for failures in (1, 2):
        assert queue.retry(queue.claim(work.pk))
        work.refresh_from_db()
        assert work.attempts == failures
        waits.append(work.try_at - timezone.now())
        assert queue.claim(work.pk) is None
        queue.model.objects.update(try_at=None)
    policy = queue.model.RETRY
    for wait, failures in zip(waits, (1, 2), strict=True):
        assert timedelta(0) <= policy.wait(failures) - wait < timedelta(seconds=5)


@each_queue
def test_a_worker_keeps_what_it_has_while_it_shows_signs_of_life(queue, work):
    ours = queue.claim(work.pk)
    nearly = timezone.now() - queue.model.lease() + timedelta(seconds=5)
    queue.model.objects.update(claimed_at=nearly)
    assert not queue.model.lost(timezone.now()).exists()
    assert ours.beat()
    work.refresh_from_db()
    assert work.claimed_at > nearly


@pytest.mark.parametrize("name", TAKEN_OVER)
def test_what_a_dead_worker_had_is_taken_over_and_the_dead_writes_nothing(queue, work):
    dead = queue.claim(work.pk)
    lose(queue.model)
    assert [each.pk for each in queue.model.lost(timezone.now())] == [work.pk]
    successor = queue.claim(work.pk)
    assert (successor.claims, successor.attempts) == (2, 1)
    _assert_writes_nothing(queue, dead)
    assert queue.end(successor)


def test_a_lost_load_is_queued_again_and_the_dead_writes_nothing(acme, sent_tasks):
    job = QUEUES["loads"].begin(acme)
    dead = loads.claim(job.pk)
    lose(LoadJob)
    assert loads.claim(job.pk) is None
    assert loads.sweep() == 1
    _assert_writes_nothing(QUEUES["loads"], dead)
    job.refresh_from_db()
    assert (job.state, job.attempts, job.claimed_at) == ("queued", 1, None)
    assert job.try_at > timezone.now()


def _assert_writes_nothing(queue, dead):
    before = queue.model.objects.values().get(pk=dead.pk)
    assert not dead.beat()
    assert not queue.give_back(dead)
    assert not queue.retry(dead)
    assert not queue.end(dead)
    assert queue.model.objects.values().get(pk=dead.pk) == before


@each_queue
def test_what_has_ended_is_not_taken_and_not_lost(queue, work):
    ours = queue.claim(work.pk)
    assert queue.end(ours)
    lose(queue.model)
    assert not queue.model.lost(timezone.now()).exists()
    assert queue.claim(work.pk) is None
    assert not ours.beat(), "it has ended"


@pytest.mark.parametrize(
    ("name", "cancel"), [("loads", loads.cancel), ("runs", runs.cancel)], ids=["loads", "runs"]
)
def test_the_worker_of_what_is_canceled_writes_nothing(queue, work, cancel):
    ours = queue.claim(work.pk)
    assert cancel(work)
    _assert_writes_nothing(queue, ours)


@each_queue
def test_a_clock_that_ran_ahead_makes_nothing_wait(queue, work):
    ahead = timezone.now() + timedelta(days=1)
    queue.model.objects.update(try_at=ahead)
    assert queue.claim(work.pk)
    queue.model.objects.update(claimed_at=ahead)
    assert queue.model.lost(timezone.now()).exists()


@each_queue
def test_clocks_that_differ_a_little_shorten_no_wait(queue, work):
    longest = queue.model.RETRY.longest
    queue.model.objects.update(try_at=timezone.now() + longest + MAX_CLOCK_SKEW / 2)
    assert queue.claim(work.pk) is None


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@each_queue
def test_of_many_workers_one_has_it(queue, work):
    def claim(_):
        try:
            return queue.claim(work.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        claimed = [each for each in threads.map(claim, range(16)) if each]
    assert [each.claims for each in claimed] == [1]


# --- What each queue does about failures


@pytest.mark.parametrize(
    ("model", "seconds"),
    [
        (LoadJob, [30, 120]),
        (PipelineRun, [15, 30, 60, 120]),
        (Occurrence, [240, 480, 960, 1920]),
        (Delivery, [120, 720, 3600]),
    ],
)
def test_waits_and_the_end_of_them(model, seconds):
    policy = model.RETRY
    failures = range(1, policy.attempts)
    assert [policy.wait(number).total_seconds() for number in failures] == seconds
    assert all(policy.allows(number) for number in failures)
    assert not policy.allows(policy.attempts)


def test_an_alert_is_sent_later_and_later_for_as_long_as_it_is_open():
    waits = [Alert.RETRY.wait(number) for number in range(1, 1001)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (timedelta(minutes=5), timedelta(hours=12))
    assert Alert.RETRY.allows(1000)


def test_no_wait_is_longer_than_the_longest():
    policy = RetryPolicy(first=timedelta(seconds=4), longest=timedelta(seconds=10), attempts=None)
    assert [policy.wait(number).total_seconds() for number in (1, 2, 3, 4)] == [4, 8, 10, 10]


@pytest.mark.parametrize(
    ("name", "run", "state"),
    [
        ("runs", runs.advance, "failed"),
        ("occurrences", occurrences.run, "failed"),
        ("deliveries", deliveries.send, "failed"),
    ],
)
def test_work_that_kills_its_workers_ends(queue, work, run, state):
    for _ in range(queue.model.RETRY.attempts):
        assert queue.claim(work.pk)
        lose(queue.model)
    assert run(work.pk) == state
    work.refresh_from_db()
    assert (work.state, work.claimed_at) == (state, None)
    assert Alert.objects.filter(over_at=None).exists()
