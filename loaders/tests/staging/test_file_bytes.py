"""Files of random content, whole and damaged, are loaded exactly.

Equal rows give equal versions and equal rejects in every format, compression and transport. Every
row of a damaged file is loaded, rejected or quarantined with it, and no key is closed in doubt.
"""

import gzip
import io
import itertools
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.client import WarehouseClient
from loaders.jobs.load import Kind, LoadRequest, Vanished, run_load
from loaders.lake.results import LoadFailed
from loaders.staging.csv_records import MalformedCsv, records
from loaders.tests.lakes import put_bytes, zst
from loaders.tests.thoroughness import THOROUGH
from tenants.models import Tenant

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warehouse"), pytest.mark.django_db]

COLUMNS = ("company_id", "name", "website", "number_of_employees", "created_at", "updated_at")
STORED = (*COLUMNS, "is_current", "record_hash")
_numbers = itertools.count(1)


def thorough(examples):
    return settings(
        max_examples=examples * (30 if THOROUGH else 1),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# More commas in a text of several lines could make two of them look like whole records.
texts = st.text(
    st.one_of(st.sampled_from('", \n\r\\;é\x00'), st.characters(exclude_categories=["Cs"])),
    max_size=12,
).filter(lambda text: text.count(",") < 3)
row_texts = st.fixed_dictionaries(
    {
        "company_id": st.one_of(st.none(), st.sampled_from([" ", "nan", "\t", "x"]), texts),
        "name": st.one_of(st.none(), texts),
        "website": st.one_of(st.none(), texts),
        "number_of_employees": st.sampled_from([None, "7", " 12 ", "many", "1.0", "é"]),
        "created_at": st.sampled_from([None, "1969-12-31T23:59:59.9985Z", "2026-02-30", "2026"]),
        "updated_at": st.sampled_from([None, "2026-01-05 09:00:00+02", "2026-01-06"]),
    }
)
contents = st.lists(row_texts, min_size=1, max_size=6, unique_by=lambda row: row["company_id"])


def as_csv(rows):
    lines = [",".join(COLUMNS)]
    for row in rows:
        values = (row[name] for name in COLUMNS)
        quoted = ("" if v is None else '"' + v.replace('"', '""') + '"' for v in values)
        lines.append(",".join(quoted))
    return ("\n".join(lines) + "\n").encode()


def as_jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(rows):
    body = io.BytesIO()
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    pq.write_table(pa.Table.from_pylist(rows, schema), body)
    return body.getvalue()


def gz(data):
    return gzip.compress(data, mtime=0)


PACK = {"": bytes, ".gz": gz, ".zst": zst}
WRITE = {"csv": as_csv, "jsonl": as_jsonl}
FORMS = ["parquet", *(form + end for form in WRITE for end in PACK)]
TRANSPORTS = ("engine", "worker")


def file_of(form, rows):
    if form == "parquet":
        return as_parquet(rows)
    name, _, end = form.partition(".")
    return PACK["." + end if end else ""](WRITE[name](rows))


def load(settings, lake, transport, form, body, tenant=None, **options):
    """(tenant, result or None where no file could be loaded)."""
    settings.LOAD_TRANSPORT = transport
    tenant = tenant or Tenant.objects.create(id=f"bytes-{next(_numbers)}", name="b")
    put_bytes(lake, tenant, "companies", f"a.{form}", body)
    try:
        return tenant, run_load(LoadRequest(tenant, TABLES["companies"], next(_numbers), **options))
    except LoadFailed as error:
        if not re.search("could be loaded|was kept", str(error)):
            raise
        return tenant, None


def outcome_of(tenant):
    """The versions that readers see, and the rejects."""
    names = {"t": tenant.id}
    versions = WarehouseClient().rows(
        f"SELECT {', '.join(STORED)} FROM shared_companies "
        "WHERE tenant_id = {t:String} AND effective_date < expiry_date ORDER BY ALL",
        names,
    )
    rejects = WarehouseClient().rows(
        "SELECT source_row, row_key, column_name, value, reason FROM load_rejects FINAL "
        "WHERE tenant_id = {t:String} ORDER BY ALL",
        names,
    )
    return versions, rejects


@thorough(3)
@given(rows=contents)
def test_equal_rows_give_equal_versions_and_rejects(settings, lake, rows):
    found = {}
    for form in FORMS:
        for transport in TRANSPORTS:
            tenant, result = load(settings, lake, transport, form, file_of(form, rows))
            assert result.rows_read == len(rows), (form, transport)
            found[form, transport] = outcome_of(tenant)
    expected = found["parquet", "engine"]
    for way, each in found.items():
        assert each == expected, way


KEYS = [str(number) for number in range(40)]


def edition(number):
    """Every key, with a version that took effect on that day."""
    return [
        {
            **dict.fromkeys(COLUMNS),
            "company_id": key,
            "name": f'name "{key}", é {number}',
            "website": "w\nx",
            "updated_at": f"2026-01-0{number}",
        }
        for key in KEYS
    ]


FIRST, SECOND = edition(1), edition(2)
damages = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), st.floats(0, 1), st.none()),
        st.tuples(st.just("flip"), st.floats(0, 1), st.integers(1, 255)),
        st.tuples(st.just("insert"), st.floats(0, 1), st.sampled_from([b'"', b"\xff", b"\n", b""])),
        st.tuples(st.just("drop"), st.floats(0, 1), st.integers(1, 40)),
    ),
    min_size=1,
    max_size=2,
)


def damaged(body, changes):
    for what, where, more in changes:
        at = int(where * max(0, len(body) - 1))
        if what == "cut":
            body = body[:at]
        elif what == "flip" and body:
            body = body[:at] + bytes([body[at] ^ more]) + body[at + 1 :]
        elif what == "insert":
            body = body[:at] + more + body[at:]
        elif what == "drop":
            body = body[:at] + body[at + more :]
    return body


@thorough(12)
@given(form=st.sampled_from(FORMS), changes=damages, late=st.booleans())
def test_a_damaged_file_is_reported_and_closes_nothing(settings, lake, form, changes, late):
    """`late`: the text is damaged before it is compressed, as by a faulty writer."""
    name, _, end = form.partition(".")
    if late and end:
        body = PACK["." + end](damaged(WRITE[name](SECOND), changes))
    else:
        body = damaged(file_of(form, SECOND), changes)
    seen = {}
    for transport in TRANSPORTS:
        tenant, _ = load(settings, lake, transport, form, file_of(form, FIRST))
        options = {"kind": Kind.REFRESH, "vanished": Vanished.CLOSE, "tenant": tenant}
        _, result = load(settings, lake, transport, form, body, **options)
        seen[transport] = outcome_of(tenant)
        outcomes = [] if result is None else list(result.files.values())
        is_quarantined = not outcomes or any(outcome.error for outcome in outcomes)
        event(f"{name}: {'quarantined' if is_quarantined else 'read'}")
        if is_quarantined:
            assert len(seen[transport][0]) == len(KEYS)
            assert result is None or not result.versions.keys_closed
            continue
        _, rejects = seen[transport]
        if any(not key for _, key, *_ in rejects):
            assert not result.versions.keys_closed
        delivered = rows_of(form, body)
        assert delivered is None or result.rows_read == delivered
        assert result.rows_rejected == len({number for number, *_ in rejects})
        if end and not late:
            assert not is_truncated(form, body), "a truncated file counts as whole"
    if name != "parquet":  # the two Parquet readers do not detect the same damage
        assert seen["engine"] == seen["worker"]


def is_truncated(form, body):
    whole = file_of(form, SECOND)
    return len(body) < len(whole) and whole.startswith(body)


def rows_of(form, body):
    """How many rows a file holds, counted independently; None if that is not possible."""
    name, _, end = form.partition(".")
    if name == "parquet":
        return pq.read_metadata(io.BytesIO(body)).num_rows
    with pa.input_stream(io.BytesIO(body), compression={"gz": "gzip", "zst": "zstd"}.get(end)) as s:
        text = s.read()
    if name == "jsonl":
        return sum(bool(line.strip()) for line in text.split(b"\n"))
    try:
        return sum(1 for _ in records(io.BytesIO(text)))
    except MalformedCsv:
        return None
