"""Full refreshes: which of the keys that are gone they close, and which they never close."""

import json
import secrets
import time

import pytest

from analytics.warehouse.catalog import TABLES
from common.tests.queues import impatient
from loaders.history.integrity import check
from loaders.jobs import queue, worker
from loaders.models import LoadedFile, LoadJob
from loaders.tests.histories import current, deliver, history, load, remove, row, stored
from loaders.tests.injuries import fail_to_log
from loaders.tests.lakes import put_bytes, put_jsonl, put_text, zst

pytestmark = pytest.mark.usefixtures("warehouse")
Vanished = LoadJob.Vanished


@pytest.fixture(params=["engine", "worker"])
def transport(request, settings):
    settings.LOAD_TRANSPORT = request.param


@pytest.fixture
def twenty(acme, lake):
    """Twenty companies in two files: the first in a, all others in b."""
    put_jsonl(lake, acme, "companies", "a.jsonl", [row("A", 1)])
    put_jsonl(lake, acme, "companies", "b.jsonl", [row("B", 1, id=str(n)) for n in range(2, 21)])
    load(acme)
    return {str(n) for n in range(1, 21)}


def refresh(tenant, vanished=Vanished.CLOSE_IF_FEW, limit=10):
    job = load(tenant, kind=LoadJob.Kind.REFRESH, vanished=vanished, vanished_limit=limit)
    assert job.state == LoadJob.State.SUCCEEDED, job.error
    return job


def test_a_few_missing_keys_are_closed_and_keep_their_history(acme, lake, twenty, transport):
    remove(lake, acme, "a.jsonl")
    job = refresh(acme)
    assert job.keys_closed == 1
    assert current(acme) == twenty - {"1"}
    [(status, start, end)] = history(acme)
    assert (status, start) == ("A", 1)
    assert end is not None


def test_many_missing_keys_stay_open_and_the_job_notes_it(acme, lake, twenty):
    remove(lake, acme, "b.jsonl")
    put_jsonl(lake, acme, "companies", "b.jsonl", [row("B", 1, id="2"), row("new", 1, id="99")])
    job = refresh(acme)
    assert job.keys_closed == 0
    assert current(acme) == twenty | {"99"}
    assert "18 of 20 current keys are in no file any more" in job.notes[0]
    assert "not fewer than 10 %" in job.notes[0]


def test_all_missing_keys_are_closed_on_request(acme, lake, twenty):
    remove(lake, acme, "b.jsonl")
    assert refresh(acme, Vanished.CLOSE).keys_closed == 19
    assert current(acme) == {"1"}


def test_no_missing_key_is_closed_if_they_are_ignored(acme, lake, twenty):
    remove(lake, acme, "a.jsonl")
    job = refresh(acme, Vanished.IGNORE)
    assert "left open" in job.notes[0]
    assert current(acme) == twenty


def test_keys_at_the_limit_are_no_longer_few(acme, lake, twenty):
    remove(lake, acme, "a.jsonl")
    assert refresh(acme, limit=5).keys_closed == 0
    assert refresh(acme, limit=6).keys_closed == 1


def test_an_unreadable_file_closes_nothing(acme, lake, twenty):
    put_bytes(lake, acme, "companies", "a.parquet", b"PAR1 nothing PAR1")
    remove(lake, acme, "a.jsonl")
    job = refresh(acme, Vanished.CLOSE)
    assert "some files could not be read" in job.notes[0]
    assert current(acme) == twenty


def test_an_empty_file_closes_nothing(acme, lake, twenty):
    put_bytes(lake, acme, "companies", "a.jsonl", b"")
    job = refresh(acme, Vanished.CLOSE)
    assert "some files could not be read" in job.notes[0]
    assert "a.jsonl" in job.notes[-1]
    assert current(acme) == twenty


def test_a_retried_refresh_remembers_when_it_closed_keys(acme, lake, twenty, monkeypatch):
    """It crashed after it was published; a newer file arrived before the retry."""
    remove(lake, acme, "a.jsonl")
    monkeypatch.setattr(LoadJob, "RETRY", impatient(LoadJob.RETRY))
    with monkeypatch.context() as patch:
        fail_to_log(patch)
        job = load(acme, kind=LoadJob.Kind.REFRESH)
    assert job.state == LoadJob.State.QUEUED
    assert not queue.cancel(job), "readers have seen it"
    time.sleep(1.1)
    put_jsonl(lake, acme, "companies", "new.jsonl", [row("new", 1, id="99")])
    worker.run(job.pk)
    job.refresh_from_db()
    assert job.state == LoadJob.State.SUCCEEDED
    assert check(acme, TABLES["companies"]).faults == []
    assert current(acme) == (twenty - {"1"}) | {"99"}


@pytest.mark.parametrize("name", ["a.jsonl.zst", "a.csv.zst"])
def test_a_compressed_file_truncated_between_two_blocks_closes_nothing(acme, lake, transport, name):
    """The engine does not notice the truncation."""
    keys = [f"{number}-{secrets.token_hex(40)}" for number in range(6_000)]
    if "csv" in name:
        text = "\n".join(["id", *keys])
    else:
        text = "\n".join(json.dumps({"id": key}) for key in keys)
    body = zst(text.encode())
    put_bytes(lake, acme, "companies", name, body)
    put_jsonl(lake, acme, "companies", "b.jsonl", [row("B", 1)])
    load(acme)
    put_bytes(lake, acme, "companies", name, body[: end_of_second_block(body)])
    job = refresh(acme, Vanished.CLOSE)
    assert job.keys_closed == 0
    assert len(current(acme)) == 6_001
    assert "Truncated" in job.files.get(key__endswith=name).error


def end_of_second_block(frame):
    """Where the second block of a zstd frame ends (RFC 8878, 3.1.1)."""
    descriptor = frame[4]
    is_single = descriptor >> 5 & 1
    position = 5 + (not is_single) + (0, 1, 2, 4)[descriptor & 3]
    position += (is_single, 2, 4, 8)[descriptor >> 6]
    for _ in range(2):
        header = int.from_bytes(frame[position : position + 3], "little")
        assert not header & 1, "the last block"
        position += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
    return position


def test_stray_quotes_that_swallow_rows_close_nothing(acme, lake, transport):
    lines = [f"{number},name {number}" for number in range(20)]
    put_text(lake, acme, "companies", "a.csv", "\n".join(["id,name", *lines]))
    load(acme)
    lines[3], lines[9] = '3,"name 3', '9,name 9"'
    put_text(lake, acme, "companies", "a.csv", "\n".join(["id,name", *lines]))
    job = refresh(acme, Vanished.CLOSE)
    assert (job.rows_read, job.rows_rejected, job.keys_closed) == (20, 7, 0)
    assert current(acme) == {str(number) for number in range(20)}


def test_files_whose_rows_an_earlier_release_did_not_count_are_read_again(acme, lake, twenty):
    LoadedFile.objects.filter(job__tenant=acme).update(rows_in_file=None)
    refresh(acme)
    newest = LoadJob.objects.filter(tenant=acme).order_by("-pk").first()
    assert list(newest.files.order_by("key").values_list("rows_in_file", flat=True)) == [1, 19]


def test_keys_that_changed_after_the_newest_file_stay_open_and_the_job_notes_it(acme, lake, twenty):
    time.sleep(1.1)
    put_jsonl(lake, acme, "companies", "z.jsonl", [{"id": "30"}])
    load(acme)
    remove(lake, acme, "z.jsonl")
    job = refresh(acme, Vanished.CLOSE)
    assert job.keys_closed == 0
    assert "30" in current(acme)
    assert "1 key is in no file any more, but changed after the newest file" in job.notes[0]


def test_a_rejected_row_keeps_its_key_open(acme, lake, twenty):
    put_jsonl(lake, acme, "companies", "a.jsonl", [row("A", 1, number_of_employees="many")])
    job = refresh(acme, Vanished.CLOSE)
    assert job.rows_rejected == 1
    assert job.keys_closed == 0
    assert current(acme) == twenty


def test_a_rejected_row_without_a_key_closes_nothing(acme, lake, twenty):
    put_jsonl(lake, acme, "companies", "a.jsonl", ["{broken"])
    job = refresh(acme, Vanished.CLOSE)
    assert "rejected rows have no key" in job.notes[0]
    assert current(acme) == twenty


def test_no_files_at_all_close_nothing(acme, lake, twenty):
    remove(lake, acme, "a.jsonl")
    remove(lake, acme, "b.jsonl")
    job = load(acme, kind=LoadJob.Kind.REFRESH, vanished=Vanished.CLOSE)
    assert job.state == LoadJob.State.FAILED
    assert current(acme) == twenty


def test_a_closed_key_that_returns_unchanged_is_current_again(acme, lake, twenty, transport):
    remove(lake, acme, "a.jsonl")
    refresh(acme)
    assert "1" not in current(acme)
    put_jsonl(lake, acme, "companies", "a.jsonl", [row("A", 1)])
    job = refresh(acme)
    assert (job.keys_reopened, job.keys_closed) == (1, 0)
    assert current(acme) == twenty
    rows = stored(acme, "*")
    refresh(acme)
    assert stored(acme, "*") == rows


def test_a_refresh_without_new_files_reads_keys_and_writes_nothing(acme, lake, twenty, monkeypatch):
    before = stored(acme, "*")
    monkeypatch.setattr("loaders.jobs.load.stage", lambda *_: pytest.fail("staged"))
    job = refresh(acme)
    assert job.rows_unchanged == job.rows_loaded == 20
    assert stored(acme, "*") == before


def test_rows_that_the_warehouse_lost_are_loaded_again(acme, lake, twenty):
    from analytics.warehouse.client import WarehouseClient

    WarehouseClient().run(
        "DELETE FROM shared_companies IN PARTITION {t:String} WHERE company_id = '7'",
        {"t": acme.id},
    )
    job = refresh(acme)
    assert current(acme) == twenty
    assert job.rows_new == 1


def test_a_refresh_loads_new_and_changed_rows_and_keeps_history(acme, lake, twenty):
    put_jsonl(lake, acme, "companies", "c.jsonl", [row("A2", 3), row("new", 3, id="50")])
    refresh(acme)
    assert history(acme) == [("A", 1, 3), ("A2", 3, None)]
    assert current(acme) == twenty | {"50"}


def test_a_refresh_of_an_empty_table_is_a_first_load(acme, lake):
    job = deliver(lake, acme, "a.jsonl", row("A", 1), kind=LoadJob.Kind.REFRESH)
    assert job.rows_new == 1
