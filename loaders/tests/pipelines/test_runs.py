"""A tenant's pipeline from its files to its readers, and what may go wrong on the way."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta

import pytest
from django.db import connections
from django.urls import reverse
from django.utils import timezone

from analytics.warehouse import schema
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import (
    AuthenticationFailed,
    LakeAccessError,
    NotGranted,
    Unanswered,
    Unavailable,
    UnknownTable,
)
from common import aws
from common.models import Heartbeat
from common.tests.queues import lose, make_due
from loaders.history import integrity, publishing
from loaders.jobs import queue, worker
from loaders.lake.s3 import Lake, LakeError
from loaders.models import IntegrityCheck, LoadJob, PipelineRun
from loaders.pipelines import lateness, schedule
from loaders.pipelines import runs as pipelines
from loaders.pipelines.runs import RunRefused, request_run
from loaders.tests.injuries import after_staging
from loaders.tests.lakes import key, put_bytes, put_jsonl, refused
from tenants.models import Alert, Tenant
from tenants.signals import data_arrived

State, Trigger, Kind = PipelineRun.State, PipelineRun.Trigger, PipelineRun.Kind


def work(run):
    """What workers do about a run until nothing is left to do; returns the run as it is then."""
    pipelines.advance(run.pk)
    while worker.run_next() is not None:
        pipelines.advance(run.pk)
    run.refresh_from_db()
    return run


def turn(tenant, **options):
    return work(request_run(tenant, Trigger.COMMAND, **options))


@pytest.fixture
def delivered(acme, lake, warehouse):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}, {"id": "2"}])
    put_jsonl(lake, acme, "tickets", "a.jsonl", [{"id": "7"}])
    return acme


@pytest.fixture
def nothing_is_young(settings):
    settings.LOAD_OVERLAP_MINUTES = 0


def seen(warehouse, tenant, table="companies"):
    sql = f"SELECT count() FROM {table}_current WHERE tenant_id = {{tenant_id:String}}"
    return warehouse.value(sql, {"tenant_id": tenant.id})


def message(run, step):
    return run.steps[step]["message"]


# --- One run


def test_a_run_loads_checks_and_tells(delivered, warehouse):
    notified = []

    def listen(tenant, tables, **signal):
        notified.append((tenant.id, tables))

    data_arrived.connect(listen)
    run = turn(delivered)
    data_arrived.disconnect(listen)
    assert run.state == State.SUCCEEDED, run.error
    assert (run.rows_loaded, run.faults, seen(warehouse, delivered)) == (3, 0, 2)
    assert message(run, "schema") == "As declared."
    assert "contacts: no files" in message(run, "look")
    assert message(run, "load") == "2 of 2 loads succeeded; changed: companies, tickets."
    assert message(run, "integrity") == "companies: sound; tickets: sound"
    assert "companies as of load" in message(run, "tell")
    assert notified == [(delivered.id, ["companies", "tickets"])]
    assert all(note["began"] <= note["ended"] for note in run.steps.values())
    assert set(run.jobs.values_list("table", flat=True)) == {"companies", "tickets"}
    delivered.refresh_from_db()
    assert delivered.loading_since is None


def test_a_run_without_news_starts_no_load(delivered, nothing_is_young, lake, warehouse):
    turn(delivered)
    run = turn(delivered)
    assert (run.state, run.jobs.count()) == (State.SUCCEEDED, 0)
    assert "companies: nothing new" in message(run, "look")
    put_jsonl(lake, delivered, "companies", "b.jsonl", [{"id": "3"}])
    run = turn(delivered)
    assert list(run.jobs.values_list("table", flat=True)) == ["companies"]
    assert seen(warehouse, delivered) == 3


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_tenant_without_any_file_has_failed(acme, lake, warehouse, dry_run):
    """Its id may be mistyped, or the lake was emptied."""
    run = turn(acme, dry_run=dry_run)
    assert (run.state, run.step) == (State.FAILED, "look")
    assert f"There is no file under s3://{lake.bucket}/{acme.id}/canonical/." in run.error
    assert Alert.objects.count() == (0 if dry_run else 1)
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    assert turn(acme).state == State.SUCCEEDED
    assert not Alert.objects.filter(over_at=None).exists()


def test_young_files_are_looked_at_again(delivered):
    turn(delivered)
    assert turn(delivered).jobs.count() == 2


def test_a_refresh_loads_every_table_that_has_files(delivered, nothing_is_young):
    turn(delivered)
    run = turn(delivered, kind=Kind.REFRESH)
    assert sorted(run.jobs.values_list("table", "kind")) == [
        ("companies", "refresh"),
        ("tickets", "refresh"),
    ]


def test_a_test_run_goes_through_every_step_and_writes_nothing(delivered, lake, warehouse):
    put_jsonl(lake, delivered, "contacts", "a.jsonl", [{"id": "1"}, {"name": "no key"}])
    before = _all_rows(warehouse)
    run = turn(delivered, dry_run=True)
    assert run.state == State.SUCCEEDED, run.error
    assert (run.rows_loaded, run.rows_rejected) == (4, 1)
    assert set(run.steps) == set(PipelineRun.Step)
    assert "what they saw before" in message(run, "tell")
    assert message(run, "integrity") == (
        "As stored now: companies: nothing yet; contacts: nothing yet; tickets: nothing yet."
    )
    assert _all_rows(warehouse) == before
    assert not Alert.objects.exists()
    assert not IntegrityCheck.objects.exists()
    real = turn(delivered)
    assert (real.rows_loaded, seen(warehouse, delivered)) == (4, 2)
    again = turn(delivered, dry_run=True)
    assert again.state == State.SUCCEEDED, again.error
    assert "companies: sound" in message(again, "integrity")
    assert all(integrity.check(delivered, TABLES[name]).is_sound for name in TABLES)


def _all_rows(warehouse):
    names = [*(each.shared_name for each in TABLES.values()), "load_log", "load_rejects"]
    counts = {name: warehouse.value(f"SELECT count() FROM {name}") for name in names}
    side = warehouse.value("SELECT count() FROM system.tables WHERE startsWith(name, 'stage:')")
    return counts, side


def test_tables_load_side_by_side_but_not_more_than_allowed(delivered, lake, settings):
    settings.LOADS_AT_ONCE, settings.LOADS_PER_TENANT = 3, 2
    put_jsonl(lake, delivered, "contacts", "a.jsonl", [{"id": "1"}])
    run = request_run(delivered, Trigger.COMMAND)
    pipelines.advance(run.pk)
    assert run.jobs.filter(state=LoadJob.State.QUEUED).count() == 3
    assert [queue.claim_next() is not None for _ in range(3)] == [True, True, False]


def test_a_load_that_was_asked_for_by_hand_is_waited_for(delivered, warehouse):
    by_hand = queue.request_load(delivered, TABLES["companies"])
    run = request_run(delivered, Trigger.COMMAND)
    assert pipelines.advance(run.pk) == State.RUNNING
    run.refresh_from_db()
    assert "already active" in message(run, "look")
    assert run.step == "load"
    assert work(run).state == State.SUCCEEDED
    by_hand.refresh_from_db()
    assert by_hand.state == LoadJob.State.SUCCEEDED


# --- What is refused


def test_a_tenant_has_one_active_run(acme):
    request_run(acme, Trigger.COMMAND)
    with pytest.raises(RunRefused, match="already active"):
        request_run(acme, Trigger.COMMAND)


def test_a_suspended_tenant_has_none(acme):
    run = request_run(acme, Trigger.COMMAND)
    under_way = queue.claim(queue.request_load(acme, TABLES["companies"]).pk)
    queued = queue.request_load(acme, TABLES["tickets"])
    Tenant.objects.update(is_active=False)
    assert pipelines.advance(run.pk) is None
    assert worker.run_next() is None
    pipelines.sweep()
    queue.sweep()
    run.refresh_from_db()
    assert (run.state, run.error) == (State.CANCELED, "The tenant was suspended.")
    for job in (under_way, queued):
        job.refresh_from_db()
        assert job.state == LoadJob.State.CANCELED
    acme.refresh_from_db()
    with pytest.raises(RunRefused, match="suspended"):
        request_run(acme, Trigger.COMMAND)


# --- What goes wrong


def test_a_schema_that_differs_ends_the_run_and_tells_staff(delivered, monkeypatch):
    change = schema.Change(schema.Action.CREATE, "companies", "it is missing", "CREATE …")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "plan", lambda: [change])
        run = turn(delivered)
    assert run.state == State.FAILED
    assert "warehouse_schema apply" in run.error
    alert = Alert.objects.get(kind=Alert.Kind.PIPELINE, over_at=None)
    assert "warehouse_schema apply" in alert.text
    assert turn(delivered).state == State.SUCCEEDED
    assert not Alert.objects.filter(over_at=None).exists()


def test_a_part_that_is_away_is_waited_for(delivered, settings, warehouse):
    url = settings.CLICKHOUSE_URL
    settings.CLICKHOUSE_URL = "clickhouse://default@127.0.0.1:1/avesa"
    run = request_run(delivered, Trigger.COMMAND)
    assert pipelines.advance(run.pk) == State.RUNNING
    run.refresh_from_db()
    assert run.try_at > timezone.now()
    assert "cannot be reached" in run.error
    settings.CLICKHOUSE_URL = url
    assert work(run).state == State.RUNNING, "it waits"
    make_due(PipelineRun)
    assert work(run).state == State.SUCCEEDED
    assert run.error == ""


def test_rows_that_a_dead_worker_left_are_removed_before_the_check(
    delivered, lake, warehouse, monkeypatch
):
    class Died(BaseException):
        pass

    def die(*_):
        raise Died

    turn(delivered)
    put_jsonl(lake, delivered, "tickets", "b.jsonl", [{"id": "8"}])
    run = request_run(delivered, Trigger.COMMAND)
    pipelines.advance(run.pk)
    job = run.jobs.get(table="tickets")
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "SWAP_ABOVE", 100)
        patch.setattr(publishing, "publish", die)
        with pytest.raises(Died):
            worker.run(job.pk)
        lose(LoadJob)
        queue.sweep()
        make_due(LoadJob)
        patch.undo()
    unseen = "SELECT count() FROM shared_tickets WHERE expiry_date < effective_date"
    assert warehouse.value(unseen) == 1
    run = work(run)
    assert (run.state, run.faults) == (State.SUCCEEDED, 0)
    assert warehouse.value(unseen) == 0
    assert not Alert.objects.exists()


def test_a_part_that_stays_away_ends_the_run(delivered, settings, lake):
    settings.LAKE_ENDPOINT_URL = "http://127.0.0.1:1"
    run = request_run(delivered, Trigger.COMMAND)
    states = []
    for _ in range(PipelineRun.RETRY.attempts):
        make_due(PipelineRun)
        states.append(pipelines.advance(run.pk))
    assert states == [State.RUNNING] * 4 + [State.FAILED]
    assert Alert.objects.filter(kind=Alert.Kind.PIPELINE).count() == 1


def test_messages_that_come_in_a_heap_shorten_no_wait(delivered, settings, lake):
    """Each load that ends sends one, and so do the sweeps."""
    right, settings.LAKE_ENDPOINT_URL = settings.LAKE_ENDPOINT_URL, "http://127.0.0.1:1"
    run = request_run(delivered, Trigger.COMMAND)
    assert [pipelines.advance(run.pk) for _ in range(6)] == [State.RUNNING] + [None] * 5
    settings.LAKE_ENDPOINT_URL = right
    assert pipelines.sweep() == 0
    make_due(PipelineRun)
    assert pipelines.sweep() == 1
    assert work(run).state == State.SUCCEEDED


def test_poison_is_tried_once_and_then_needs_a_person(delivered, lake, warehouse):
    put_bytes(lake, delivered, "contacts", "a.parquet", b"poison")
    first = turn(delivered)
    assert first.state == State.FAILED
    assert "contacts" in first.error
    job = first.jobs.get(table="contacts")
    assert (job.state, job.needs_person) == (LoadJob.State.FAILED, True)
    assert seen(warehouse, delivered) == 2, "good tables beside it are loaded"
    second = turn(delivered)
    assert not second.jobs.filter(table="contacts").exists(), "no loop"
    assert second.state == State.FAILED
    assert f"Load {job.pk} failed and the files are still the same" in second.error
    assert Alert.objects.filter(over_at=None).count() == 1
    put_jsonl(lake, delivered, "contacts", "b.jsonl", [{"id": "1"}])
    assert turn(delivered).state == State.SUCCEEDED, "corrected files need no one"
    assert not Alert.objects.filter(over_at=None).exists()


def test_a_load_that_kills_its_workers_needs_a_person_too(delivered, settings):
    run = request_run(delivered, Trigger.COMMAND)
    pipelines.advance(run.pk)
    for _ in range(LoadJob.RETRY.attempts):
        for job in run.jobs.filter(state=LoadJob.State.QUEUED):
            claimed = queue.claim(job.pk)
            claimed.beat(listing="as it was")
        lose(LoadJob)
        queue.sweep()
        make_due(LoadJob)
    assert work(run).state == State.FAILED
    assert all(run.jobs.values_list("needs_person", flat=True))


def test_an_outage_needs_no_person(delivered, settings, lake):
    run = request_run(delivered, Trigger.COMMAND)
    pipelines.advance(run.pk)
    settings.LAKE_ENDPOINT_URL = "http://127.0.0.1:1"
    for _ in range(LoadJob.RETRY.attempts):
        make_due(LoadJob)
        while worker.run_next():
            LoadJob.objects.filter(claims=0).update(try_at=None)
    assert work(run).state == State.FAILED
    assert not any(run.jobs.values_list("needs_person", flat=True))


@pytest.mark.parametrize(
    "fault",
    [
        AuthenticationFailed("refused"),
        LakeAccessError("denied"),
        UnknownTable("missing"),
        Unanswered("silent"),
        Unavailable("it shuts down"),
        NotGranted("a right is missing"),
        LakeError("denied"),
    ],
)
def test_a_fault_of_the_surroundings_is_tried_again_with_the_next_run(
    delivered, monkeypatch, fault
):
    def fail(*_):
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(worker, "run_load", fail)
        run = request_run(delivered, Trigger.COMMAND)
        for _ in range(LoadJob.RETRY.attempts):
            work(run)
            make_due(LoadJob)
        assert work(run).state == State.FAILED
    assert not any(run.jobs.values_list("needs_person", flat=True))
    assert turn(delivered).state == State.SUCCEEDED
    assert not Alert.objects.filter(over_at=None).exists()


@pytest.mark.parametrize(
    "fault", [Unavailable("overloaded"), AuthenticationFailed("refused"), Unanswered("silent")]
)
def test_an_outage_is_no_fault_of_the_history(delivered, monkeypatch, fault):
    def away(tenant, table):
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(integrity, "find_faults", away)
        run = work(request_run(delivered, Trigger.COMMAND))
    assert (run.state, run.step, run.attempts) == (State.RUNNING, "integrity", 1)
    assert not IntegrityCheck.objects.exists()
    make_due(PipelineRun)
    run = work(run)
    assert (run.state, run.faults) == (State.SUCCEEDED, 0)
    assert not Alert.objects.exists()


def test_a_secret_that_cannot_be_read_needs_no_person(delivered, settings, monkeypatch):
    def away(name):
        raise aws.AwsError("AWS is away.")

    run = request_run(delivered, Trigger.COMMAND)
    pipelines.advance(run.pk)
    with monkeypatch.context() as patch:
        patch.setattr(aws, "secret", away)
        patch.setattr(settings, "CLICKHOUSE_SECRET", "no-such-secret")
        for _ in range(LoadJob.RETRY.attempts):
            make_due(LoadJob)
            while worker.run_next():
                LoadJob.objects.filter(claims=0).update(try_at=None)
    for job in run.jobs.all():
        assert (job.state, job.needs_person) == (LoadJob.State.FAILED, False)
        assert "AWS is away." in job.error


def test_a_load_again_does_not_hide_what_is_still_wrong(delivered, lake, nothing_is_young):
    turn(delivered)
    put_bytes(lake, delivered, "companies", "b.parquet", b"poison")
    assert turn(delivered).state == State.FAILED
    again = queue.request_load(delivered, TABLES["companies"])
    assert worker.run(again.pk) == LoadJob.State.FAILED
    assert turn(delivered).state == State.FAILED
    assert Alert.objects.filter(over_at=None).count() == 1
    put_jsonl(lake, delivered, "companies", "c.jsonl", [{"id": "3"}])
    run = turn(delivered)
    assert run.state == State.SUCCEEDED
    assert "b.parquet" in run.jobs.get().notes[0]
    assert not Alert.objects.filter(over_at=None).exists()


def test_a_file_that_the_lake_refuses_raises_an_alert_and_is_tried_again_until_it_is_there(
    delivered, lake, warehouse, monkeypatch, nothing_is_young
):
    put_jsonl(lake, delivered, "companies", "b.jsonl", [{"id": "3"}])
    open_alerts = Alert.objects.filter(over_at=None)
    with refused(monkeypatch, "companies/b.jsonl"):
        assert turn(delivered).state == State.SUCCEEDED
        assert seen(warehouse, delivered) == 2
        [alert] = open_alerts.all()
        assert "companies/b.jsonl was denied" in alert.text
        run = turn(delivered)
        [job] = run.jobs.all()
        assert (run.state, job.state) == (State.RUNNING, LoadJob.State.QUEUED), "it waits"
        assert list(open_alerts.all()) == [alert]
    make_due(LoadJob)
    assert work(run).state == State.SUCCEEDED
    assert seen(warehouse, delivered) == 3
    assert not open_alerts.exists()
    assert turn(delivered).jobs.count() == 0


def test_a_test_run_that_fails_raises_no_alert(delivered, lake):
    put_bytes(lake, delivered, "contacts", "a.parquet", b"poison")
    assert turn(delivered, dry_run=True).state == State.FAILED
    assert not Alert.objects.exists()


def test_a_canceled_run_cancels_its_loads(delivered, warehouse):
    run = request_run(delivered, Trigger.COMMAND)
    pipelines.advance(run.pk)
    delivered.refresh_from_db()
    assert delivered.loading_since
    worker.run(run.jobs.get(table="companies").pk)
    assert pipelines.cancel(run, "By dora.")
    assert not pipelines.cancel(run)
    assert work(run).state == State.CANCELED
    assert (run.error, run.rows_loaded) == ("By dora.", 2)
    loads = dict(run.jobs.values_list("state", "error"))
    assert loads == {
        LoadJob.State.SUCCEEDED: "",
        LoadJob.State.CANCELED: f"With pipeline run {run.pk}. By dora.",
    }
    assert seen(warehouse, delivered) == 2
    delivered.refresh_from_db()
    assert delivered.loading_since is None


def test_a_run_that_is_canceled_while_it_looks_queues_nothing_more(delivered, monkeypatch):
    discover = pipelines.discover

    def cancel_at_the_second(*args):
        found = discover(*args)
        if run.jobs.exists():
            pipelines.cancel(PipelineRun.objects.get(pk=run.pk))
        return found

    run = request_run(delivered, Trigger.COMMAND)
    monkeypatch.setattr(pipelines, "discover", cancel_at_the_second)
    assert pipelines.advance(run.pk) is None
    run.refresh_from_db()
    assert run.state == State.CANCELED
    assert [job.state for job in run.jobs.all()] == [LoadJob.State.CANCELED]
    delivered.refresh_from_db()
    assert delivered.loading_since is None


def test_alerts_end_with_a_suspension_and_with_files_that_are_gone(delivered, lake):
    put_bytes(lake, delivered, "contacts", "a.parquet", b"poison")
    assert turn(delivered).state == State.FAILED
    open_alerts = Alert.objects.filter(over_at=None)
    assert open_alerts.count() == 1
    lake.client.delete_object(Bucket=lake.bucket, Key=key(delivered, "contacts", "a.parquet"))
    assert turn(delivered).state == State.SUCCEEDED
    assert not open_alerts.exists()
    put_bytes(lake, delivered, "contacts", "a.parquet", b"poison")
    assert turn(delivered).state == State.FAILED
    Tenant.objects.update(is_active=False)
    pipelines.sweep()
    assert not open_alerts.exists()
    Tenant.objects.update(is_active=True)
    turn(delivered)
    turn(delivered)
    [alert] = open_alerts
    assert (alert.kind, alert.subject) == (Alert.Kind.LOAD, "contacts")
    assert "a.parquet" in alert.text


def test_a_load_that_meets_a_suspension_is_canceled(delivered, monkeypatch, nothing_is_young):
    def suspend(scratch):
        Tenant.objects.update(is_active=False)

    run = request_run(delivered, Trigger.COMMAND)
    pipelines.advance(run.pk)
    with monkeypatch.context() as patch:
        after_staging(patch, suspend)
        worker.run_next()
    queue.sweep()
    pipelines.sweep()
    assert set(run.jobs.values_list("state", flat=True)) == {LoadJob.State.CANCELED}
    assert "The tenant was suspended." in run.jobs.values_list("error", flat=True)
    assert not Alert.objects.exists()
    Tenant.objects.update(is_active=True)
    assert turn(delivered).state == State.SUCCEEDED


# --- Workers that die, messages that get lost or doubled


def test_a_run_is_advanced_by_one_worker_at_a_time(delivered):
    run = request_run(delivered, Trigger.COMMAND)
    assert pipelines.claim(run.pk) is not None
    assert pipelines.advance(run.pk) is None


@pytest.mark.parametrize("step", list(PipelineRun.Step))
def test_a_worker_may_die_at_any_step(delivered, warehouse, monkeypatch, step):
    class Died(BaseException):
        pass

    def die(run):
        raise Died

    run = request_run(delivered, Trigger.COMMAND)
    with monkeypatch.context() as patch:
        patch.setitem(pipelines.STEPS, step, die)
        with pytest.raises(Died):
            work(run)
    assert pipelines.advance(run.pk) is None, "it is not yet known that it died"
    lose(PipelineRun)
    PipelineRun.objects.update(woken_at=None)
    assert pipelines.sweep() == 1
    assert work(run).state == State.SUCCEEDED
    assert (run.rows_loaded, seen(warehouse, delivered)) == (3, 2)
    assert run.jobs.count() == 2, "nothing was loaded twice"


def test_a_step_that_kills_its_workers_ends_the_run(delivered, monkeypatch):
    class Died(BaseException):
        pass

    def die(run):
        raise Died

    run = request_run(delivered, Trigger.COMMAND)
    monkeypatch.setitem(pipelines.STEPS, "integrity", die)
    with pytest.raises(Died):
        work(run)
    for _ in range(PipelineRun.RETRY.attempts - 1):
        lose(PipelineRun)
        with pytest.raises(Died):
            pipelines.advance(run.pk)
    lose(PipelineRun)
    assert pipelines.advance(run.pk) == State.FAILED
    run.refresh_from_db()
    assert "5 workers stopped responding at this step" in run.error
    assert message(run, "integrity") == run.error
    assert Alert.objects.get(over_at=None).kind == Alert.Kind.PIPELINE


def test_a_worker_may_die_between_two_tables(delivered, monkeypatch):
    class Died(BaseException):
        pass

    asked = []

    def die_at_the_second(*args, **options):
        if asked:
            raise Died
        asked.append(args)
        return request(*args, **options)

    request = queue.request_load
    run = request_run(delivered, Trigger.COMMAND)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "request_load", die_at_the_second)
        with pytest.raises(Died):
            pipelines.advance(run.pk)
    PipelineRun.objects.update(claimed_at=None)
    assert work(run).state == State.SUCCEEDED
    assert run.jobs.count() == 2


def test_an_overtaken_worker_writes_nothing(delivered, monkeypatch):
    def be_overtaken(run):
        PipelineRun.objects.update(claims=run.claims + 1)
        return "late"

    run = request_run(delivered, Trigger.COMMAND)
    monkeypatch.setitem(pipelines.STEPS, "schema", be_overtaken)
    assert pipelines.advance(run.pk) is None
    run.refresh_from_db()
    assert run.step == "schema"


def test_lost_messages_are_sent_again(delivered, monkeypatch):
    woken = []
    monkeypatch.setattr(pipelines, "advance_soon", woken.append)
    run = request_run(delivered, Trigger.COMMAND)
    assert pipelines.sweep() == 0, "a worker was woken just now"
    PipelineRun.objects.update(woken_at=timezone.now() - 2 * pipelines.WAKE_AGAIN)
    assert pipelines.sweep() == 1
    assert pipelines.sweep() == 0
    assert woken == [run.pk, run.pk]


def test_signs_from_the_future_are_no_signs_of_life(delivered):
    """A clock was a day ahead, and was set back while work was under way."""
    ahead = timezone.now() + timedelta(days=1)
    run = request_run(delivered, Trigger.COMMAND)
    PipelineRun.objects.update(try_at=ahead, woken_at=ahead)
    assert pipelines.sweep() == 1
    assert pipelines.claim(run.pk) is not None
    PipelineRun.objects.update(claimed_at=ahead, woken_at=ahead)
    assert pipelines.sweep() == 1
    pipelines.advance(run.pk)
    claimed = queue.claim_next()
    LoadJob.objects.filter(pk=claimed.pk).update(claimed_at=ahead)
    queue.sweep()
    LoadJob.objects.filter(pk=claimed.pk).update(try_at=ahead)
    assert work(run).state == State.SUCCEEDED


# --- Fair and bounded


def test_a_big_tenant_does_not_starve_small_ones(acme, globex, settings):
    settings.LOADS_AT_ONCE, settings.LOADS_PER_TENANT = 3, 2
    for name in TABLES:
        queue.request_load(acme, TABLES[name])
    queue.request_load(globex, TABLES["companies"])
    claimed = [queue.claim_next() for _ in range(4)]
    assert [job and job.tenant_id for job in claimed] == [acme.id, globex.id, acme.id, None]
    queue.fail(claimed[2], "done", may_retry=False)
    assert queue.claim_next().tenant_id == acme.id
    queue.fail(claimed[1], "done", may_retry=False)
    assert queue.claim_next() is None, "two of acme run"


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.postgres
def test_many_workers_keep_to_the_limits(settings, db):
    settings.LOADS_AT_ONCE, settings.LOADS_PER_TENANT = 5, 2
    for number in range(6):
        tenant = Tenant.objects.create(id=f"many-{number}", name="many")
        for table in TABLES.values():
            LoadJob.objects.create(tenant=tenant, table=table.name)

    def claim(_):
        try:
            return queue.claim_next()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as threads:
        claimed = [job for job in threads.map(claim, range(40)) if job]
    assert len({job.pk for job in claimed}) == len(claimed) == 5
    assert len({job.tenant_id for job in claimed}) == 5


# --- The schedule


NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def planned(monkeypatch):
    """Runs as the schedule started them; each ends at once."""

    def at(now):
        schedule.start_due(now)
        active = PipelineRun.objects.filter(state=State.QUEUED)
        found = sorted((run.tenant_id, run.kind) for run in active)
        active.update(state=State.SUCCEEDED, finished_at=now)
        return found

    return at


def test_each_tenant_runs_once_in_each_period(acme, globex, planned):
    counts = {acme.id: 0, globex.id: 0}
    for minute in range(60):
        for tenant_id, kind in planned(NOON + timedelta(minutes=minute, seconds=7)):
            counts[tenant_id] += 1
            assert kind == "incremental"
    # the first at once, then one each time that the period turns
    assert set(counts.values()) <= {4, 5}


def test_tenants_are_spread_over_the_period(db, planned):
    Tenant.objects.bulk_create(Tenant(id=f"t{n}", name="t") for n in range(100))
    planned(NOON)
    at_once = [
        len(planned(NOON + timedelta(seconds=30 * n))) for n in range(1, 31)
    ]  # 15 minutes by half minutes
    assert sum(at_once) == 100
    assert max(at_once) < 15


def test_a_tenant_may_have_its_own_period_or_none(acme, globex, planned):
    Tenant.objects.filter(pk=acme.pk).update(load_minutes=60)
    Tenant.objects.filter(pk=globex.pk).update(load_minutes=0)
    found = [planned(NOON + timedelta(minutes=minute)) for minute in range(0, 180, 5)]
    flat = [each for at in found for each in at]
    assert len(flat) in (3, 4)
    assert {tenant_id for tenant_id, _ in flat} == {acme.id}


def test_the_nightly_refresh_is_at_the_tenants_own_time(acme, globex, planned, settings):
    settings.PIPELINE_REFRESH_AT = "02:30"
    Tenant.objects.filter(pk=globex.pk).update(refresh_at=time(23, 0))
    begin = datetime(2026, 6, 1, 0, 0, tzinfo=UTC)
    refreshed = {}
    for minute in range(0, 24 * 60, 10):
        now = begin + timedelta(minutes=minute)
        for tenant_id, kind in planned(now):
            if kind == "refresh":
                refreshed.setdefault(tenant_id, []).append(now)
    assert refreshed == {
        acme.id: [datetime(2026, 6, 1, 6, 30, tzinfo=UTC)],  # 02:30 in New York
        globex.id: [datetime(2026, 6, 1, 13, 0, tzinfo=UTC)],  # 23:00 in Sydney
    }


def test_a_tenant_whose_run_goes_on_waits(acme, settings):
    assert schedule.start_due(NOON) == 1
    later = NOON + timedelta(minutes=30)
    assert schedule.start_due(later) == 0
    PipelineRun.objects.update(state=State.SUCCEEDED)
    assert schedule.start_due(later) == 1


def test_two_planners_start_nothing_twice(acme, monkeypatch):
    """The second one looked before the first one wrote."""
    assert schedule.start_due(NOON) == 1
    PipelineRun.objects.update(state=State.SUCCEEDED)
    slot = PipelineRun.objects.get().planned_for
    assert not schedule.start(acme, Kind.INCREMENTAL, slot)
    assert PipelineRun.objects.count() == 1


def test_a_clock_that_jumps_starts_nothing_twice(acme, planned):
    jumps = (NOON, NOON + timedelta(days=2), NOON, NOON)
    assert [len(planned(now)) for now in jumps] == [1, 1, 0, 0]


def test_the_schedule_goes_on_after_a_clock_was_set_back(acme, planned):
    """What was planned while it ran ahead does not take the times that come again, but for one
    that comes so soon that the clocks of workers may differ by as much.
    """
    for minute in range(0, 120, 15):
        assert len(planned(NOON + timedelta(minutes=minute))) == 1
    back = NOON + timedelta(minutes=20)
    runs = [len(planned(back + timedelta(minutes=minute))) for minute in (0, 15, 30, 45)]
    assert (runs[0], runs[2:]) == (0, [1, 1])


# --- Lateness


def test_late_data_raise_one_alert_until_they_come(delivered, settings, mailoutbox):
    settings.ADMINS = [("ops", "ops@example.com")]
    turn(delivered)
    assert lateness.watch() == 0
    settings.DATA_LATE_HOURS = 0
    assert lateness.watch() == 2
    assert lateness.watch() == 2
    late = Alert.objects.filter(kind=Alert.Kind.LATE, over_at=None)
    assert sorted(late.values_list("subject", flat=True)) == ["companies", "tickets"]
    settings.DATA_LATE_HOURS = 26
    assert lateness.watch() == 0
    assert not late.exists()


def test_what_was_late_stays_so_while_the_warehouse_is_away(delivered, settings):
    turn(delivered)
    settings.DATA_LATE_HOURS = 0
    lateness.watch()
    settings.CLICKHOUSE_URL = "clickhouse://default@127.0.0.1:1/avesa"
    assert lateness.watch() == 2


@pytest.fixture
def beat_for_hours(acme):
    ago = timezone.now() - timedelta(hours=2)
    Heartbeat.objects.create(name="beat", at=timezone.now(), since=ago)
    Tenant.objects.update(scheduled_since=ago)


def test_loads_that_no_worker_takes_raise_an_alert(acme, globex, warehouse):
    """The workers that are left serve other queues."""
    for name in ("companies", "tickets"):
        queue.request_load(acme, TABLES[name])
    retry = queue.request_load(globex, TABLES["companies"])
    now = timezone.now()
    assert lateness.watch() == 0
    LoadJob.objects.update(requested_at=now - timedelta(hours=1))
    LoadJob.objects.filter(pk=retry.pk).update(try_at=now - timedelta(minutes=1))
    assert lateness.watch() == 1
    alert = Alert.objects.get(over_at=None)
    assert (alert.kind, alert.tenant, alert.subject) == (Alert.Kind.LATE, None, "loads")
    assert "2 loads could run and none does" in alert.text
    claimed = queue.claim_next()
    assert lateness.watch() == 0
    LoadJob.objects.filter(pk=claimed.pk).update(state=LoadJob.State.FAILED)
    assert lateness.watch() == 0, "one was taken just now"


def test_checks_that_do_not_come_about_raise_an_alert(delivered, warehouse, beat_for_hours):
    turn(delivered)
    IntegrityCheck.objects.update(checked_at=timezone.now() - timedelta(days=3))
    assert lateness.watch() == 0, "beat had no night yet"
    Heartbeat.objects.update(since=timezone.now() - timedelta(days=2))
    assert lateness.watch() == 1
    assert "2 tables was not checked for 2 days" in Alert.objects.get(over_at=None).text
    IntegrityCheck.objects.update(checked_at=timezone.now())
    assert lateness.watch() == 0


def test_a_pipeline_that_does_not_run_is_late(acme, beat_for_hours, warehouse):
    assert lateness.watch() == 1
    assert "No pipeline run has ended" in Alert.objects.get(over_at=None).text
    Tenant.objects.update(load_minutes=0)
    assert lateness.watch() == 0


def test_no_tenant_is_late_just_after_beat_came_back(acme, beat_for_hours, warehouse):
    Heartbeat.objects.update(at=timezone.now() - timedelta(hours=1))
    Heartbeat.record("beat")
    assert lateness.watch() == 0
    Heartbeat.objects.update(since=timezone.now() - timedelta(hours=1))
    Heartbeat.record("beat")
    assert lateness.watch() == 1, "it has beaten without a break since"


def test_a_tenant_whose_schedule_has_just_changed_is_not_late(
    acme, beat_for_hours, warehouse, client, dora
):
    client.force_login(dora)
    Tenant.objects.update(is_active=False)
    chosen = {"action": "resume", "_selected_action": [acme.pk]}
    client.post(reverse("admin:tenants_tenant_changelist"), chosen)
    assert lateness.watch() == 0


def test_an_end_in_the_future_says_nothing(acme, beat_for_hours, warehouse):
    PipelineRun.objects.create(
        tenant=acme,
        trigger="schedule",
        state=State.SUCCEEDED,
        try_at=timezone.now(),
        finished_at=timezone.now() + timedelta(days=1),
    )
    assert lateness.watch() == 1


def test_the_lake_is_asked_for_one_tenant_only(delivered, globex, lake, warehouse, monkeypatch):
    put_jsonl(lake, globex, "companies", "a.jsonl", [{"id": "secret"}])
    asked = []
    objects = Lake.objects

    def note(self, prefix):
        asked.append(prefix)
        return objects(self, prefix)

    monkeypatch.setattr(Lake, "objects", note)
    turn(delivered)
    assert asked
    assert all(prefix.startswith(f"{delivered.id}/canonical/") for prefix in asked)
