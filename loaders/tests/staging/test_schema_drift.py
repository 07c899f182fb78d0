"""Files whose columns differ from earlier ones: the job notes it, and no history is lost."""

import pyarrow as pa
import pytest

from analytics.warehouse.catalog import TABLES
from loaders.models import LoadJob
from loaders.staging.schema_drift import notes
from loaders.tests.histories import day, history, load
from loaders.tests.lakes import put_jsonl, put_parquet, put_text

pytestmark = pytest.mark.usefixtures("warehouse")


@pytest.fixture(autouse=True)
def only_new_files(settings):
    settings.LOAD_OVERLAP_MINUTES = 0


def test_a_missing_column_is_noted_and_history_keeps_its_values(acme, lake):
    put_parquet(
        lake, acme, "companies", "a.parquet", [{"id": "1", "status": "A", "updated_at": day(1)}]
    )
    assert load(acme).notes == []
    put_parquet(lake, acme, "companies", "b.parquet", [{"id": "1", "updated_at": day(2)}])
    job = load(acme)
    assert job.notes == [
        "Column status is no longer in the Parquet files. New versions have no value there; "
        "older ones keep theirs."
    ]
    assert history(acme) == [("A", 1, 2), (None, 2, None)]


def test_a_column_that_is_new_or_changes_type_is_noted(acme, lake):
    put_parquet(lake, acme, "companies", "a.parquet", [{"id": "1", "number_of_employees": 5}])
    load(acme)
    put_parquet(
        lake,
        acme,
        "companies",
        "b.parquet",
        [{"id": "1", "number_of_employees": "12", "mood": "grim"}],
    )
    job = load(acme)
    assert job.notes == [
        "Column mood is new in the Parquet files.",
        "Column number_of_employees of the Parquet files was int64 and is string now.",
    ]
    assert job.unknown_columns == ["mood"]
    assert job.rows_loaded == 1


def test_columns_are_compared_with_earlier_files_of_the_same_format(acme, lake):
    put_text(lake, acme, "companies", "a.csv", "id,status\n1,A\n")
    load(acme)
    put_jsonl(lake, acme, "companies", "b.jsonl", [{"id": "2", "city": "X"}])
    assert load(acme).notes == []
    put_text(lake, acme, "companies", "c.csv", "id,status,city\n3,A,X\n")
    assert load(acme).notes == ["Column city is new in the CSV files."]
    put_jsonl(lake, acme, "companies", "d.jsonl", [{"id": "4", "domain": "x.example"}])
    assert [note.split(" the")[0] for note in load(acme).notes] == [
        "Column city is no longer in",
        "Column domain is new in",
    ]


def test_a_load_that_fails_for_a_missing_column_names_it(acme, lake):
    table = pa.table({"id": ["1"], "status": ["A"]})
    put_parquet(lake, acme, "companies", "a.parquet", table)
    load(acme)
    put_parquet(lake, acme, "companies", "b.parquet", pa.table({"status": ["B"]}))
    job = load(acme)
    assert job.state == LoadJob.State.FAILED
    assert "It has no column company_id or id" in job.error
    assert history(acme) != []


def test_the_first_files_of_a_format_are_not_noted():
    assert notes({}, {"csv": {"id": "text"}}, TABLES["companies"]) == []
