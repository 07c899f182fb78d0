from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from analytics.warehouse.catalog import TABLES
from loaders.jobs.load import Kind, LoadRequest, Run, run_load
from loaders.lake.results import LoadFailed
from loaders.lake.s3 import LakeError
from loaders.models import LoadJob
from loaders.tests.histories import load as run_job
from loaders.tests.lakes import put_bytes, put_jsonl, put_parquet, put_text
from tenants.models import Alert

T1 = datetime(2026, 1, 5, 9, tzinfo=UTC)
T2 = T1 + timedelta(days=1)
T3 = T1 + timedelta(days=2)
_load_ids = iter(range(1, 1_000_000))


class Hooked(Run):
    """Calls `on_step` with each step."""

    def __init__(self, on_step):
        self.on_step = on_step
        super().__init__()


def load(tenant, table="companies", on_step=lambda step: None, **options):
    request = LoadRequest(tenant, TABLES[table], next(_load_ids), kind=Kind.BULK, **options)
    return run_load(request, Hooked(on_step))


def rows_of(warehouse, tenant, table, columns, where="true"):
    name = TABLES[table].shared_name
    return warehouse.rows(
        f"SELECT {columns} FROM {name} WHERE tenant_id = {{tenant_id:String}} AND {where} "
        f"ORDER BY {TABLES[table].key}, effective_date, expiry_date",
        {"tenant_id": tenant.id},
    )


def rejects_of(warehouse, tenant):
    return warehouse.rows(
        "SELECT source_file, source_row, column_name, value, reason FROM load_rejects FINAL "
        "WHERE tenant_id = {tenant_id:String} ORDER BY source_file, source_row, column_name",
        {"tenant_id": tenant.id},
    )


@pytest.fixture(params=["engine", "worker"])
def transport(request, settings):
    settings.LOAD_TRANSPORT = request.param
    return request.param


pytestmark = pytest.mark.usefixtures("warehouse")


def test_parquet_rows_become_current_history(acme, lake, warehouse, transport):
    path = put_parquet(
        lake,
        acme,
        "companies",
        "base/part-0.parquet",
        [
            {
                "company_id": "1",
                "company_name": 'Ünïcode, "Ltd"\n',
                "is_active": True,
                "annual_revenue": Decimal("1234.50"),
                "number_of_employees": 7,
                "updated_at": T1,
            },
            {"company_id": "2", "company_name": "", "is_active": None, "updated_at": T2},
        ],
    )
    result = load(acme)
    assert (result.rows_read, result.rows_loaded, result.rows_rejected) == (2, 2, 0)
    columns = (
        "company_id, name, is_active, annual_revenue, number_of_employees, "
        "effective_date, is_current, source_file"
    )
    assert rows_of(warehouse, acme, "companies", columns) == [
        ("1", 'Ünïcode, "Ltd"\n', True, Decimal("1234.50"), 7, T1, True, path),
        ("2", "", None, None, None, T2, True, path),
    ]


def test_versions_of_a_key_become_history_in_order(acme, lake, warehouse, transport):
    versions = [
        {"company_id": "1", "status": status, "updated_at": at}
        for status, at in (("A", T1), ("B", T2), ("A", T3), ("A", T3))
    ]
    put_parquet(lake, acme, "companies", "a.parquet", versions[2:])
    put_parquet(lake, acme, "companies", "b.parquet", versions[:2])
    load(acme)
    rows = rows_of(warehouse, acme, "companies", "status, effective_date, expiry_date, is_current")
    assert [row[:2] for row in rows] == [("A", T1), ("B", T2), ("A", T3)]
    assert [row[2] for row in rows[:2]] == [T2, T3]
    assert [row[3] for row in rows] == [False, False, True]
    assert rows[2][2].year == 2999


def test_of_two_versions_with_one_effective_date_one_is_visible(acme, lake, warehouse):
    put_parquet(
        lake,
        acme,
        "companies",
        "a.parquet",
        [{"company_id": "1", "status": s, "updated_at": T1} for s in ("A", "B")],
    )
    load(acme)
    visible = rows_of(warehouse, acme, "companies", "is_current", "effective_date < expiry_date")
    assert visible == [(True,)]
    assert len(rows_of(warehouse, acme, "companies", "status")) == 2


def test_bad_values_reject_their_row_and_no_other(acme, lake, warehouse, transport):
    path = put_jsonl(
        lake,
        acme,
        "companies",
        "a.jsonl",
        [
            {"company_id": "1", "number_of_employees": "many", "updated_at": "2026-02-30"},
            {"company_id": "2", "number_of_employees": 12, "updated_at": "2026-02-28T10:00:00Z"},
            '{"company_id": "3", broken',
            {"company_name": "no key"},
            {"id": "5", "tenant_id": "globex"},
            {"id": "6", "tenant_id": acme.id, "annual_revenue": "1e3", "surprise": 1},
        ],
    )
    result = load(acme)
    assert (result.rows_read, result.rows_loaded, result.rows_rejected) == (6, 2, 4)
    assert result.unknown_columns == ("surprise",)
    assert [(row, column, value) for _, row, column, value, _ in rejects_of(warehouse, acme)] == [
        (1, "number_of_employees", "many"),
        (1, "updated_at", "2026-02-30"),
        (3, "", '{"company_id": "3", broken'),
        (4, "company_id", ""),
        (5, "tenant_id", "globex"),
    ]
    assert {source for source, *_ in rejects_of(warehouse, acme)} == {path}
    assert rows_of(warehouse, acme, "companies", "company_id, annual_revenue") == [
        ("2", None),
        ("6", Decimal("1000.00")),
    ]


def test_typed_parquet_values_out_of_range_are_rejected(acme, lake, warehouse, transport):
    table = pa.table(
        {
            "company_id": ["1", "2"],
            "created_at": pa.array([datetime(1, 1, 1), datetime(2026, 1, 1)], pa.timestamp("us")),
        }
    )
    put_parquet(lake, acme, "companies", "a.parquet", table)
    result = load(acme)
    assert result.rows_rejected == 1
    assert [row[1:3] for row in rejects_of(warehouse, acme)] == [(1, "created_at")]


def test_csv_rows_with_the_wrong_number_of_fields_are_rejected(acme, lake, warehouse, transport):
    text = 'id,company_name,extra\n1,"a,""b\n c",x\n2,,y\n3\n4,"",z,zz\n5,e,x\n'
    put_text(lake, acme, "companies", "a.csv.gz", text)
    result = load(acme)
    assert result.unknown_columns == ("extra",)
    assert [(row, value) for _, row, _, value, _ in rejects_of(warehouse, acme)] == [
        (3, "3"),
        (4, '4,"",z,zz'),
    ]
    assert rows_of(warehouse, acme, "companies", "company_id, name") == [
        ("1", 'a,"b\n c'),
        ("2", None),
        ("5", "e"),
    ]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("bad.parquet", b"PAR1 nothing PAR1"),
        ("bad.csv.gz", b"\x1f\x8b nothing"),
        ("bad.jsonl.gz", b"\x1f\x8b nothing"),
        ("note.txt", b"hello"),
    ],
)
def test_a_corrupt_file_is_quarantined_and_the_rest_loads(
    acme, lake, warehouse, transport, name, body
):
    put_bytes(lake, acme, "companies", name, body)
    put_parquet(lake, acme, "companies", "good.parquet", [{"id": "1"}])
    put_jsonl(lake, acme, "companies", "good.jsonl", [{"id": "2"}])
    result = load(acme)
    outcome = {each.key.rsplit("/", 1)[-1]: o.error for each, o in result.files.items()}
    assert outcome.pop(name)
    assert set(outcome.values()) == {""}
    assert rows_of(warehouse, acme, "companies", "company_id") == [("1",), ("2",)]


def test_a_parquet_file_damaged_inside_is_quarantined(acme, lake, warehouse, transport):
    path = put_parquet(
        lake, acme, "companies", "bad.parquet", [{"id": str(n)} for n in range(1000)]
    )
    found = lake.client.get_object(Bucket=lake.bucket, Key=path.split("/", 1)[1])["Body"].read()
    put_bytes(lake, acme, "companies", "bad.parquet", found[:4] + b"\0" * 60 + found[64:])
    put_parquet(lake, acme, "companies", "good.parquet", [{"id": "1"}])
    result = load(acme)
    errors = {each.key.rsplit("/", 1)[-1]: o.error for each, o in result.files.items()}
    assert errors["bad.parquet"]
    assert not errors["good.parquet"]
    assert rows_of(warehouse, acme, "companies", "company_id") == [("1",)]


def test_a_load_without_files_fails_with_advice(acme, lake):
    with pytest.raises(LakeError, match="no file under"):
        load(acme)


def test_a_missing_bucket_fails_and_names_the_setting(acme, lake, settings):
    settings.LAKE_BUCKET = "no-such-bucket"
    with pytest.raises(LakeError, match="LAKE_BUCKET"):
        load(acme)


def test_when_every_row_is_rejected_the_old_data_stays(acme, lake, warehouse):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    load(acme)
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"company_name": "no key"}])
    with pytest.raises(LoadFailed, match="kept"):
        load(acme)
    assert rows_of(warehouse, acme, "companies", "company_id") == [("1",)]


def test_reloading_replaces_only_this_tenant(acme, globex, lake, warehouse):
    for tenant in (acme, globex):
        put_jsonl(lake, tenant, "companies", "a.jsonl", [{"id": "1"}, {"id": "2"}])
        load(tenant)
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "3"}])
    load(acme)
    assert rows_of(warehouse, acme, "companies", "company_id") == [("3",)]
    assert rows_of(warehouse, globex, "companies", "company_id") == [("1",), ("2",)]


def test_no_scratch_table_is_left_behind(acme, lake, warehouse):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    load(acme)
    names = warehouse.rows(
        "SELECT name FROM system.tables WHERE startsWith(name, {prefix:String})",
        {"prefix": f"stage:{acme.id}:"},
    )
    assert names == []


def test_a_superseded_load_does_not_publish(acme, lake, warehouse):
    class Superseded(Run):
        def begin_publishing(self):
            return False

    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    with pytest.raises(LoadFailed, match="taken over"):
        run_load(LoadRequest(acme, TABLES["companies"], 1, kind=Kind.BULK), Superseded())
    assert rows_of(warehouse, acme, "companies", "company_id") == []


def test_contacts_take_activity_from_the_inactive_flag(acme, lake, warehouse, transport):
    put_parquet(
        lake,
        acme,
        "contacts",
        "a.parquet",
        [{"id": "1", "inactive_flag": True}, {"id": "2", "inactive_flag": False}, {"id": "3"}],
    )
    load(acme, "contacts")
    assert rows_of(warehouse, acme, "contacts", "contact_id, is_active") == [
        ("1", False),
        ("2", True),
        ("3", None),
    ]


def test_time_entries_take_the_ticket_only_from_service_ticket_charges(
    acme, lake, warehouse, transport
):
    rows = [
        {"id": "1", "charge_to_type": "Service Ticket", "charge_to_id": "T1"},
        {"id": "2", "charge_to_type": "Project", "charge_to_id": "P1"},
        {"id": "3", "charge_to_type": None, "charge_to_id": "X"},
    ]
    put_jsonl(lake, acme, "time_entries", "a.jsonl", rows)
    put_parquet(lake, acme, "time_entries", "b.parquet", [r | {"id": "p" + r["id"]} for r in rows])
    load(acme, "time_entries")
    assert rows_of(warehouse, acme, "time_entries", "entry_id, ticket_id") == [
        ("1", "T1"),
        ("2", None),
        ("3", None),
        ("p1", "T1"),
        ("p2", None),
        ("p3", None),
    ]


def test_a_bulk_load_refuses_to_lose_what_an_unreadable_file_had_brought(acme, lake, warehouse):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    put_parquet(lake, acme, "companies", "b.parquet", [{"id": "2"}, {"id": "3"}])
    load(acme)
    put_bytes(lake, acme, "companies", "b.parquet", b"PAR1 nothing PAR1")
    with pytest.raises(
        LoadFailed, match=r"History holds rows of 1 file.*b\.parquet.* full refresh"
    ):
        load(acme)
    assert rows_of(warehouse, acme, "companies", "company_id") == [("1",), ("2",), ("3",)]
    put_bytes(lake, acme, "companies", "never-loaded.parquet", b"PAR1 nothing PAR1")
    lake.client.delete_object(Bucket=lake.bucket, Key=f"{acme.id}/canonical/companies/b.parquet")
    assert load(acme).rows_loaded == 1
    assert rows_of(warehouse, acme, "companies", "company_id") == [("1",)]


@pytest.mark.django_db
def test_a_file_that_only_confirmed_versions_counts_as_having_brought_them(acme, lake, warehouse):
    """Yesterday's daily extract is gone, and today's cannot be read any more."""
    put_text(lake, acme, "companies", "a.csv", "id,name\n1,x\n2,y\n")
    run_job(acme)
    put_text(lake, acme, "companies", "b.csv", "id,name\n1,x\n2,y\n")
    run_job(acme)
    lake.client.delete_object(Bucket=lake.bucket, Key=f"{acme.id}/canonical/companies/a.csv")
    put_text(lake, acme, "companies", "b.csv", 'id,name\n1,x\n2,y\n3,"z\n')
    put_text(lake, acme, "companies", "c.csv", "id,name\n9,w\n")
    with pytest.raises(LoadFailed, match=r"History holds rows of 1 file.*b\.csv"):
        load(acme)


def test_a_bulk_load_refuses_to_lose_keys_while_rows_are_rejected(acme, lake, warehouse):
    put_text(lake, acme, "companies", "a.csv", "id,name\n1,a\n2,b\n3,c\n4,d\n")
    load(acme)
    put_text(lake, acme, "companies", "a.csv", 'id,name\n1,a\n2,"b\n3,c"\n4,d\n')
    with pytest.raises(LoadFailed, match="2 keys of the history are in no row"):
        load(acme)
    put_text(lake, acme, "companies", "a.csv", "id,name\n1,a\n2,b\n3,c\n4,d\n5,e,f\n")
    assert load(acme).rows_rejected == 1


@pytest.mark.django_db
def test_a_dry_run_with_rejects_writes_nothing(acme, lake, warehouse, transport):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}, {"name": "no key"}])
    job = run_job(acme, dry_run=True)
    assert (job.state, job.error, job.rows_rejected) == (LoadJob.State.SUCCEEDED, "", 1)
    assert rejects_of(warehouse, acme) == []
    run_job(acme)
    job = run_job(acme, dry_run=True, kind=Kind.REFRESH)
    assert (job.state, job.rows_rejected) == (LoadJob.State.SUCCEEDED, 1)


NOTHING = {
    "header only": ("a.csv", b"id,name\n"),
    "blank lines": ("a.jsonl", b"\n \n"),
    "all rejected": ("a.jsonl", b'{"name": "no key"}\n'),
    "no rows": ("a.parquet", None),
}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "way"),
    [(Kind.INCREMENTAL, "engine"), (Kind.INCREMENTAL, "worker"), (Kind.BULK, "engine"),
     (Kind.REFRESH, "engine")],
)  # fmt: skip
@pytest.mark.parametrize("what", NOTHING)
def test_a_first_load_without_rows_succeeds(acme, lake, warehouse, settings, what, kind, way):
    settings.LOAD_TRANSPORT = way
    name, body = NOTHING[what]
    if body is None:
        put_parquet(lake, acme, "companies", name, [], pa.schema([("id", pa.string())]))
    else:
        put_bytes(lake, acme, "companies", name, body)
    job = run_job(acme, kind=kind)
    assert (job.state, job.error) == (LoadJob.State.SUCCEEDED, "")
    assert job.rows_rejected == (what == "all rejected")
    logged = "SELECT kind FROM load_log FINAL WHERE tenant_id = {t:String}"
    assert warehouse.rows(logged, {"t": acme.id}) == [(kind.value,)]
    assert not Alert.objects.filter(tenant=acme).exists()
    put_jsonl(lake, acme, "companies", "b.jsonl", [{"id": "1"}])
    assert run_job(acme, kind=kind).rows_new == 1
