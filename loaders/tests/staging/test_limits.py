"""Files that are small but costly: quarantined with a reason, while good ones beside them load."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.utils import timezone

from analytics.warehouse import pool
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.client import WarehouseClient
from loaders.history.compaction import tidy
from loaders.history.integrity import check
from loaders.jobs import queue
from loaders.lake import discovery
from loaders.models import LoadedFile, LoadJob
from loaders.staging import schema_drift
from loaders.staging.parquet_pages import UnreadablePage, memory_to_read
from loaders.staging.scratch_tables import ScratchTables
from loaders.tests.histories import load
from loaders.tests.lakes import key, put_bytes, put_jsonl, put_parquet, put_text, zst
from loaders.tests.memory_lake import MemoryLake

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("warehouse")]

MB = 1 << 20
COMPANIES = TABLES["companies"]


@pytest.fixture(params=["engine", "worker"])
def transport(request, settings):
    settings.LOAD_TRANSPORT = request.param


def errors(job):
    files = job.files.exclude(state=LoadedFile.State.LOADED)
    return {file.key.rsplit("/", 1)[-1]: file.error for file in files}


def names(warehouse, tenant):
    rows = warehouse.rows(
        "SELECT company_id, name FROM shared_companies WHERE tenant_id = {t:String} ORDER BY ALL",
        {"t": tenant.id},
    )
    return dict(rows)


def load_beside_a_good_file(lake, tenant, name, body, **options):
    """The job, and the reason why the file was quarantined; '' if it was loaded."""
    put_bytes(lake, tenant, "companies", name, body)
    put_text(lake, tenant, "companies", "good.csv", "id,name\ngood,good\n")
    job = load(tenant, **options)
    assert (job.state, job.error) == (LoadJob.State.SUCCEEDED, "")
    assert names(WarehouseClient(), tenant)["good"] == "good"
    return job, errors(job).get(name, "")


def parquet(rows, **options):
    body = pa.BufferOutputStream()
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
    pq.write_table(table, body, compression="zstd", **options)
    return body.getvalue().to_pybytes()


# --- Expanded size


def csv_of(megabytes):
    """Repeats itself more than true rows do."""
    line = b"%07d," + b"x" * 1015 + b"\n"
    return b"id,name\n" + b"".join(line % number for number in range(megabytes * 1024))


PACK = {".gz": gzip.compress, ".zst": zst}


def as_json(text):
    lines = [json.loads(json.dumps({"id": line[:7].decode(), "name": "x" * 1000})) for line in text]
    return "\n".join(map(json.dumps, lines)).encode()


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_file_that_expands_too_much_is_quarantined(
    acme, lake, settings, transport, form, packing
):
    text = csv_of(5)
    if form == "jsonl":
        text = as_json(text.splitlines()[1:])
    name, packed = f"a.{form}{packing}", PACK[packing](text)
    settings.LOAD_SMALL_EXPANDED_MB, settings.LOAD_MAX_RATIO = 1, 10
    _, error = load_beside_a_good_file(lake, acme, name, packed)
    assert "more than 10 times its size" in error
    assert "raise LOAD_MAX_RATIO" in error
    settings.LOAD_MAX_RATIO, settings.LOAD_MAX_EXPANDED_MB = 10_000_000, 4
    _, error = load_beside_a_good_file(lake, acme, name, packed)
    assert "more than 4 MB" in error
    assert "raise LOAD_MAX_EXPANDED_MB" in error


def test_true_rows_that_repeat_themselves_are_loaded_whatever_their_ratio(acme, lake, warehouse):
    packed = zst(csv_of(24))
    assert len(packed) < 24 * MB / 300
    _, error = load_beside_a_good_file(lake, acme, "a.csv.zst", packed)
    assert error == ""
    assert len(names(warehouse, acme)) == 24 * 1024 + 1


def test_many_short_lines_weigh_more_than_their_bytes(acme, lake, settings, transport):
    """Each line costs a row or a reject."""
    settings.LOAD_SMALL_EXPANDED_MB = 100
    body = zst(b"id,name\n" + b"a\n" * 500_000)
    _, error = load_beside_a_good_file(lake, acme, "a.csv.zst", body)
    assert "a row counts as 400 bytes" in error


def test_rows_that_parquet_repeats_weigh_more_than_its_footer_claims(
    acme, lake, settings, transport
):
    rows = 1_000_000
    body = parquet(pa.table({"id": pa.array(["1"] * rows), "name": pa.array(["x"] * rows)}))
    assert pq.read_metadata(pa.BufferReader(body)).row_group(0).total_byte_size < MB
    settings.LOAD_SMALL_EXPANDED_MB = 100
    _, error = load_beside_a_good_file(lake, acme, "a.parquet", body)
    assert "more than 100 MB" in error


def test_plain_files_may_be_as_large_as_they_are(acme, lake, settings):
    settings.LOAD_MAX_EXPANDED_MB = settings.LOAD_SMALL_EXPANDED_MB = 1
    _, error = load_beside_a_good_file(lake, acme, "a.csv", csv_of(2))
    assert error == ""


# --- Headers and columns


@pytest.mark.parametrize("header", [b"id,name," + b"x" * 2 * MB, b'id,"name\n' + b"\n" * 2 * MB])
def test_a_csv_with_a_long_header_is_quarantined(acme, lake, transport, header):
    body = header + b"\n1,a,b\n"
    _, error = load_beside_a_good_file(lake, acme, "a.csv", body)
    assert "header is longer than 1,024 kB" in error
    assert "raise LOAD_MAX_HEADER_KB" in error


def test_a_header_line_of_a_gigabyte_is_not_read_to_its_end(acme, lake, transport):
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(b"id,name,")
        for _ in range(1024):
            stream.write(b"x" * MB)
        stream.write(b"\n1,a,b\n")
    _, error = load_beside_a_good_file(lake, acme, "a.csv.zst", packed.getvalue().to_pybytes())
    assert "longer than 16 MB" in error


COLUMNS = ["id", *(f"c{number}" for number in range(1000))]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.csv", ",".join(COLUMNS).encode() + b"\n1" + b"," * 1000 + b"\n"),
        ("a.parquet", parquet([dict.fromkeys(COLUMNS, "x")])),
        ("a.jsonl", json.dumps(dict.fromkeys(COLUMNS, "x")).encode()),
        (
            "b.jsonl",  # no line has too many by itself
            "\n".join(json.dumps({"id": each, each: 1}) for each in COLUMNS[1:]).encode(),
        ),
        ("b.parquet", parquet([{"id": "1", "nested": dict.fromkeys(COLUMNS, "x")}])),
    ],
)
def test_a_file_with_too_many_columns_is_quarantined(acme, lake, settings, transport, name, body):
    job, error = load_beside_a_good_file(lake, acme, name, body)
    assert "more than 1,000 columns" in error
    assert "raise LOAD_MAX_COLUMNS" in error
    assert len(str(job.columns)) < 100
    settings.LOAD_MAX_COLUMNS = 1002
    _, error = load_beside_a_good_file(lake, acme, name, body)
    assert error == ""


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.csv", b"id," + b"x" * 256 + b"\n1,a\n"),
        ("a.parquet", parquet([{"id": "1", "x" * 256: "a"}])),
        ("a.jsonl", json.dumps({"id": "1", "x" * 256: "a"}).encode()),
    ],
)
def test_a_file_with_an_endless_name_of_a_column_is_quarantined(acme, lake, transport, name, body):
    _, error = load_beside_a_good_file(lake, acme, name, body)
    assert "more than 255 characters" in error


def test_a_parquet_footer_that_is_too_large_is_not_read(acme, lake, settings, transport):
    body = parquet([{"id": "1"}])
    lying = body[:-8] + (40 * MB).to_bytes(4, "little") + b"PAR1"
    _, error = load_beside_a_good_file(lake, acme, "a.parquet", lying)
    assert "footer is larger than 32 MB" in error
    assert "raise LOAD_MAX_FOOTER_MB" in error


def test_a_job_keeps_few_columns_that_the_catalog_does_not_know(acme, lake):
    wide = dict.fromkeys(["id", "name", *(f"c{number:03}" for number in range(900))], "x")
    put_parquet(lake, acme, "companies", "a.parquet", [wide])
    job = load(acme)
    kept = job.columns["parquet"]
    assert {"id", "name"} <= kept.keys()
    assert len(kept) == 2 + schema_drift.MAX_OTHERS
    assert len(job.unknown_columns) == queue.NAMES_KEPT
    put_parquet(lake, acme, "companies", "a.parquet", [wide | {"b": "x", "zzz": "x"}])
    changed = load(acme)
    assert changed.notes == ["Column b is new in the Parquet files."]


def test_many_columns_that_differ_are_counted(acme, lake):
    columns = [f"c{number:02}" for number in range(60)]
    put_parquet(lake, acme, "companies", "a.parquet", [{"id": "1"}])
    load(acme)
    put_parquet(lake, acme, "companies", "a.parquet", [dict.fromkeys(["id", *columns], "x")])
    notes = load(acme).notes
    assert len(notes) == schema_drift.MAX_NOTES + 1
    assert notes[-1] == "40 more columns differ."


def test_the_type_of_a_nested_column_is_kept_in_part(acme, lake):
    nested = {"id": "1", "nested": dict.fromkeys(COLUMNS[:900], "x")}
    put_parquet(lake, acme, "companies", "a.parquet", [nested])
    assert len(load(acme).columns["parquet"]["nested"]) <= 100


# --- Records and values


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_file_with_an_endless_line_is_quarantined(acme, lake, transport, form, packing):
    line = {"csv": b"1," + b"x" * 17 * MB, "jsonl": b'{"id": "1", "name": "%s"}' % (b"x" * 17 * MB)}
    text = (b"id,name\n" if form == "csv" else b"") + line[form] + b"\n"
    body = PACK.get(packing, bytes)(text)
    _, error = load_beside_a_good_file(lake, acme, f"a.{form}{packing}", body)
    assert "longer than 16 MB" in error
    assert "raise LOAD_MAX_RECORD_MB" in error


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_row_with_an_endless_value_is_a_reject(acme, lake, warehouse, transport, form):
    rows = [{"id": "1", "name": "x" * (MB + 1)}, {"id": "2", "name": "x" * MB}]
    body = {
        "csv": ("id,name\n" + "".join(f"{r['id']},{r['name']}\n" for r in rows)).encode(),
        "jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "parquet": parquet(rows),
    }[form]
    job, error = load_beside_a_good_file(lake, acme, f"a.{form}", body)
    assert (error, job.rows_rejected) == ("", 1)
    assert set(names(warehouse, acme)) == {"2", "good"}
    [(reason, size)] = warehouse.rows(
        "SELECT reason, length(value) FROM load_rejects FINAL WHERE tenant_id = {t:String}",
        {"t": acme.id},
    )
    assert reason == "longer than 1,024 kB (LOAD_MAX_VALUE_KB)"
    assert size == 1000


# --- Memory


def watched_engines(monkeypatch):
    """The engines of the tables that staging begins with, one for each attempt."""
    engines = []
    create = ScratchTables._create

    def watched(self, name, what):
        if name == self.staged:
            engines.append("Memory" if "Memory" in what else "MergeTree")
        return create(self, name, what)

    monkeypatch.setattr(ScratchTables, "_create", watched)
    return engines


def repeated(megabytes, rows):
    """A small file: the same long text many times."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * megabytes * MB])
    return parquet(pa.table({"id": pa.array(map(str, range(rows))), "name": texts}))


@pytest.mark.parametrize("stored", [True, False])
def test_only_the_file_that_exceeds_memory_is_quarantined(
    acme, lake, settings, warehouse, monkeypatch, stored
):
    """First in memory, if there is history; then on disk; then by itself, and thriftily."""
    settings.CLICKHOUSE_FILE_MEMORY_MB = 200
    if stored:
        put_text(lake, acme, "companies", "old.csv", "id,name\nold,old\n")
        load(acme)
    for number in range(3):
        rows = [{"id": f"beside-{number}", "name": "x"}]
        put_parquet(lake, acme, "companies", f"beside-{number}.parquet", rows)
    body = repeated(1, 1000)
    assert len(body) < 100_000
    job, error = load_beside_a_good_file(lake, acme, "a.parquet", body)
    assert "more than 200 MB of memory" in error
    assert "raise CLICKHOUSE_FILE_MEMORY_MB" in error
    assert list(errors(job)) == ["a.parquet"]
    assert {"beside-0", "beside-1", "beside-2", "good"} <= set(names(warehouse, acme))
    assert job.claims == 1


def test_several_files_that_exceed_memory_are_found_together(
    acme, lake, settings, warehouse, monkeypatch
):
    settings.CLICKHOUSE_FILE_MEMORY_MB = 200
    engines = watched_engines(monkeypatch)
    for number in range(4):
        body = repeated(1, 1000 + number)
        put_bytes(lake, acme, "companies", f"a-{number}.parquet", body)
    job, _ = load_beside_a_good_file(lake, acme, "x.parquet", parquet([{"id": "x", "name": "x"}]))
    assert sorted(errors(job)) == [f"a-{number}.parquet" for number in range(4)]
    assert len(engines) == 3, "together, alone, without them"


def test_a_file_that_takes_much_memory_is_read_thriftily(
    acme, lake, settings, warehouse, monkeypatch
):
    settings.CLICKHOUSE_FILE_MEMORY_MB = 450
    engines = watched_engines(monkeypatch)
    text = pa.array(["x" * 1000] * 300_000)
    ids = pa.array(map(str, range(300_000)))
    body = parquet(pa.table({"id": ids, "name": text, "city": text, "status": text}))
    _, error = load_beside_a_good_file(lake, acme, "a.parquet", body)
    assert error == ""
    assert len(names(warehouse, acme)) == 300_001
    assert engines == ["MergeTree"] * 2


def test_a_batch_that_outgrows_memory_is_staged_on_disk(
    acme, lake, settings, warehouse, monkeypatch
):
    """The file is small and its footer claims little: only its rows show what it is."""
    put_text(lake, acme, "companies", "old.csv", "id,name\nold,old\n")
    load(acme)
    settings.LOAD_IN_MEMORY_MB = 20
    engines = watched_engines(monkeypatch)
    put_bytes(lake, acme, "companies", "a.parquet", repeated(1, 50))
    load(acme)
    assert engines == ["Memory", "MergeTree"]
    assert len(names(warehouse, acme)) == 51


def test_the_scratch_table_is_chosen_by_rows(acme, lake, monkeypatch):
    put_text(lake, acme, "companies", "old.csv", "id,name\nold,old\n")
    load(acme)
    rows = 400_000
    body = parquet(
        pa.table({"id": pa.array(range(rows)), "name": pa.array(["x"] * rows)}),
        use_dictionary=["name"],
        column_encoding={"id": "DELTA_BINARY_PACKED"},
    )
    assert len(body) < 100_000
    put_bytes(lake, acme, "companies", "a.parquet", body)
    engines = watched_engines(monkeypatch)
    assert load(acme).rows_new == rows
    assert engines == ["MergeTree"]


# --- The worker


def test_the_worker_holds_a_repeated_text_once(acme, lake, settings, warehouse):
    settings.LOAD_TRANSPORT = "worker"
    settings.CLICKHOUSE_FILE_MEMORY_MB = 1000
    memory = pa.default_memory_pool()
    before = memory.max_memory()
    _, error = load_beside_a_good_file(lake, acme, "a.parquet", repeated(1, 300))
    assert error == ""
    assert memory.max_memory() - before < 100 * MB
    assert len(names(warehouse, acme)) == 301


def test_the_worker_does_not_unpack_a_large_page(acme, lake, settings, transport):
    settings.LOAD_WORKER_MEMORY_MB, settings.CLICKHOUSE_FILE_MEMORY_MB = 50, 100
    body = parquet([{"id": "1", "name": "x" * 100 * MB}], use_dictionary=False)
    assert len(body) < 100_000
    _, error = load_beside_a_good_file(lake, acme, "a.parquet", body)
    assert "memory" in error
    which = "WORKER" if settings.LOAD_TRANSPORT == "worker" else "FILE"
    assert which in error


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_pages_are_measured_as_they_are(version, dictionary):
    rows = 50_000
    table = pa.table(
        {
            "id": pa.array([f"{number:0100}" for number in range(rows)]),
            "amount": pa.array([number if number % 7 else None for number in range(rows)]),
        }
    )
    body = parquet(
        table,
        use_dictionary=dictionary,
        data_page_version=version,
        data_page_size=64 << 10,
        row_group_size=20_000,
        write_statistics=True,
    )
    file = pa.BufferReader(body)
    size = memory_to_read(file, pq.read_metadata(file), ["id", "amount"])
    if dictionary:
        assert MB < size < 4 * MB, "a dictionary, until it is too large"
    else:
        assert 64 << 10 < size < 400 << 10
    whole = pq.read_metadata(file).row_group(0).total_byte_size
    assert size < whole


def test_what_is_no_page_is_refused():
    file = pa.BufferReader(parquet([{"id": "1"}]))
    metadata = pq.read_metadata(file)
    with pytest.raises(UnreadablePage):
        memory_to_read(pa.BufferReader(b"\xff" * len(file.read())), metadata, ["id"])
    with pytest.raises(UnreadablePage):
        memory_to_read(pa.BufferReader(b"PAR1"), metadata, ["id"])


# --- Every statement


def test_every_statement_has_limits_of_time_and_memory(acme, lake, monkeypatch, transport):
    sent = []
    execute = pool._TextClient.execute

    def watched(self, query, *args, **options):
        sent.append((query, set(options.get("settings") or {})))
        return execute(self, query, *args, **options)

    monkeypatch.setattr(pool._TextClient, "execute", watched)
    put_parquet(lake, acme, "companies", "a.parquet", [{"id": "1", "is_active": "perhaps"}])
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "2", "name": "\x01"}])
    put_text(lake, acme, "companies", "a.csv", "id,name\n3,a\n4\n")
    load(acme)
    put_text(lake, acme, "companies", "b.csv", "id,name\n3,b\n5,c\n")
    load(acme)
    load(acme, kind=LoadJob.Kind.REFRESH)
    load(acme, kind=LoadJob.Kind.REPAIR)
    check(acme, COMPANIES)
    tidy(acme, COMPANIES, 10**9)
    assert len(sent) > 50
    limits_given = {"max_memory_usage", "max_execution_time"}
    assert [sql for sql, given in sent if not limits_given <= given] == []


def test_a_statement_that_takes_too_much_memory_fails(settings, warehouse):
    settings.CLICKHOUSE_LOAD_MEMORY_MB = 10
    with pytest.raises(Exception, match="CLICKHOUSE_LOAD_MEMORY_MB"):
        warehouse.rows("SELECT groupArray(number) FROM numbers(10000000)")


# --- Names of files


@pytest.mark.parametrize("character", "\0\x01\t\x7f\x85\ufffe\u2028")
def test_a_file_whose_name_holds_a_control_character_is_quarantined(acme, lake, character):
    """It is neither stored nor shown with it, and no two names become the same."""
    for name in (f"a{character}b.csv", f"a{character}{character}.csv", "good.csv"):
        put_text(lake, acme, "companies", name, "id,name\ngood,good\n")
    job = load(acme)
    assert (job.state, job.error) == (LoadJob.State.SUCCEEDED, "")
    found = {file.key: file.error for file in job.files.exclude(state="loaded")}
    assert len(found) == 2
    for name, error in found.items():
        assert name.startswith(key(acme, "companies", "a\ufffd"))
        assert character not in name
        assert "control characters" in error
    assert all(character not in note for note in job.notes)


def test_names_with_line_ends_are_quarantined_and_told_apart(acme):
    lake = MemoryLake()
    long = "x" * 1000
    for name in ("a\nb", "a\rb", f"{long}\n1", f"{long}\n2", "ab"):
        lake.files[key(acme, "companies", f"{name}.csv")] = ([], timezone.now())
    found = discovery.discover(lake, acme, COMPANIES)
    assert [each.key for each in found.files] == [key(acme, "companies", "ab.csv")]
    shown = {each.key for each in found.quarantine}
    assert len(shown) == 4
    assert all(len(each) <= 1024 and "\n" not in each and "\r" not in each for each in shown)
