"""Text with control characters: visibly replaced, counted, and the same from every source."""

import csv
import io

import pytest

from analytics.warehouse.catalog import TABLES
from common.texts import printable
from loaders.history.integrity import find_faults
from loaders.models import LoadJob
from loaders.staging import casting
from loaders.tests.histories import history, load
from loaders.tests.lakes import put_jsonl, put_parquet, put_text

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("warehouse")]

BLOCK = 4096
ROWS = [
    {"id": "1", "company_name": "a\0b\x01", "status": "\x1f", "industry": "x\ty\nz\x7f"},
    {"id": "2", "company_name": "c\ufffe\uffffd", "status": "open", "industry": "\u2400"},
    {"id": "3", "company_name": "plain", "status": "open", "industry": ""},
]
STORED = [
    ("1", "a\ufffdb\ufffd", "\ufffd", "x\ty\nz\x7f"),
    ("2", "c\ufffd\ufffdd", "open", "\u2400"),
    ("3", "plain", "open", ""),
]
NOTE = "2 rows hold control characters, which are shown as \ufffd."


def put_csv(lake, tenant, table, name, rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    put_text(lake, tenant, table, name, text.getvalue())


PUT = {"parquet": put_parquet, "jsonl": put_jsonl, "csv": put_csv}


@pytest.fixture(params=["engine", "worker"])
def transport(request, settings):
    settings.LOAD_TRANSPORT = request.param


@pytest.fixture(params=PUT)
def form(request):
    return request.param


def stored(warehouse, tenant):
    return warehouse.rows(
        "SELECT company_id, name, status, industry FROM shared_companies "
        "WHERE tenant_id = {t:String} ORDER BY company_id",
        {"t": tenant.id},
    )


def rejects(warehouse, tenant):
    return warehouse.rows(
        "SELECT source_row, column_name, value, reason FROM load_rejects FINAL "
        "WHERE tenant_id = {t:String} ORDER BY source_row",
        {"t": tenant.id},
    )


def test_they_are_replaced_counted_and_noted(acme, lake, warehouse, transport, form):
    PUT[form](lake, acme, "companies", f"a.{form}", ROWS)
    job = load(acme, kind=LoadJob.Kind.BULK)
    assert (job.state, job.error, job.rows_loaded) == (LoadJob.State.SUCCEEDED, "", 3)
    assert stored(warehouse, acme) == STORED
    assert job.notes == [NOTE]
    assert find_faults(acme, TABLES["companies"])[2] == [], "hashes are those of the stored text"


def test_the_same_text_again_is_no_change(acme, lake, warehouse, transport, form):
    """A small batch, which is worked on in memory."""
    PUT[form](lake, acme, "companies", f"a.{form}", ROWS)
    load(acme)
    PUT[form](lake, acme, "companies", f"b.{form}", [*ROWS, ROWS[0] | {"id": "4"}])
    job = load(acme)
    assert (job.state, job.rows_new, job.rows_changed) == (LoadJob.State.SUCCEEDED, 1, 0)
    assert stored(warehouse, acme)[:3] == STORED
    assert job.notes[0].startswith("3 rows hold") or job.notes[0].startswith("5 rows hold")


def test_keys_that_could_become_the_same_are_rejected(acme, lake, warehouse, transport, form):
    keys = ["1\x01", "1\x02", "1\ufffd", "1\0"]
    PUT[form](lake, acme, "companies", f"a.{form}", [{"id": key, "name": "x"} for key in keys])
    job = load(acme)
    assert (job.rows_loaded, job.rows_rejected) == (1, 3)
    assert stored(warehouse, acme) == [("1\ufffd", "x", None, None)]
    reason = "an identifier with control characters"
    assert rejects(warehouse, acme) == [(row, "id", "1\ufffd", reason) for row in (1, 2, 4)]


def test_rejected_values_can_be_shown(acme, lake, warehouse, transport, form):
    PUT[form](lake, acme, "companies", f"a.{form}", [{"id": "1", "is_active": "\x01perhaps"}])
    load(acme)
    [(_, column, value, _)] = rejects(warehouse, acme)
    assert (column, value) == ("is_active", "\ufffdperhaps")


def test_a_load_without_any_has_no_note(acme, lake):
    put_jsonl(lake, acme, "companies", "a.jsonl", ROWS[2:])
    assert load(acme).notes == []
    assert history(acme, "3") != []


@pytest.mark.parametrize("first", range(0, 0x10000, BLOCK))
def test_the_warehouse_replaces_what_python_replaces(warehouse, first):
    codes = [code for code in range(first, first + BLOCK) if not 0xD800 <= code < 0xE000]
    text = "".join(map(chr, codes))
    [(found, is_found)] = warehouse.rows(
        f"SELECT {casting.printable('text')}, {casting.is_unprintable('text')} "
        "FROM (SELECT unhex({text:String}) AS text)",
        {"text": text.encode().hex()},
    )
    assert found == printable(text)
    assert is_found == (printable(text) != text)
