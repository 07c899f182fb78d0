"""Each tenant's files: formats, column names, types, and text that is hard to parse."""

import gzip
import io
import json
import re
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avesa_site.demo.sample_lake import LakeFile
from avesa_site.demo.sample_lake.formats import encode
from avesa_site.demo.sample_lake.rows import COMPANIES, CONTACTS, TABLES, TIME_ENTRIES, Kind
from avesa_site.demo.sample_lake.tenants import MIXED_FORMATS
from avesa_site.tests.sample_lake.conftest import KEYS
from avesa_site.tests.sample_lake.reading import (
    TABLES_BY_NAME,
    raw_rows,
    read_rows,
    table_of,
    typed,
)

pytestmark = pytest.mark.slow

ISO = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")


def files_of(lake, tenant_id, suffix=""):
    prefix = f"{tenant_id}/"
    return [one for one in lake.files if one.key.startswith(prefix) and one.key.endswith(suffix)]


def test_every_table_starts_with_its_business_key():
    assert {table.name: table.columns[0].name for table in TABLES} == KEYS


def test_the_large_tenant_writes_parquet_with_canonical_names(lake):
    for one in files_of(lake, "northwind-it"):
        columns = [column.name for column in table_of(one).columns]
        assert pq.read_schema(io.BytesIO(one.body)).names == columns


def test_the_medium_tenant_writes_parquet_with_the_other_names(lake):
    expected = {
        "companies": {"id", "company_name", "created_date", "last_updated"},
        "contacts": {
            "id",
            "default_email_address",
            "default_phone_number",
            "inactive_flag",
            "last_updated",
        },
        "tickets": {"id", "last_updated"},
        "time_entries": {"id", "charge_to_id", "last_updated"},
    }
    for one in files_of(lake, "bluepeak"):
        table = table_of(one)
        canonical = {column.name for column in table.columns}
        names = set(pq.read_schema(io.BytesIO(one.body)).names)
        assert names - canonical == expected[table.name]
        assert len(names) == len(canonical)


def test_the_inactive_flag_is_the_opposite_of_is_active(lake):
    one = next(f for f in files_of(lake, "bluepeak") if "/contacts/base/" in f.key)
    flags = [row["inactive_flag"] for row in raw_rows(one)]
    assert [row["is_active"] for row in lake.rows_of_file[one.key]] == [not flag for flag in flags]


def test_the_small_tenant_mixes_formats_in_every_table(lake, table):
    names = [one.key for one in files_of(lake, "harbor") if f"/{table}/" in one.key]
    suffixes = {next(end for end in sorted(MIXED_FORMATS) if key.endswith(end)) for key in names}
    assert len(suffixes) >= 3
    stems = [key.split(".")[0] for key in names]
    assert len(set(stems)) == len(stems)


def test_parquet_columns_have_the_declared_types(lake):
    expected = {
        Kind.TEXT: pa.string(),
        Kind.FLAG: pa.bool_(),
        Kind.COUNT: pa.int64(),
        Kind.MONEY: pa.decimal128(18, 2),
        Kind.HOURS: pa.decimal128(10, 2),
        Kind.MOMENT: pa.timestamp("ms", tz="UTC"),
    }
    for one in files_of(lake, "northwind-it", ".parquet"):
        types = pq.read_schema(io.BytesIO(one.body)).types
        assert types == [expected[column.kind] for column in table_of(one).columns]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv.gz"])
def test_moments_in_text_files_are_iso_strings_in_utc(lake, suffix):
    for one in files_of(lake, "harbor", suffix):
        moments = [c.name for c in table_of(one).columns if c.kind is Kind.MOMENT]
        for row in raw_rows(one):
            assert all(not row[name] or ISO.fullmatch(row[name]) for name in moments)


def test_absent_values_are_null_in_json_and_empty_in_csv(lake):
    tickets = [one for one in files_of(lake, "harbor") if "/tickets/changes/" in one.key]
    in_json = [row for one in tickets if ".jsonl" in one.key for row in raw_rows(one)]
    in_csv = [row for one in tickets if ".csv" in one.key for row in raw_rows(one)]
    assert any(row["closed_date"] is None for row in in_json)
    assert not any(value == "" for row in in_json for value in row.values())
    assert any(row["closed_date"] == "" for row in in_csv)
    assert not any(value is None for row in in_csv for value in row.values())


def test_gzip_carries_no_time(lake):
    for one in files_of(lake, "harbor", ".gz"):
        assert one.body[4:8] == bytes(4)
        assert gzip.decompress(one.body)


def test_no_text_is_empty_padded_or_stands_for_null(lake, tenant, table):
    texts = [column.name for column in TABLES_BY_NAME[table].columns if column.kind is Kind.TEXT]
    for row in lake.rows[tenant.tenant_id, table]:
        for name in texts:
            text = row[name]
            assert text is None or text == text.strip()
            assert text not in ("", "\\N", "NULL")


@pytest.mark.parametrize("trial", ['"', ",", "\n", ";", "\\\\", "“", "🙂", "田", "{"])
def test_descriptions_contain_text_that_is_hard_to_parse(lake, tenant, trial):
    assert any(
        trial in (row["description"] or "") for row in lake.rows[tenant.tenant_id, "tickets"]
    )


def test_optional_columns_are_empty_now_and_then(lake):
    rows = lake.rows["northwind-it", "tickets"]
    for column, low, high in [
        ("description", 0.02, 0.15),
        ("contact_id", 0.1, 0.4),
        ("budget_hours", 0.2, 0.5),
        ("item_name", 0.01, 0.1),
        ("owner_id", 0.08, 0.3),
        ("required_date", 0.2, 0.75),
    ]:
        empty = sum(row[column] is None for row in rows) / len(rows)
        assert low < empty < high, column


TEXT = st.text(st.characters(codec="utf-8"), min_size=1)
VALUES = {
    Kind.TEXT: TEXT,
    Kind.FLAG: st.booleans(),
    Kind.COUNT: st.integers(0, 10**6),
    Kind.MONEY: st.decimals(-(10**13), 10**13, places=2),
    Kind.HOURS: st.decimals(0, 10**6, places=2),
    Kind.MOMENT: st.integers(0, 4_000_000_000_000),
}


def rows_of(table):
    values = [VALUES[column.kind] for column in table.columns]
    optional = [values[0], *(st.none() | value for value in values[1:])]
    return st.lists(st.tuples(*optional).map(table.row._make), min_size=1, max_size=4)


@pytest.mark.parametrize("table", [COMPANIES, CONTACTS, TIME_ENTRIES], ids=lambda one: one.name)
def test_every_format_gives_the_same_rows(table):
    @settings(max_examples=25, deadline=None, database=None)
    @given(rows_of(table))
    def check(rows):
        read = [
            read_rows(LakeFile(f"t/canonical/{table.name}/x{suffix}", body))
            for suffix in MIXED_FORMATS
            for aliased in (False, True)
            for body in [encode(table, rows, suffix, aliased=aliased)]
        ]
        assert all(one == read[0] for one in read)

    check()


def test_money_in_json_keeps_every_digit():
    row = (None,) * 19 + (Decimal("1234567890123456.78"),) + (None,) * 3
    body = encode(COMPANIES, [COMPANIES.row._make(row)], ".jsonl", aliased=False)
    assert typed(Kind.MONEY, json.loads(body)["annual_revenue"]) == row[19]
