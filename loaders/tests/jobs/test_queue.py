import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import InterfaceError, OperationalError, connections, transaction
from django.utils import timezone

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.client import WarehouseClient
from avesa_site.celery import app
from common.heartbeat import beating
from common.tests.queues import lose, make_due
from loaders import tasks
from loaders.jobs import queue, worker
from loaders.lake.results import LoadResult
from loaders.models import LoadedFile, LoadJob
from loaders.staging import readers
from loaders.staging.scratch_tables import label_of
from loaders.tests.injuries import after_staging, fail_to_log
from loaders.tests.lakes import put_bytes, put_jsonl
from tenants.models import Alert

State = LoadJob.State


@pytest.fixture
def woken(sent_tasks, django_capture_on_commit_callbacks):
    """Runs an action, returns how many loaders were woken by it; nothing is sent."""

    def count(action):
        sent_tasks.clear()
        with django_capture_on_commit_callbacks(execute=True):
            action()
        return sent_tasks.count(("loaders.tasks.run_next_load",))

    return count


@pytest.fixture
def job(acme):
    return queue.request_load(acme, TABLES["companies"])


def test_a_loader_is_woken_once_the_load_is_committed(acme, sent_tasks):
    queue.request_load(acme, TABLES["companies"])
    assert sent_tasks == [], "the test's transaction is not committed"


def test_each_load_wakes_one_loader(acme, woken):
    assert woken(lambda: queue.request_load(acme, TABLES["companies"])) == 1


def test_one_table_has_one_active_load(job, acme, globex):
    with pytest.raises(queue.LoadRefused, match="already active"):
        queue.request_load(acme, TABLES["companies"])
    queue.request_load(acme, TABLES["tickets"])
    queue.request_load(globex, TABLES["companies"])
    assert LoadJob.objects.count() == 3


def test_nothing_is_loaded_for_a_suspended_tenant(acme):
    acme.is_active = False
    acme.save()
    with pytest.raises(queue.LoadRefused, match="suspended"):
        queue.request_load(acme, TABLES["companies"])


def test_a_job_is_claimed_once(job):
    assert queue.claim(job.pk).claims == 1
    assert queue.claim(job.pk) is None


def test_a_message_too_many_does_nothing(job, lake, warehouse, acme):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    assert tasks.run_next_load() == State.SUCCEEDED
    assert tasks.run_next_load() is None


def test_a_finished_load_records_counts_and_files(job, lake, warehouse, acme):
    put_jsonl(
        lake, acme, "companies", "a.jsonl", [{"id": "1", "odd": 1}, {"company_name": "no key"}]
    )
    put_bytes(lake, acme, "companies", "b.parquet", b"broken")
    worker.run(job.pk)
    job.refresh_from_db()
    assert (job.state, job.rows_read, job.rows_loaded, job.rows_rejected) == (
        State.SUCCEEDED,
        2,
        1,
        1,
    )
    assert job.unknown_columns == ["odd"]
    good, bad = job.files.order_by("key")
    assert (good.state, good.rows_read, good.rows_rejected) == (LoadedFile.State.LOADED, 2, 1)
    assert bad.state == LoadedFile.State.QUARANTINED
    assert "Parquet" in bad.error


def test_a_load_without_files_fails_with_what_to_do(job, lake, warehouse):
    assert worker.run(job.pk) == State.FAILED
    job.refresh_from_db()
    assert "upstream" in job.error
    assert job.finished_at


def test_an_unreachable_lake_is_tried_again_later_and_at_last_fails(job, lake, settings, warehouse):
    settings.LAKE_ENDPOINT_URL = "http://127.0.0.1:1"
    for attempt in (1, 2):
        assert worker.run(job.pk) == State.QUEUED
        job.refresh_from_db()
        assert (job.claims, job.state) == (attempt, State.QUEUED)
        assert job.try_at > timezone.now()
        assert queue.claim(job.pk) is None
        make_due(LoadJob)
    assert worker.run(job.pk) == State.FAILED
    job.refresh_from_db()
    assert "LAKE_ENDPOINT_URL" in job.error


def test_an_unreachable_warehouse_is_tried_again(job, lake, acme, settings):
    settings.CLICKHOUSE_URL = "clickhouse://default@127.0.0.1:1/avesa"
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    assert worker.run(job.pk) == State.QUEUED
    job.refresh_from_db()
    assert "cannot be reached" in job.error


def test_a_failure_and_its_alert_stand_or_fall_together(job, monkeypatch):
    """A worker that died between the two would leave a failure that no one hears of."""

    class Died(BaseException):
        pass

    def die(*alert):
        raise Died

    claimed = queue.claim(job.pk)
    with monkeypatch.context() as patch:
        patch.setattr(queue.alerting, "raise_alert", die)
        with pytest.raises(Died):
            queue.fail(claimed, "done", may_retry=False)
    job.refresh_from_db()
    assert job.state == State.RUNNING
    assert queue.fail(claimed, "done", may_retry=False) == State.FAILED
    assert Alert.objects.filter(over_at=None).count() == 1


def test_a_job_whose_worker_died_is_queued_again(job):
    claimed = queue.claim(job.pk)
    assert queue.sweep() == 0
    lose(LoadJob)
    assert queue.sweep() == 1
    job.refresh_from_db()
    assert (job.state, "stopped responding" in job.error) == (State.QUEUED, True)
    assert not claimed.beat(), "the dead run must not come back"


def test_lost_messages_are_sent_again_for_as_many_as_may_run(acme, globex, woken, settings):
    settings.LOADS_AT_ONCE = 3
    assert woken(queue.sweep) == 0
    for tenant in (acme, globex):
        for name in ("companies", "contacts"):
            queue.request_load(tenant, TABLES[name])
    assert woken(queue.sweep) == 3
    queue.claim_next()
    assert woken(queue.sweep) == 2


def test_a_canceled_run_changes_nothing(job, lake, warehouse, acme):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    claimed = queue.claim(job.pk)
    assert queue.cancel(job)
    assert not claimed.beat()
    assert not queue.cancel(job)
    job.refresh_from_db()
    assert job.state == State.CANCELED


def test_without_a_broker_a_load_waits_for_the_sweep(
    acme, monkeypatch, django_capture_on_commit_callbacks
):
    def refuse(*message, **options):
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr(app, "send_task", refuse)
    with django_capture_on_commit_callbacks(execute=True):
        job = queue.request_load(acme, TABLES["companies"])
    job.refresh_from_db()
    assert job.state == State.QUEUED


def test_an_overtaken_run_leaves_its_successors_record_alone(job, lake, warehouse, acme):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    first = queue.claim(job.pk)
    lose(LoadJob)
    queue.sweep()
    make_due(LoadJob)
    assert worker.run(job.pk) == State.SUCCEEDED
    assert queue.fail(first, "late", may_retry=True, result=LoadResult()) is None
    job.refresh_from_db()
    assert (job.state, job.rows_loaded, job.files.count()) == (State.SUCCEEDED, 1, 1)


def test_a_load_cannot_be_canceled_once_readers_may_see_it(job):
    claimed = queue.claim(job.pk)
    assert queue.commit(claimed)
    assert not queue.cancel(job)


def test_a_canceled_run_does_not_swap_and_claims_no_rows(job, lake, warehouse, acme, monkeypatch):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    after_staging(monkeypatch, lambda scratch: queue.cancel(job))
    assert worker.run(job.pk) is None
    job.refresh_from_db()
    assert (job.state, job.rows_loaded, job.files.count()) == (State.CANCELED, 0, 0)
    seen = "SELECT count() FROM companies_current WHERE tenant_id = {t:String}"
    assert warehouse.value(seen, {"t": acme.id}) == 0


def test_a_load_whose_notes_failed_is_tried_again(job, lake, warehouse, acme, monkeypatch):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    with monkeypatch.context() as patch:
        fail_to_log(patch)
        assert worker.run(job.pk) == State.QUEUED
    make_due(LoadJob)
    assert worker.run(job.pk) == State.SUCCEEDED


def test_a_tenant_suspended_meanwhile_is_not_loaded(job, lake, warehouse, acme):
    claimed = queue.claim(job.pk)
    acme.is_active = False
    acme.save()
    assert not queue.commit(claimed)


def test_names_that_postgres_cannot_keep_do_not_stop_a_load(job, lake, warehouse, acme):
    many = {f"column {number}": 1 for number in range(300)}
    put_jsonl(lake, acme, "companies", "a.jsonl", ['{"id": "1", "bad\\u0000key": 1}', many])
    assert worker.run(job.pk) == State.SUCCEEDED
    job.refresh_from_db()
    assert "bad\ufffdkey" in job.unknown_columns
    assert len(job.unknown_columns) == queue.NAMES_KEPT


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_job_that_is_canceled_while_it_is_claimed_stays_canceled(acme):
    """The claim has to wait for the row, and then must look at its state again."""
    job = queue.request_load(acme, TABLES["companies"])

    def claim():
        try:
            return queue.claim(job.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            queue.cancel(job)
            claiming = threads.submit(claim)
            _wait_for_a_blocked_statement()
        assert claiming.result(10) is None
    job.refresh_from_db()
    assert job.state == State.CANCELED


def _wait_for_a_blocked_statement():
    deadline = time.monotonic() + 10
    sql = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    while time.monotonic() < deadline:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(sql)
            if cursor.fetchone()[0]:
                return
        time.sleep(0.05)
    pytest.fail("no statement waits")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError, InterfaceError, ValueError])
def test_a_missed_heartbeat_does_not_end_the_heart(acme, error):
    beats = []

    def beat():
        beats.append(1)
        if len(beats) == 1:
            raise error("database is locked")

    with beating(beat, 0.05):
        deadline = time.monotonic() + 5
        while len(beats) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert len(beats) >= 3


@pytest.mark.django_db(transaction=True)
def test_canceling_ends_what_the_worker_streams(acme, lake, warehouse, settings, monkeypatch):
    settings.LOAD_TRANSPORT = "worker"
    for number in range(8):
        put_jsonl(lake, acme, "companies", f"{number}.jsonl", [{"id": str(number)}])
    job = queue.request_load(acme, TABLES["companies"])
    read = []
    batches = readers.text_batches

    def cancel_at_the_second(lake, file, names):
        read.append(file)
        if len(read) == 2:
            assert queue.cancel(job)
        yield from batches(lake, file, names)

    monkeypatch.setattr(readers, "text_batches", cancel_at_the_second)
    assert worker.run(job.pk) is None
    assert len(read) == 2
    job.refresh_from_db()
    assert job.state == State.CANCELED


@pytest.mark.django_db(transaction=True)
def test_canceling_ends_the_statement_under_way(acme, lake, warehouse, monkeypatch):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    job = queue.request_load(acme, TABLES["companies"])
    other = WarehouseClient(label=label_of(job.pk, 10))
    after_staging(monkeypatch, lambda scratch: scratch.run(ENDLESS, max_execution_time=30))

    def run():
        try:
            return worker.run(job.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as threads:
        ended = threads.submit(run)
        others = threads.submit(other.rows, "SELECT sleep(2)")
        deadline = time.monotonic() + 20
        while not warehouse.value(UNDER_WAY):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        started = time.monotonic()
        assert queue.cancel(job)
        assert ended.result() is None
        assert time.monotonic() - started < 10, "it ran on"
        assert others.result() == [(0,)], "attempt 10 is not attempt 1"
    job.refresh_from_db()
    assert job.state == State.CANCELED
    left = "SELECT count() FROM system.tables WHERE name LIKE {p:String}"
    assert warehouse.value(left, {"p": f"stage:{acme.id}:%"}) == 0


ENDLESS = "SELECT count() FROM system.numbers WHERE cityHash64(number) = 1 AND 'mine' != ''"
UNDER_WAY = (
    "SELECT count() FROM system.processes WHERE query LIKE '%system.numbers%mine%' "
    "AND query NOT LIKE '%system.processes%'"
)
