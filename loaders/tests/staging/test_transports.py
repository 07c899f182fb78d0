"""Both transports store the same rows of the whole sample lake, equal to those of plain Python."""

from datetime import date

import pytest
from django.test import override_settings

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.client import WarehouseClient
from avesa_site.demo.sample_lake import SAMPLE_TENANTS, generate
from avesa_site.tests.sample_lake.reading import read_rows
from loaders.jobs.load import Kind, LoadRequest, run_load
from tenants.models import Tenant

pytestmark = pytest.mark.slow
UNTIL = date(2026, 6, 1)
SENTINEL_YEAR = 2999
EVERYTHING = [(sample.tenant_id, table) for sample in SAMPLE_TENANTS for table in TABLES.values()]


@pytest.fixture(scope="module")
def files():
    return list(generate(until=UNTIL, scale=0.02))


@pytest.fixture(scope="module")
def contents(files, module_warehouse, module_lake):
    """{transport: {(tenant_id, table name): every stored version}}, loaded once for all tests."""
    for file in files:
        module_lake.put(file.key, file.body)
    return {transport: _load_all(transport) for transport in ("worker", "engine")}


def _load_all(transport):
    found = {}
    with override_settings(LOAD_TRANSPORT=transport):
        for number, (tenant_id, table) in enumerate(EVERYTHING):
            result = run_load(
                LoadRequest(Tenant(id=tenant_id), table, 1000 + number, kind=Kind.BULK)
            )
            assert result.rows_rejected == 0
            assert result.unknown_columns == ()
            found[tenant_id, table.name] = _contents(tenant_id, table)
    return found


def _contents(tenant_id, table):
    """Every stored version of a tenant's table, without the columns that differ between loads."""
    names = [*table.column_names, "effective_date", "expiry_date", "is_current", "record_hash"]
    return WarehouseClient().rows(
        f"SELECT {', '.join(names)}, source_file FROM {table.shared_name} "
        f"WHERE tenant_id = {{tenant_id:String}} ORDER BY {table.key}, effective_date, record_hash",
        {"tenant_id": tenant_id},
    )


@pytest.mark.parametrize(("tenant_id", "table"), EVERYTHING)
def test_engine_and_worker_store_the_same_rows(contents, tenant_id, table):
    rows = contents["engine"][tenant_id, table.name]
    assert rows
    assert rows == contents["worker"][tenant_id, table.name]


@pytest.mark.parametrize(("tenant_id", "table"), EVERYTHING)
def test_stored_history_equals_plain_python(contents, files, tenant_id, table):
    """Versions, validity and every value, computed here from the files alone."""
    expected = _expected_history(files, tenant_id, table)
    width = len(table.column_names)
    stored = {
        (row[table.column_names.index(table.key)], row[width]): row
        for row in contents["engine"][tenant_id, table.name]
    }
    assert stored.keys() == expected.keys()
    for identity, (row, expiry) in expected.items():
        found = stored[identity]
        assert dict(zip(table.column_names, found[:width], strict=True)) == row
        stored_expiry, is_current = found[width + 1 : width + 3]
        if expiry is None:
            assert (stored_expiry.year, is_current) == (SENTINEL_YEAR, True)
        else:
            assert (stored_expiry, is_current) == (expiry, False)


def _expected_history(files, tenant_id, table):
    """{(key, effective): (canonical row, expiry or None)} of a tenant's table."""
    rows = [
        {name: row.get(name) for name in table.column_names}
        for file in files
        if file.key.startswith(f"{tenant_id}/canonical/{table.name}/")
        for row in read_rows(file)
    ]
    for row in rows:
        if table.name == "time_entries" and row["charge_to_type"] != "ServiceTicket":
            row["ticket_id"] = None
    by_key = {}
    for row in rows:
        by_key.setdefault(row[table.key], {})[row["updated_at"]] = row
    expected = {}
    for key, versions in by_key.items():
        times = sorted(versions)
        for start, end in zip(times, [*times[1:], None], strict=True):
            expected[key, start] = (versions[start], end)
    return expected
