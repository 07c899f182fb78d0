"""The lake as a whole: its files are reproducible, and its history is complete."""

import ast
import re
import subprocess
import sys
from collections import Counter
from datetime import date, timedelta
from itertools import islice, pairwise
from pathlib import Path

import pytest

from avesa_site.demo import sample_lake
from avesa_site.demo.sample_lake import SAMPLE_TENANTS, generate
from avesa_site.demo.sample_lake import lake as lake_module
from avesa_site.tests.sample_lake.conftest import END, SINCE, START, UNTIL, SampleLake

pytestmark = pytest.mark.slow

KEY = re.compile(
    r"(?P<tenant>[a-z][a-z0-9-]*)/canonical/(?P<table>companies|contacts|tickets|time_entries)/"
    r"(base/part-\d{4}|changes/\d{4}-\d{2}(-\d{2})?)(?P<suffix>\.parquet|\.jsonl(\.gz)?|\.csv\.gz)"
)
SMALL = SAMPLE_TENANTS[-1:]


def test_every_key_follows_the_contract(lake):
    keys = [lake_file.key for lake_file in lake.files]
    assert all(KEY.fullmatch(key) for key in keys)
    assert len(set(keys)) == len(keys)


def test_every_tenant_has_a_base_and_changes_of_every_table(lake, tenant, table):
    folder = f"{tenant.tenant_id}/canonical/{table}/"
    names = [one.key.removeprefix(folder) for one in lake.files if one.key.startswith(folder)]
    assert any(name.startswith("base/") for name in names)
    assert any(name.startswith("changes/") for name in names)


def test_older_months_are_one_file_and_the_last_fortnight_one_file_a_day(lake):
    folder = f"{SAMPLE_TENANTS[0].tenant_id}/canonical/tickets/changes/"
    names = [
        one.key.removeprefix(folder).removesuffix(".parquet")
        for one in lake.files
        if one.key.startswith(folder)
    ]
    months = [name for name in names if len(name) == len("2026-11")]
    days = [name for name in names if name not in months]
    assert (months[0], months[-1], len(months)) == ("2024-11", "2026-11", 25)
    fortnight = [UNTIL - timedelta(days=14 - number) for number in range(14)]
    assert set(days) <= {day.isoformat() for day in fortnight}
    # On a Sunday there may be no change, and then there is no file.
    assert set(days) >= {day.isoformat() for day in fortnight if day.weekday() < 5}
    assert names == months + days


def test_a_change_file_holds_only_versions_of_its_span(lake):
    for lake_file in lake.files:
        span = re.search(r"changes/(\d{4}-\d{2}(-\d{2})?)", lake_file.key)
        for row in lake.rows_of_file[lake_file.key]:
            if span:
                assert row["updated_at"].date().isoformat().startswith(span[1])
                assert row["updated_at"] >= START
            else:
                assert row["updated_at"] < START


def test_the_base_holds_each_record_once(lake):
    for lake_file in lake.files:
        if "/base/" in lake_file.key:
            rows = lake.rows_of_file[lake_file.key]
            keys = {next(iter(row.values())) for row in rows}
            assert len(keys) == len(rows) > 0


def test_some_change_file_holds_several_versions_of_one_record(lake):
    file = next(one for one in lake.files if "northwind-it/canonical/tickets/changes" in one.key)
    assert Counter(row["ticket_id"] for row in lake.rows_of_file[file.key]).most_common(1)[0][1] > 2


def test_versions_of_a_record_are_strictly_later_one_after_the_other(lake, table):
    for history in lake.everywhere(table):
        assert all(a["updated_at"] < b["updated_at"] for a, b in pairwise(history))


def test_nothing_but_a_due_date_is_at_or_after_the_end(lake, tenant, table):
    for row in lake.rows[tenant.tenant_id, table]:
        for column, value in row.items():
            if column != "required_date" and hasattr(value, "tzinfo"):
                assert value < END, column


def test_every_row_has_its_key_and_its_time_of_change(lake, tenant, table):
    for row in lake.rows[tenant.tenant_id, table]:
        assert next(iter(row.values()))
        assert row["updated_at"]


def test_the_same_arguments_give_the_same_files():
    again = {"scale": 0.05, "tenants": SAMPLE_TENANTS[1:]}
    assert list(generate(UNTIL, **again)) == list(generate(UNTIL, **again))


def test_a_fresh_process_with_another_hash_seed_gives_the_same_files():
    code = (
        "import datetime, hashlib; from avesa_site.demo.sample_lake import generate\n"
        "digest = hashlib.sha256()\n"
        "for one in generate(datetime.date(2026, 11, 22), 0.02):\n"
        "    digest.update(one.key.encode() + one.body)\n"
        "print(digest.hexdigest())"
    )
    root = Path(sample_lake.__file__).parents[3]
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_another_seed_gives_other_data():
    one, other = (list(generate(UNTIL, 0.05, seed, tenants=SMALL)) for seed in (1, 2))
    assert one != other


def test_a_later_end_only_adds_versions():
    earlier, later = (
        SampleLake(list(generate(until, 0.3, since=SINCE, tenants=SMALL)))
        for until in (UNTIL, UNTIL + timedelta(days=20))
    )
    for place, rows in earlier.rows.items():
        kept = [row for row in later.rows[place] if row["updated_at"] < END]
        assert len(rows) == len(kept)
        assert all(row in kept for row in islice(rows, 0, None, 7))
    grown = {table for (_, table), rows in later.rows.items() if rows[-1]["updated_at"] >= END}
    assert grown >= {"tickets", "time_entries"}


def test_a_larger_scale_gives_more_of_everything():
    def counts(scale):
        lake = SampleLake(list(generate(UNTIL, scale, tenants=SMALL)))
        return {table: len(keys) for (_, table), keys in lake.histories.items()}

    small, large = counts(0.5), counts(1.5)
    assert all(2 < large[table] / small[table] < 4.5 for table in large)


def test_tenants_differ_in_size_as_declared(lake):
    large, medium, small = (
        len(lake.current[tenant.tenant_id, "tickets"]) for tenant in SAMPLE_TENANTS
    )
    assert medium / large == pytest.approx(0.5, rel=0.15)
    assert small / large == pytest.approx(0.1, rel=0.3)


def test_large_spans_are_split_into_parts(monkeypatch):
    monkeypatch.setattr(lake_module, "PART_ROWS", 40)
    whole = SampleLake(list(generate(UNTIL, 0.2, tenants=SMALL)))
    keys = [one.key for one in whole.files]
    assert any(re.search(r"changes/\d{4}-\d{2}-part-0001\.", key) for key in keys)
    assert max(len(rows) for rows in whole.rows_of_file.values()) == 40


def test_files_come_one_at_a_time():
    """Files are generated lazily: the first one must not take the work of all others."""
    files = generate(UNTIL, 5.0, tenants=SAMPLE_TENANTS[:1])
    first = next(files)
    files.close()
    assert first.key.startswith("northwind-it/canonical/companies/base/")


def test_a_leap_day_has_a_window():
    lake = SampleLake(list(generate(date(2028, 2, 29), 0.3, tenants=SMALL)))
    moments = [row["updated_at"].date() for row in lake.rows["harbor", "tickets"]]
    assert date(2028, 2, 25) < max(moments) < date(2028, 2, 29)
    assert any(date(2026, 2, 28) <= day < date(2026, 3, 5) for day in moments)


def test_the_package_needs_neither_django_nor_the_network():
    folder = Path(sample_lake.__file__).parent
    imported = set()
    for module in folder.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module)
    ours = {name for name in imported if name.startswith("avesa_site.demo.sample_lake")}
    foreign = {name.split(".")[0] for name in imported - ours} - sys.stdlib_module_names
    assert foreign == {"pyarrow"}
