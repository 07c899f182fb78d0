"""Doors refuse what is too much with 429, say so, and open again; statements have limits, too."""

import csv
import io

import pytest

from analytics.records import listing
from analytics.tests.versions import company, ticket
from analytics.warehouse import exports, tenant_reader
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import OutOfMemory, QueryTimeout, StatementFailed
from analytics.warehouse.exports import ExportRefused
from analytics.warehouse.pool import pool
from analytics.warehouse.tenant_reader import TenantReader
from analytics.warehouse.turns import Turns
from common import limits
from common.spreadsheets import Column, Sheet
from tenants.models import ApiToken

DOORS = {
    "figures": ["", "board/service/", "figures/backlog/"],
    "listing": ["explore/", "explore/tickets/", "explore/tickets/1/"],
    "export": ["explore/tickets.csv", "explore/tickets.xlsx", "figures/backlog.csv"],
}


@pytest.fixture
def few(settings, tmp_path, monkeypatch):
    """One request of each kind a minute, counted for this test alone."""
    settings.CACHE_URL, settings.VAR_DIR = "", tmp_path
    monkeypatch.setattr(limits, "now", lambda: 1_800_000_010.0)  # no new minute begins
    kinds = ("figures", "listing", "export", "preview", "test", "api")
    settings.REQUEST_LIMITS = dict.fromkeys(kinds, (1, 1, 1, 1))


@pytest.fixture
def filled(acme, put_rows):
    put_rows(acme, "tickets", [ticket("1"), ticket("2")])


@pytest.mark.parametrize(
    ("kind", "path"), [(k, path) for k, all_ in DOORS.items() for path in all_]
)
def test_each_door_counts_its_kind(client, alice, acme, filled, few, kind, path):
    client.force_login(alice)
    first = client.get(f"/t/{acme.id}/{path}")
    assert first.status_code == 200
    assert first.getvalue()
    for other in DOORS[kind]:
        refused = client.get(f"/t/{acme.id}/{other}")
        assert refused.status_code == 429
        assert 1 <= int(refused["Retry-After"]) <= 60
        assert "Too many requests at once" in refused.content.decode()
    unlimited = client.get(f"/t/{acme.id}/figures/")
    assert unlimited.status_code == 200


def test_the_limit_of_one_tenant_is_none_for_another(
    client, alice, charlie, acme, globex, filled, few
):
    client.force_login(alice)
    for status in (200, 429):
        assert client.get(f"/t/{acme.id}/explore/").status_code == status
    client.force_login(charlie)
    assert client.get(f"/t/{globex.id}/explore/").status_code == 200


def test_the_api_refuses_with_a_problem(client, acme, filled, few):
    headers = {"Authorization": f"Bearer {ApiToken.issue(acme, 'test')[1]}"}
    path = f"/api/v1/tenants/{acme.id}/tables/tickets"
    assert client.get(path, headers=headers).status_code == 200
    refused = client.get(path, headers=headers)
    assert (refused.status_code, refused["Content-Type"]) == (429, "application/problem+json")
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert refused.json()["title"] == "Too Many Requests"
    assert client.get("/api/openapi.json", headers=headers).status_code == 200


def test_a_page_that_gets_no_turn_is_refused_in_the_same_way(
    client, alice, acme, filled, monkeypatch
):
    client.force_login(alice)
    monkeypatch.setattr(tenant_reader, "_turns", lambda: Turns(0, seconds=0.01))
    refused = client.get(f"/t/{acme.id}/explore/tickets/1/")
    assert refused.status_code == 429
    assert "Too many requests at once" in refused.content.decode()
    headers = {"Authorization": f"Bearer {ApiToken.issue(acme, 'test')[1]}"}
    refused = client.get(f"/api/v1/tenants/{acme.id}/tables/tickets", headers=headers)
    assert (refused.status_code, refused["Retry-After"]) == (429, "5")


# --- Statements


def test_statements_of_pages_have_limits(acme, warehouse, settings):
    names = ("max_threads", "max_memory_usage", "max_execution_time", "priority", "readonly")
    sql = f"SELECT {', '.join(f'toUInt64(getSetting({name!r}))' for name in names)}"
    threads, memory, seconds, rank, readonly = TenantReader(acme).select(sql).values[0]
    assert threads >= 1
    assert memory >= 512 << 20
    assert (seconds, readonly) == (settings.CLICKHOUSE_READ_TIMEOUT, 2)
    assert rank >= 1
    settings.READER_THREADS, settings.READER_MEMORY_MB = 7, 100
    assert TenantReader(acme).select(sql).values[0][:2] == (7, 100 << 20)


def test_a_statement_that_needs_too_much_memory_fails_alone(acme, warehouse, settings):
    settings.READER_MEMORY_MB = 50
    with pytest.raises(OutOfMemory, match="READER_MEMORY_MB"):
        TenantReader(acme).select("SELECT length(groupArray(number)) FROM numbers(100000000)")
    assert TenantReader(acme).select("SELECT 1").values == [(1,)]


def test_a_statement_that_takes_too_long_fails_alone(acme, warehouse, settings):
    settings.CLICKHOUSE_READ_TIMEOUT = 1
    with pytest.raises(QueryTimeout):
        TenantReader(acme).select("SELECT count() FROM numbers(1000000000000) WHERE number % 7 = 8")


# --- Exports


def read(file):
    with file:
        return list(csv.reader(io.StringIO(file.read().decode("utf-8-sig"), newline="")))


def test_an_export_holds_no_connection_while_it_is_read(client, alice, acme, filled):
    """Whoever reads slowly holds a file that is complete, and nothing else."""
    client.force_login(alice)
    response = client.get(f"/t/{acme.id}/explore/tickets.csv", {"columns": "ticket_id"})
    body = response.getvalue()
    assert int(response["Content-Length"]) == len(body)
    assert body.decode("utf-8-sig").split() == ["ticket_id", "1", "2"]
    running = "SELECT count() FROM system.processes WHERE query LIKE '%tickets_as_of%'"
    with pool(30).client() as other:
        assert other.execute(running + " AND query NOT LIKE '%system.processes%'") == [(0,)]


def test_an_export_that_would_be_too_large_is_refused(
    client, alice, acme, put_rows, settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(exports.tempfile, "tempdir", str(tmp_path))
    settings.EXPORT_MEGABYTES = 1
    put_rows(acme, "tickets", [ticket(f"{n}", summary="x" * 5000) for n in range(300)])
    client.force_login(alice)
    for kind in ("csv", "xlsx"):
        path = f"/t/{acme.id}/explore/tickets.{kind}"
        refused = client.get(path, {"columns": ["ticket_id", "summary"]})
        assert refused.status_code == 400
        assert "larger than 1 MB" in refused.content.decode()
    small = client.get(f"/t/{acme.id}/explore/tickets.csv", {"columns": "ticket_id"})
    assert (small.status_code, small.getvalue()[-6:]) == (200, b"\r\n99\r\n")
    assert list(tmp_path.iterdir()) == [], "nothing is left"


def test_an_export_that_takes_too_long_ends(acme, filled, settings):
    wanted = listing.listing(TABLES["tickets"], columns=["ticket_id"])
    read(listing.table_file(acme, wanted, "csv"))
    settings.EXPORT_SECONDS = 0.001
    with pytest.raises(StatementFailed, match="took longer"):
        listing.table_file(acme, wanted, "csv")
    settings.EXPORT_SECONDS = 60
    assert len(read(listing.table_file(acme, wanted, "csv"))) == 3


def sheet_of(*titles):
    return Sheet("Table", [Column(each) for each in titles], ())


def test_a_sheet_with_too_many_rows_is_refused_with_its_reason(acme, put_rows, monkeypatch):
    sql = "SELECT number FROM numbers(1048576)"
    with pytest.raises(ExportRefused, match="CSV"):
        TenantReader(acme).table_file(sql, {}, sheet_of("n"), "xlsx")


def test_an_export_has_limits_and_comes_after_pages(acme, warehouse, put_rows):
    put_rows(acme, "companies", [company("1")])
    names = ("max_threads", "priority", "readonly", "max_execution_time")
    sql = f"SELECT {', '.join(f'toUInt64(getSetting({name!r}))' for name in names)}"
    rows = read(TenantReader(acme).table_file(sql, {}, sheet_of(*names), "csv"))
    assert rows[1] == ["1", "20", "2", "120"]
