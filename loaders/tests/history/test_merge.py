"""The rules of history, one by one, with load jobs on real files."""

import dataclasses
import time

import pyarrow as pa
import pytest

from analytics.warehouse import catalog
from analytics.warehouse.catalog import TABLES, Column, Kind
from loaders.history import publishing as history_module
from loaders.models import LoadJob
from loaders.tests.histories import current, day, deliver, history, load, remove, row, stored
from loaders.tests.lakes import put_jsonl, put_parquet

pytestmark = pytest.mark.usefixtures("warehouse")


@pytest.fixture(autouse=True, params=["flip", "swap"])
def way(request, monkeypatch):
    """Each rule holds however a load publishes its plan."""
    monkeypatch.setattr(history_module, "SWAP_ABOVE", 1000 if request.param == "flip" else 0)


def counts(job):
    return (job.rows_new, job.rows_changed, job.rows_late, job.rows_unchanged, job.rows_duplicate)


def test_a_new_key_becomes_a_version(acme, lake):
    deliver(lake, acme, "a.jsonl", row("A", 1))
    job = deliver(lake, acme, "b.jsonl", row("B", 2, id="2"))
    assert history(acme, "2") == [("B", 2, None)]
    assert counts(job) == (1, 0, 0, 1, 0)  # a.jsonl is recent, so it is read again


def test_a_change_closes_the_version_before_it(acme, lake):
    deliver(lake, acme, "a.jsonl", row("A", 1))
    job = deliver(lake, acme, "b.jsonl", row("B", 2))
    assert history(acme) == [("A", 1, 2), ("B", 2, None)]
    assert counts(job) == (0, 1, 0, 1, 0)


def test_an_unchanged_row_writes_nothing(acme, lake):
    deliver(lake, acme, "a.jsonl", row("A", 1))
    before = stored(acme, "*")
    job = deliver(lake, acme, "b.jsonl", row("A", 1))
    assert stored(acme, "*") == before
    assert counts(job) == (0, 0, 0, 1, 1)


def test_an_equal_row_without_a_date_writes_nothing(acme, lake):
    deliver(lake, acme, "a.jsonl", {"id": "1", "status": "A"})
    deliver(lake, acme, "b.jsonl", {"id": "1", "status": "A"})
    assert stored(acme) == [(1,)]


def test_several_versions_in_one_batch_all_become_history(acme, lake):
    deliver(lake, acme, "a.jsonl", row("A", 1))
    deliver(lake, acme, "b.jsonl", row("D", 4), row("B", 2), row("C", 3))
    assert history(acme) == [("A", 1, 2), ("B", 2, 3), ("C", 3, 4), ("D", 4, None)]


def test_a_b_a_gives_three_versions(acme, lake):
    for name, status, at in (("a", "A", 1), ("b", "B", 2), ("c", "A", 3)):
        deliver(lake, acme, f"{name}.jsonl", row(status, at))
    assert history(acme) == [("A", 1, 2), ("B", 2, 3), ("A", 3, None)]


def test_a_late_version_is_inserted_in_order_and_never_becomes_current(acme, lake):
    deliver(lake, acme, "a.jsonl", row("A", 1), row("C", 5))
    job = deliver(lake, acme, "b.jsonl", row("B", 3))
    assert history(acme) == [("A", 1, 3), ("B", 3, 5), ("C", 5, None)]
    assert job.rows_late == 1
    deliver(lake, acme, "c.jsonl", row("earliest", 1, updated_at="2025-12-31T00:00:00Z"))
    assert history(acme)[0] == ("earliest", 31, 1)
    assert history(acme)[-1] == ("C", 5, None)


def test_an_unchanged_later_row_stays_current_after_a_late_change(acme, lake):
    """A on the 1st, A again on the 3rd, then B on the 2nd arrives late: A is current."""
    deliver(lake, acme, "a.jsonl", row("A", 1))
    deliver(lake, acme, "b.jsonl", row("A", 3))
    deliver(lake, acme, "c.jsonl", row("B", 2))
    assert history(acme) == [("A", 1, 2), ("B", 2, 3), ("A", 3, None)]


def test_of_two_versions_with_one_date_the_later_source_wins(acme, lake):
    deliver(lake, acme, "a.jsonl", row("A", 1))
    time.sleep(1.1)  # S3 keeps the time of an object in seconds
    deliver(lake, acme, "b.jsonl", row("B", 1))
    assert history(acme) == [("B", 1, None)]
    assert stored(acme, "countIf(effective_date = expiry_date AND NOT is_current)") == [(1,)]


def test_a_record_disappears_and_returns(acme, lake):
    deliver(lake, acme, "a.jsonl", row("A", 1), *(row("other", 1, id=str(n)) for n in range(2, 9)))
    deliver(lake, acme, "others.jsonl", *(row("other", 1, id=str(n)) for n in range(2, 9)))
    remove(lake, acme, "a.jsonl")
    load(acme, kind=LoadJob.Kind.REFRESH, vanished=LoadJob.Vanished.CLOSE)
    assert "1" not in current(acme)
    assert len(history(acme)) == 1
    deliver(lake, acme, "b.jsonl", row("back", 1, updated_at="2027-01-05T00:00:00Z"))
    assert [version[0] for version in history(acme)] == ["A", "back"]
    assert "1" in current(acme)


def test_null_and_empty_differ(acme, lake):
    for name, status in (("a", ""), ("b", None)):
        columns = {"id": ["1"], "status": pa.array([status], pa.string()), "updated_at": [day(1)]}
        put_parquet(lake, acme, "companies", f"{name}.parquet", pa.table(columns))
        job = load(acme)
    assert job.rows_changed + job.rows_late == 1


def test_the_order_of_columns_does_not_matter(acme, lake):
    put_parquet(lake, acme, "companies", "a.parquet", [{"id": "1", "status": "A", "city": "X"}])
    load(acme)
    put_parquet(lake, acme, "companies", "b.parquet", [{"city": "X", "status": "A", "id": "1"}])
    load(acme)
    assert stored(acme) == [(1,)]


def test_hashes_keep_neighboring_values_apart(acme, lake):
    deliver(lake, acme, "a.jsonl", row("a", 1, city="bc"))
    deliver(lake, acme, "b.jsonl", row("ab", 1, city="c"))
    assert stored(acme) == [(2,)]


def test_a_column_added_to_the_catalog_makes_no_new_versions(acme, lake, monkeypatch):
    rows = [row("A", 1), row("B", 1, id="2", mood="grim")]
    deliver(lake, acme, "a.jsonl", *rows)
    companies = TABLES["companies"]
    wider = dataclasses.replace(
        companies, columns=(*companies.columns, Column("mood", Kind.TEXT, "How they feel."))
    )
    monkeypatch.setitem(catalog.TABLES, "companies", wider)
    from analytics.warehouse import schema
    from analytics.warehouse.client import WarehouseClient

    schema.apply(schema.plan())
    try:
        deliver(lake, acme, "b.jsonl", *rows)
        assert history(acme) == [("A", 1, None)]
        assert stored(acme, "countIf(company_id = '1')") == [(1,)]
    finally:
        monkeypatch.undo()
        WarehouseClient().run("ALTER TABLE shared_companies DROP COLUMN mood")
        schema.apply(schema.plan())


def test_the_same_file_again_changes_nothing(acme, lake, settings):
    put_jsonl(lake, acme, "companies", "a.jsonl", [row("A", 1), row("B", 2)])
    load(acme)
    before = stored(acme, "*")
    load(acme)
    assert stored(acme, "*") == before
    settings.LOAD_OVERLAP_MINUTES = 0
    job = load(acme)
    assert job.notes == ["There are no new or changed files."]
    assert job.state == LoadJob.State.SUCCEEDED
    assert job.rows_read == 0


def test_another_tenants_history_is_not_touched(acme, globex, lake):
    deliver(lake, globex, "a.jsonl", row("G", 1))
    before = stored(globex, "*")
    deliver(lake, acme, "a.jsonl", row("A", 1))
    deliver(lake, acme, "b.jsonl", row("B", 2))
    assert stored(globex, "*") == before


def test_files_are_identified_by_key_and_content_not_by_name_or_time(acme, lake, settings):
    settings.LOAD_OVERLAP_MINUTES = 0
    deliver(lake, acme, "m.jsonl", row("A", 1))
    deliver(lake, acme, "a-smaller-name.jsonl", row("B", 2))
    assert [version[0] for version in history(acme)] == ["A", "B"]
    deliver(lake, acme, "m.jsonl", row("A", 1), row("C", 3))  # replaced
    assert [version[0] for version in history(acme)] == ["A", "B", "C"]


def test_content_that_returns_to_a_file_is_loaded_again(acme, lake, settings):
    """The same key with the same bytes, but other ones in between."""
    settings.LOAD_OVERLAP_MINUTES = 0
    for status in "ABA":
        deliver(lake, acme, "a.jsonl", {"id": "1", "status": status})
        time.sleep(1.1)  # S3 keeps the time of an object in seconds
    assert [version[0] for version in stored(acme, "status, is_current")] == ["A", "A", "B"]
    assert stored(acme, "status, is_current").count(("A", True)) == 1
