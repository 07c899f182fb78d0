"""Old records are deleted, except those that history, the next load or the next check needs."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.warehouse.catalog import TABLES
from loaders.history import integrity
from loaders.jobs import retention
from loaders.lake.discovery import examined_before
from loaders.models import LoadedFile, LoadJob, PipelineRun
from loaders.pipelines.runs import request_run
from loaders.tests.lakes import put_bytes, put_jsonl
from loaders.tests.pipelines.test_runs import delivered, turn

__all__ = ["delivered"]

COMPANIES = TABLES["companies"]
State, Kind = LoadJob.State, LoadJob.Kind
LATER = timedelta(days=60)


def later():
    return timezone.now() + LATER


def loads_of(run):
    return dict(run.jobs.values_list("table", "pk"))


def left(table="companies"):
    return set(LoadJob.objects.filter(table=table).values_list("pk", flat=True))


def test_loads_that_found_nothing_new_are_purged(delivered, lake):
    first = turn(delivered)
    turn(delivered)
    put_jsonl(lake, delivered, "companies", "b.jsonl", [{"id": "3"}])
    second = turn(delivered)
    turn(delivered)
    last = turn(delivered)
    before = examined_before(delivered, COMPANIES)
    assert retention.purge_loads() == 0  # all are recent
    assert retention.purge_loads(later()) == 5
    assert left() == {loads_of(run)["companies"] for run in (first, second, last)}
    assert left("tickets") == {loads_of(run)["tickets"] for run in (first, last)}
    assert examined_before(delivered, COMPANIES) == before
    assert retention.purge_loads(later()) == 0
    assert all(integrity.check(delivered, table).is_sound for table in TABLES.values())


def test_after_a_purge_no_known_file_is_loaded_again(delivered, lake, settings):
    turn(delivered)
    turn(delivered)
    retention.purge_loads(later())
    settings.LOAD_OVERLAP_MINUTES = 0
    assert turn(delivered).jobs.count() == 0
    put_jsonl(lake, delivered, "companies", "b.jsonl", [{"id": "3"}])
    [job] = turn(delivered).jobs.all()
    assert (job.files.count(), job.rows_read, job.rows_new) == (1, 1, 1)


def test_quarantined_files_and_rejected_rows_stay_known(delivered, lake):
    put_bytes(lake, delivered, "companies", "bad.parquet", b"PAR1 nothing PAR1")
    put_jsonl(lake, delivered, "tickets", "b.jsonl", [{"summary": "no key"}])
    first, _, third = (turn(delivered) for _ in range(3))
    assert retention.purge_loads(later()) == 2
    for table in ("companies", "tickets"):
        assert left(table) == {loads_of(run)[table] for run in (first, third)}
    assert examined_before(delivered, COMPANIES)[f"{delivered.id}/canonical/companies/bad.parquet"]


@pytest.mark.parametrize(
    "facts",
    [
        {"state": State.FAILED, "publishing_began_at": timezone.now()},
        {"state": State.SUCCEEDED, "publishing_began_at": timezone.now(), "claims": 2},
        {"state": State.SUCCEEDED, "rows_late": 1},
        {"state": State.SUCCEEDED, "keys_closed": 1},
        {"state": State.SUCCEEDED, "closings": ["2026-01-01 00:00:00.000"]},
        {"state": State.SUCCEEDED, "kind": Kind.REPAIR},
        {"state": State.SUCCEEDED, "kind": Kind.BULK},
        {"state": State.RUNNING, "finished_at": None},
    ],
)
def test_a_load_that_may_have_written_stays(acme, facts):
    _job(acme, **facts)
    _job(acme, state=State.SUCCEEDED)
    assert retention.purge_loads() == 0


@pytest.mark.parametrize(
    "facts",
    [
        {"state": State.FAILED},
        {"state": State.CANCELED},
        {"state": State.SUCCEEDED, "dry_run": True, "rows_new": 5},
    ],
)
def test_a_load_that_wrote_nothing_is_purged(acme, facts):
    obsolete = _job(acme, **facts)
    last = _job(acme, state=State.SUCCEEDED)
    assert retention.purge_loads() == 1
    assert left() == {last.pk} != {obsolete.pk}


def test_the_loads_with_which_the_next_one_is_compared_stay(acme):
    succeeded = _job(acme, state=State.SUCCEEDED, columns={"csv": {"id": "String"}})
    failed = _job(acme, state=State.FAILED, needs_person=True, listing="x")
    repair = _job(acme, state=State.FAILED, kind=Kind.REPAIR)
    preview = _job(acme, state=State.SUCCEEDED, dry_run=True)
    under_way = _job(acme, state=State.RUNNING, finished_at=None)
    assert retention.purge_loads() == 0
    assert left() == {succeeded.pk, failed.pk, repair.pk, preview.pk, under_way.pk}


def _job(tenant, **facts):
    old = timezone.now() - LATER
    return LoadJob.objects.create(
        **{"tenant": tenant, "table": "companies", "finished_at": old, "claims": 1, **facts}
    )


T1 = datetime(2026, 1, 5, 9, tzinfo=UTC)
FINDINGS = st.dictionaries(
    st.sampled_from("abc"), st.tuples(st.sampled_from("12"), st.booleans()), max_size=3
)
LOADS = st.lists(
    st.tuples(FINDINGS, st.sampled_from([State.SUCCEEDED, State.FAILED]), st.booleans()),
    max_size=8,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(LOADS)
def test_after_any_purge_the_next_load_knows_the_same_files(acme, loads):
    LoadJob.objects.all().delete()
    for findings, state, wrote in loads:
        wrote = wrote and state == State.SUCCEEDED
        job = _job(acme, state=state, rows_new=int(wrote))
        for name, (etag, is_quarantined) in findings.items():
            _found(job, name, etag, is_quarantined)
    before = examined_before(acme, COMPANIES)
    writers = set(LoadJob.objects.filter(rows_new__gt=0).values_list("pk", flat=True))
    retention.purge_loads()
    assert examined_before(acme, COMPANIES) == before
    assert writers <= left()
    assert retention.purge_loads() == 0


def _found(job, name, etag, is_quarantined):
    LoadedFile.objects.create(
        job=job,
        bucket="lake",
        key=name,
        etag=etag,
        size=1,
        last_modified=T1,
        state=LoadedFile.State.QUARANTINED if is_quarantined else LoadedFile.State.LOADED,
        error="It is damaged." if is_quarantined else "",
    )


# --- Runs


def test_old_runs_without_loads_are_purged(acme, delivered):
    with_loads = turn(delivered)
    request_run(acme, PipelineRun.Trigger.SCHEDULE)
    assert retention.purge_runs(later()) == 0  # it is active
    active = PipelineRun.objects.exclude(pk=with_loads.pk)
    active.update(state=State.FAILED, finished_at=timezone.now())
    assert retention.purge_runs(timezone.now() + timedelta(days=8)) == 0
    active.update(state=State.SUCCEEDED)
    assert retention.purge_runs(timezone.now() + timedelta(days=8)) == 1
    assert list(PipelineRun.objects.all()) == [with_loads]
