"""Files as they arrive in practice: each case was once loaded wrongly, or stopped a load."""

import time
from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pytest

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import Unreachable, UnreadableData
from loaders.jobs.load import Kind, LoadRequest, run_load
from loaders.lake.results import LoadFailed
from loaders.lake.s3 import LakeChanged, LakeError, LakeRefused
from loaders.staging import file_selection
from loaders.staging.scratch_tables import ScratchTables
from loaders.tests.lakes import key, put_bytes, put_jsonl, put_parquet, put_text, refused
from loaders.tests.staging.test_stage import Hooked, load, rejects_of, rows_of, transport

__all__ = ["transport"]
UNREADABLE = UnreadableData("Something was wrong with some data.")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warehouse")]


def errors_of(result):
    return {each.key.rsplit("/", 1)[-1]: o.error for each, o in result.files.items() if o.error}


def test_csv_lines_may_end_in_bare_cr(acme, lake, warehouse, transport):
    put_bytes(lake, acme, "companies", "cr.csv", b"id,name\rr1,a\rr2,b\r")
    assert load(acme).rows_read == 2


def test_csv_values_keep_their_spaces(acme, lake, warehouse, transport):
    put_text(lake, acme, "companies", "a.csv", "id,name\n1, a b \n")
    load(acme)
    assert rows_of(warehouse, acme, "companies", "name") == [(" a b ",)]


def test_a_csv_with_an_unclosed_quote_is_quarantined(acme, lake, warehouse, transport):
    put_text(lake, acme, "companies", "a.csv", 'id,name\n1,a\n2,"unclosed\n3,c\n4,d\n')
    put_text(lake, acme, "companies", "b.csv", 'id,name\n5,"closed ""quotes"""\n')
    result = load(acme)
    assert "not closed" in errors_of(result)["a.csv"]
    assert rows_of(warehouse, acme, "companies", "name") == [('closed "quotes"',)]


def test_a_csv_with_only_a_header_has_no_rows(acme, lake, warehouse, transport):
    put_text(lake, acme, "companies", "a.csv", "id,name")
    put_text(lake, acme, "companies", "b.csv", "id,name\n1,a\n")
    result = load(acme)
    assert (result.rows_read, errors_of(result)) == (1, {})


def test_of_equal_effective_dates_the_newest_file_wins(acme, lake, warehouse, transport):
    for number, status in enumerate("ABA"):
        row = {"id": "1", "status": status, "updated_at": "2026-01-01T00:00:00Z"}
        put_jsonl(lake, acme, "companies", f"{number}.jsonl", [row])
        time.sleep(1.1)  # S3 keeps the time of an object in seconds
    load(acme)
    assert rows_of(warehouse, acme, "companies", "status", "is_current") == [("A",)]


def test_amounts_in_json_numbers_are_exact(acme, lake, warehouse, transport):
    lines = [
        '{"id": "1", "annual_revenue": 1234567890123456.78}',
        '{"id": "2", "annual_revenue" : -0.07, "name": "x"}',
        '{"id": "3", "annual_revenue": "12.50"}',
        '{"id": "4", "other": {"annual_revenue": 5}, "annual_revenue": 6.25}',
        '{"id": "5", "annual_revenue": 1e3}',
    ]
    put_jsonl(lake, acme, "companies", "a.jsonl", lines)
    load(acme)
    assert rows_of(warehouse, acme, "companies", "annual_revenue") == [
        (Decimal("1234567890123456.78"),),
        (Decimal("-0.07"),),
        (Decimal("12.50"),),
        (Decimal("6.25"),),
        (Decimal("1000.00"),),
    ]


def test_a_file_replaced_during_the_load_fails_it(acme, lake, warehouse):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}, {"name": "x"}])

    def replace_when_explaining(step):
        if step.startswith("Explaining"):
            put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "7"}, {"id": "8"}])

    with pytest.raises(LakeChanged, match=r"a\.jsonl was replaced"):
        load(acme, on_step=replace_when_explaining)
    assert rows_of(warehouse, acme, "companies", "company_id") == []


def test_a_parquet_file_that_grows_during_the_load_is_not_quarantined(
    acme, lake, warehouse, transport
):
    put_parquet(lake, acme, "companies", "a.parquet", [{"id": "1"}])

    def replace_when_staging(step):
        if step.startswith("Staging"):
            put_parquet(lake, acme, "companies", "a.parquet", [{"id": "1"}, {"id": "2"}])

    with pytest.raises(LakeChanged, match=r"a\.parquet was replaced"):
        load(acme, on_step=replace_when_staging)


@pytest.mark.parametrize("kind", [Kind.INCREMENTAL, Kind.REFRESH])
@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_an_archived_file_is_quarantined_and_the_rest_loads(
    acme, lake, warehouse, transport, form, kind
):
    _put_two(lake, acme, form)
    _archive(lake, acme, f"b.{form}")
    result = run_load(LoadRequest(acme, TABLES["companies"], 1, kind=kind))
    assert "is archived" in errors_of(result)[f"b.{form}"]
    assert rows_of(warehouse, acme, "companies", "company_id") == [("1",)]


def test_a_load_fails_if_all_new_files_are_archived(acme, lake, warehouse):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    _archive(lake, acme, "a.jsonl")
    with pytest.raises(LoadFailed, match=r"a\.jsonl is archived"):
        load(acme)


def test_a_file_that_the_lake_refuses_is_quarantined_unless_it_refuses_all(
    acme, lake, warehouse, monkeypatch
):
    _put_two(lake, acme, "jsonl")
    with refused(monkeypatch, "b.jsonl"):
        assert "kms:Decrypt" in errors_of(load(acme))["b.jsonl"]
    with refused(monkeypatch, "a.jsonl", "b.jsonl"), pytest.raises(LakeRefused, match="GetObject"):
        load(acme)


@pytest.mark.parametrize("code", ["ThrottlingException", "504", "ExpiredToken", "SomethingNew"])
def test_a_transient_error_quarantines_no_file(acme, lake, warehouse, monkeypatch, code):
    _put_two(lake, acme, "jsonl")
    with refused(monkeypatch, "b.jsonl", code=code), pytest.raises(LakeError):
        load(acme)


def _put_two(lake, tenant, form):
    for number, name in enumerate("ab", 1):
        if form == "csv":
            put_text(lake, tenant, "companies", f"{name}.csv", f"id\n{number}\n")
        else:
            put = {"parquet": put_parquet, "jsonl": put_jsonl}[form]
            put(lake, tenant, "companies", f"{name}.{form}", [{"id": str(number)}])


def _archive(lake, tenant, name):
    """As a lifecycle rule does."""
    place = {"Bucket": lake.bucket, "Key": key(tenant, "companies", name)}
    body = lake.client.get_object(**place)["Body"].read()
    lake.client.put_object(**place, Body=body, StorageClass="GLACIER")


def test_numbers_become_the_same_text_with_both_transports(acme, lake, warehouse, settings):
    floats = [1e16, 1e15, 123.0, 0.1, 1e20, 1e21, 1.5e22, 1e-6, 1.25e-7, -2.5, 1e300]
    columns = {
        "company_id": [str(n) for n in range(len(floats))],
        "domain": floats,
        "website": pa.array([*floats[:10], 0.1], pa.float32()),
    }
    put_parquet(lake, acme, "companies", "a.parquet", pa.table(columns))
    found = {}
    for way in ("engine", "worker"):
        settings.LOAD_TRANSPORT = way
        load(acme)
        found[way] = rows_of(warehouse, acme, "companies", "domain, website, record_hash")
    assert found["worker"] == found["engine"]


def test_large_whole_numbers_are_the_same_with_both_transports(acme, lake, warehouse, transport):
    table = pa.table({"id": ["1"], "number_of_employees": pa.array([2**63 - 1], pa.int64())})
    put_parquet(lake, acme, "companies", "a.parquet", table)
    load(acme)
    assert rows_of(warehouse, acme, "companies", "number_of_employees") == [(2**63 - 1,)]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_each_row_takes_the_first_name_that_has_a_value(acme, lake, warehouse, transport, form):
    put = {
        "parquet": lambda rows: put_parquet(lake, acme, "companies", "a.parquet", rows),
        "jsonl": lambda rows: put_jsonl(lake, acme, "companies", "a.jsonl", rows),
        "csv": lambda rows: put_text(lake, acme, "companies", "a.csv", _csv(rows)),
    }
    rows = [
        {"company_id": "1", "id": None, "created_date": None, "date_acquired": "2026-01-02"},
        {"company_id": None, "id": "2", "created_date": "2026-01-03", "date_acquired": "rubbish"},
        {"company_id": "3", "id": None, "created_date": None, "date_acquired": "rubbish"},
    ]
    put[form](rows)
    load(acme)
    found = rows_of(warehouse, acme, "companies", "company_id, toString(toDate(created_at))")
    assert found == [("1", "2026-01-02"), ("2", "2026-01-03")]
    assert [(row, value) for _, row, _, value, _ in rejects_of(warehouse, acme)] == [(3, "rubbish")]


def _csv(rows):
    lines = [",".join(rows[0]), *(",".join(v or "" for v in row.values()) for row in rows)]
    return "\n".join(lines) + "\n"


def test_blank_lines_in_json_are_no_rows(acme, lake, warehouse, transport):
    put_bytes(lake, acme, "companies", "a.jsonl", b'{"id":"1"}\r\n\r\n \n{"id":"2"}\r\n')
    result = load(acme)
    assert (result.rows_read, result.rows_rejected) == (2, 0)


def test_json_that_is_not_utf8_is_rejected(acme, lake, warehouse, transport):
    put_bytes(lake, acme, "companies", "a.jsonl", '{"id":"1","name":"Müller"}'.encode("latin-1"))
    put_jsonl(lake, acme, "companies", "b.jsonl", [{"id": "2"}])
    assert load(acme).rows_rejected == 1


def test_a_json_line_of_invalid_bytes_is_not_blank(acme, lake, warehouse, transport):
    put_bytes(lake, acme, "companies", "a.jsonl", b'{"id":"1"}\n\xff\xfe\n\xa0\n{"id":"2"}\n')
    result = load(acme)
    assert (result.rows_read, result.rows_rejected) == (4, 2)
    assert [(row, reason) for _, row, _, _, reason in rejects_of(warehouse, acme)] == [
        (2, "not UTF-8 text"),
        (3, "not UTF-8 text"),
    ]


def test_a_parquet_file_with_fewer_rows_than_its_footer_states_is_quarantined(
    acme, lake, warehouse, transport, monkeypatch
):
    _put_two(lake, acme, "parquet")
    read = file_selection.read_schema

    def promise_more(lake, found, table):
        file = read(lake, found, table)
        return replace(file, rows=4) if "b.parquet" in found.key else file

    monkeypatch.setattr(file_selection, "read_schema", promise_more)
    assert "should have 4 rows" in errors_of(load(acme))["b.parquet"]
    assert rows_of(warehouse, acme, "companies", "company_id") == [("1",)]


def test_a_file_on_which_the_engine_drops_the_connection_is_read_by_the_worker(
    acme, lake, warehouse, monkeypatch
):
    _three_files(acme, lake)
    _fail_to_stage(monkeypatch, lambda sql: "b.parquet" in sql, Unreachable("Unexpected EOF"))
    result = load(acme)
    assert errors_of(result) == {}
    assert result.rows_loaded == 3


def test_one_broken_record_of_a_large_csv_is_all_that_is_rejected(acme, lake, warehouse, transport):
    lines = [f'{n},"name {n}, {"x" * 60}"' for n in range(100_000)]
    lines[70_000] = '70000,"stray" mark'
    put_text(lake, acme, "companies", "a.csv", "id,name\n" + "\n".join(lines))
    result = load(acme)
    assert (result.rows_read, result.rows_rejected) == (100_000, 1)
    assert [row for _, row, *_ in rejects_of(warehouse, acme)] == [70_001]


def test_rows_of_a_large_csv_have_the_right_numbers(acme, lake, warehouse):
    lines = [f"{n},{'x' * 60},2026-01-01" for n in range(200_000)]
    for number in (5, 100_000, 199_999):
        lines[number] = f"{number},bad,never"
    put_text(lake, acme, "companies", "a.csv", "id,name,updated_at\n" + "\n".join(lines))
    load(acme)
    assert [row for _, row, *_ in rejects_of(warehouse, acme)] == [6, 100_001, 200_000]


def test_a_file_with_two_columns_of_one_name_is_quarantined(acme, lake, warehouse):
    twice = pa.Table.from_arrays([pa.array(["1"]), pa.array(["2"])], names=["id", "id"])
    put_parquet(lake, acme, "companies", "a.parquet", twice)
    put_jsonl(lake, acme, "companies", "b.jsonl", [{"id": "2"}])
    assert "same name" in errors_of(load(acme))["a.parquet"]


@pytest.mark.parametrize("seed", range(6))
def test_a_parquet_file_damaged_anywhere_does_not_stop_the_rest(acme, lake, warehouse, seed):
    rows = [{"id": str(n), "name": f"name {n}", "domain": "d" * (n % 50)} for n in range(5000)]
    path = put_parquet(lake, acme, "companies", "bad.parquet", rows)
    name = path.split("/", 1)[1]
    body = lake.client.get_object(Bucket=lake.bucket, Key=name)["Body"].read()
    at = 40 + seed * len(body) // 8
    put_bytes(lake, acme, "companies", "bad.parquet", body[:at] + b"\xff" * 40 + body[at + 40 :])
    put_jsonl(lake, acme, "companies", "b.jsonl", [{"id": "good"}])
    load(acme)
    assert ("good",) in rows_of(warehouse, acme, "companies", "company_id")


@pytest.mark.parametrize("failing", ["a.parquet", "b.parquet", "c.parquet"])
def test_of_files_that_fail_together_only_the_one_that_fails_alone_is_quarantined(
    acme, lake, warehouse, monkeypatch, failing
):
    """Reading the file without staging it finds no fault, and the worker cannot stage it either."""
    _three_files(acme, lake)
    _fail_to_stage(monkeypatch, lambda sql: failing in sql or ":raw`" in sql)
    result = load(acme)
    assert list(errors_of(result)) == [failing]
    assert result.rows_loaded == 2


def test_a_file_that_only_the_engine_cannot_stage_is_read_by_the_worker(
    acme, lake, warehouse, monkeypatch
):
    _three_files(acme, lake)
    _fail_to_stage(monkeypatch, lambda sql: "b.parquet" in sql)
    result = load(acme)
    assert errors_of(result) == {}
    assert result.rows_loaded == 3


def test_an_error_that_occurs_only_twice_quarantines_no_file(acme, lake, warehouse, monkeypatch):
    _three_files(acme, lake)
    failures = iter([True, True])
    _fail_to_stage(monkeypatch, lambda sql: "b.parquet" in sql and next(failures, False))
    result = load(acme)
    assert errors_of(result) == {}
    assert result.rows_loaded == 3


def _three_files(acme, lake):
    for name in "abc":
        put_parquet(lake, acme, "companies", f"{name}.parquet", [{"id": name}])


def _fail_to_stage(monkeypatch, is_hit, error=UNREADABLE):
    run = ScratchTables.run

    def failing(self, sql, **settings):
        if f"INSERT INTO {self.staged}" in sql and is_hit(sql):
            raise error
        return run(self, sql, **settings)

    monkeypatch.setattr(ScratchTables, "run", failing)


def test_keys_that_clickhouse_cannot_address_are_quarantined(acme, lake, warehouse):
    lake.put(f"{acme.id}/canonical/companies/x//a.jsonl", b'{"id": "1"}')
    put_jsonl(lake, acme, "companies", "b.jsonl", [{"id": "2"}])
    assert "//" in errors_of(load(acme))["a.jsonl"]


def test_unfinished_files_of_writers_are_not_read(acme, lake, warehouse):
    for name in ("_temporary/0/a.jsonl", ".staging/a.jsonl", "_delta_log/0001.json"):
        put_jsonl(lake, acme, "companies", name, [{"id": "unfinished"}])
    put_jsonl(lake, acme, "companies", "b.jsonl", [{"id": "2"}])
    load(acme)
    assert rows_of(warehouse, acme, "companies", "company_id") == [("2",)]


def test_many_files_with_long_names_load(acme, lake, warehouse):
    for number in range(150):
        put_jsonl(lake, acme, "companies", f"{'é' * 300}/{number}.jsonl", [{"id": str(number)}])
    assert load(acme).rows_loaded == 150


@pytest.mark.parametrize(
    "name", ["it's.jsonl", "a b+c%41#d.jsonl", "日本.jsonl", "back\\slash.jsonl"]
)
def test_odd_names_are_read(acme, lake, warehouse, transport, name):
    put_jsonl(lake, acme, "companies", name, [{"id": "1"}])
    load(acme)
    expected = f"{lake.bucket}/{key(acme, 'companies', name)}"
    assert rows_of(warehouse, acme, "companies", "source_file") == [(expected,)]


def test_rejects_of_an_earlier_attempt_do_not_count(acme, lake, warehouse):
    class Boom(Exception):
        pass

    def boom(step):
        if step.startswith("Publishing"):
            raise Boom

    put_jsonl(lake, acme, "companies", "a.jsonl", [{"name": "bad"}, {"id": "0"}])
    with pytest.raises(Boom):
        run_load(LoadRequest(acme, TABLES["companies"], 555, 1, Kind.BULK), Hooked(boom))
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}, {"id": "0"}])
    result = run_load(LoadRequest(acme, TABLES["companies"], 555, 2, Kind.BULK))
    assert (result.rows_read, result.rows_rejected) == (2, 0)


def test_a_finished_run_keeps_its_successors_tables(acme, lake, warehouse):
    """A canceled run that ends while the next one works."""
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    late = ScratchTables(acme, TABLES["companies"], 900, 1)
    with late.in_use():
        warehouse.run(f"CREATE TABLE `stage:{acme.id}:companies:901:1:staged` AS shared_companies")
    left = warehouse.rows(
        "SELECT name FROM system.tables WHERE startsWith(name, {p:String})",
        {"p": f"stage:{acme.id}:"},
    )
    assert left == [(f"stage:{acme.id}:companies:901:1:staged",)]
