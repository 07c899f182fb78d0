"""Loads that crash at any statement: readers see the old or the new state; a retry completes."""

import contextlib

import pytest

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.client import WarehouseClient
from loaders.history import publishing
from loaders.jobs import load as load_module
from loaders.jobs.load import Kind, LoadRequest, run_load
from loaders.tests.crashing import Crash, crash_at
from loaders.tests.histories import history, remove, row, stored
from loaders.tests.lakes import put_jsonl, put_parquet
from loaders.tests.thoroughness import statements

pytestmark = pytest.mark.usefixtures("warehouse")
BEFORE, AFTER = [("1", "old")], [("1", "new"), ("2", "new")]


def seen(tenant):
    return WarehouseClient().rows(
        "SELECT company_id, status FROM companies_current WHERE tenant_id = {t:String} ORDER BY 1",
        {"t": tenant.id},
    )


def load(tenant, load_id):
    return run_load(LoadRequest(tenant, TABLES["companies"], load_id, kind=Kind.BULK))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transport", "before"), [("engine", True), ("engine", False), ("worker", False)]
)
def test_a_crash_at_any_statement_leaves_one_state_and_a_retry_completes_it(
    acme, lake, monkeypatch, settings, transport, before
):
    settings.LOAD_TRANSPORT = transport
    states = []
    for number in statements(60):
        put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1", "status": "old"}])
        lake.client.delete_object(
            Bucket=lake.bucket, Key=f"{acme.id}/canonical/companies/b.parquet"
        )
        load(acme, number * 10)
        put_jsonl(
            lake, acme, "companies", "a.jsonl", [{"id": "1", "status": "new"}, {"status": "bad"}]
        )
        rows = [{"id": "2", "status": "new", "updated_at": None}] * 2
        put_parquet(lake, acme, "companies", "b.parquet", rows)
        with monkeypatch.context() as patch:
            reached = crash_at(patch, number, before=before)
            try:
                load(acme, number * 10 + 1)
                crashed = False
            except Crash:
                crashed = True
        states.append(seen(acme))
        assert states[-1] in (BEFORE, AFTER)
        load(acme, number * 10 + 1)
        assert seen(acme) == AFTER
        assert _scratch_tables(acme) == []
        if not crashed:
            break
    assert not crashed, f"{reached()} statements were not all tried"
    assert BEFORE in states
    assert AFTER in states


def _scratch_tables(tenant):
    return WarehouseClient().rows(
        "SELECT name FROM system.tables WHERE startsWith(name, {prefix:String})",
        {"prefix": f"stage:{tenant.id}:"},
    )


def test_versions_of_an_abandoned_load_never_become_visible(acme, lake, monkeypatch):
    """It crashed between adding its versions and publishing them; then its file was deleted."""
    monkeypatch.setattr(publishing, "SWAP_ABOVE", 1000)
    monkeypatch.setattr(load_module, "examined_before", lambda tenant, table: {})
    versions = {"a": ("A", 1), "wrong": ("wrong", 2), "b": ("B", 3)}
    for number, (name, (status, at)) in enumerate(versions.items()):
        put_jsonl(lake, acme, "companies", f"{name}.jsonl", [row(status, at)])
        with monkeypatch.context() as patch:
            if name == "wrong":
                patch.setattr(publishing, "publish", lambda *_: crash())
            with contextlib.suppress(Crash):
                run_load(LoadRequest(acme, TABLES["companies"], number))
        if name == "wrong":
            assert stored(acme) == [(2,)], "its version was added"
            remove(lake, acme, "wrong.jsonl")
    assert history(acme) == [("A", 1, 3), ("B", 3, None)]
    put_jsonl(lake, acme, "companies", "wrong.jsonl", [row("wrong", 2)])
    run_load(LoadRequest(acme, TABLES["companies"], 9))
    assert history(acme) == [("A", 1, 2), ("wrong", 2, 3), ("B", 3, None)]


def crash():
    raise Crash
