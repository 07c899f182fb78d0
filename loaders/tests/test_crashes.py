"""A load that dies at any statement: readers see one state, old or new; a re-run repairs."""

import pytest

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.writer import Writer
from loaders.bulk import BulkLoad
from loaders.tests.lakes import put_jsonl, put_parquet

pytestmark = pytest.mark.usefixtures("warehouse")
BEFORE, AFTER = [("1", "old")], [("1", "new"), ("2", "new")]


class Crash(BaseException):
    """The process is gone: nothing that handles errors may run usefully after it."""


def seen(tenant):
    return Writer().rows(
        "SELECT company_id, status FROM companies_current WHERE tenant_id = {t:String} ORDER BY 1",
        {"t": tenant.id},
    )


def load(tenant, load_id):
    return BulkLoad(tenant, TABLES["companies"], load_id).run()


def crash_at(monkeypatch, number, *, before):
    """Die at the `number`th statement, before it is sent or after it was carried out."""
    count = 0
    methods = {name: getattr(Writer, name) for name in ("run", "insert")}

    def dying(name):
        def call(self, *args, **kwargs):
            nonlocal count
            count += 1
            if count > number or (count == number and before):
                raise Crash
            result = methods[name](self, *args, **kwargs)
            if count == number:
                raise Crash
            return result

        return call

    for name in methods:
        monkeypatch.setattr(Writer, name, dying(name))
    return lambda: count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transport", "before"), [("engine", True), ("engine", False), ("worker", False)]
)
def test_a_crash_at_any_statement_shows_one_state_and_is_repaired(
    acme, lake, monkeypatch, settings, transport, before
):
    settings.LOAD_TRANSPORT = transport
    states = []
    for number in range(1, 60):
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
        assert _side_tables(acme) == []
        if not crashed:
            break
    assert not crashed, f"{reached()} statements were not all tried"
    assert BEFORE in states
    assert AFTER in states


def _side_tables(tenant):
    return Writer().rows(
        "SELECT name FROM system.tables WHERE startsWith(name, {prefix:String})",
        {"prefix": f"stage.{tenant.id}."},
    )
