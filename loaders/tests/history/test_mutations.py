"""Mutation tests: the comparison with the model must notice when a rule is broken.

A mutation changes the text of the statements that are sent to the engine.
"""

import pytest

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.client import WarehouseClient
from loaders.history import publishing
from loaders.jobs.load import Kind, LoadRequest, Vanished, run_load
from loaders.lake.results import LoadFailed
from loaders.tests import memory_lake
from loaders.tests.histories import current, day
from loaders.tests.history.test_merge_properties import Scenario, _numbers, no_records

__all__ = ["no_records"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warehouse", "no_records")]

# {the rule as broken: (text in a statement, its replacement)}
MUTATIONS = {
    "a version never expires": (
        "coalesce(minOrNullIf(starts, NOT is_redundant) OVER later, ",
        "coalesce(NULL, ",
    ),
    "of equal effective dates the hash decides, not the newer source": (
        "starts DESC, is_version DESC, source_time DESC, ",
        "starts DESC, is_version DESC, ",
    ),
    "a redundant row becomes a version": (
        "is_new AND previous = record_hash AS is_redundant",
        "false AS is_redundant",
    ),
    "a newer delivery of a known row does not count": (
        "(empty(rows) OR newest_staged > newest_stored)",
        "empty(rows)",
    ),
    "an end is forgotten when the key comes back": (
        "arrayFilter(row -> NOT row.4 AND row.3 > effective_date AND true, rows)",
        "arrayFilter(row -> false, rows)",
    ),
    "a key that returns unchanged stays closed": (
        "WHERE version.effective_date < closed.since",
        "WHERE false",
    ),
    "the hash does not know the time of the change": (
        "ifNull(cityHash64('updated_at', `updated_at`), 0)",
        "0",
    ),
    "a closed version stays current": (
        "toDateTime64('2026-01-10 00:00:00.000', 3, 'UTC'), false, false, true, ''",
        "toDateTime64('2026-01-10 00:00:00.000', 3, 'UTC'), true, false, true, ''",
    ),
    "a rejected row does not keep its key open": (
        "NOT IN (SELECT row_key FROM ",
        "NOT IN (SELECT 'none' FROM ",
    ),
}
INCREMENTAL, REFRESH = Kind.INCREMENTAL, Kind.REFRESH
# (kind, [(day of delivery, [(key, content, day of change or None)])], close?), in turn.
SCENARIOS = [
    [
        (INCREMENTAL, [(6, [("x", "A", 1), ("y", "A", 1)]), (7, [("x", "B", 3), ("y", "A", 3)])],
         False),
        (INCREMENTAL, [(8, [("x", "C", 2), ("y", "B", 2)])], False),
    ],
    [
        (INCREMENTAL, [(6, [("x", "A", 1), ("y", "B", 1)])], False),
        (INCREMENTAL, [(7, [("x", "B", 1), ("y", "A", 1)])], False),
        (INCREMENTAL, [(8, [("x", "A", 1), ("y", "B", 1)])], False),
    ],
    [
        (INCREMENTAL, [(6, [("x", "A", None)])], False),
        (INCREMENTAL, [(7, [("x", "A", None)])], False),
        (INCREMENTAL, [(7, [("x", "A", None)]), (8, [("x", "B", None)])], False),
        (INCREMENTAL, [(8, [("x", "B", None)])], False),
    ],
    [
        (INCREMENTAL, [(6, [("x", "A", 1), ("y", "A", 1)])], False),
        (REFRESH, [(9, [("x", "A", 1)])], True),
        (REFRESH, [(10, [("x", "A", 1), ("y", "A", 1)])], True),
        (REFRESH, [(11, [("x", "A", 1)]), (12, [("y", "B", 5)])], True),
    ],
]  # fmt: skip


@pytest.mark.parametrize("swap", [True, False])
def test_without_a_mutation_history_equals_the_model(monkeypatch, swap):
    monkeypatch.setattr(publishing, "SWAP_ABOVE", 0.25 if swap else 1000)
    play_all()


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_rule_is_noticed(monkeypatch, name):
    old, new = MUTATIONS[name]
    run = WarehouseClient.run
    hits = []

    def mutated(self, sql, *args, **options):
        hits.extend([sql] * (old in sql))
        return run(self, sql.replace(old, new), *args, **options)

    monkeypatch.setattr(WarehouseClient, "run", mutated)
    with pytest.raises((AssertionError, LoadFailed)):
        play_all()
    assert hits, "no statement contains the text that the mutation replaces"


def play_all():
    for scenario in SCENARIOS:
        play(scenario)
    play_reject()


def play(loads):
    scenario = Scenario()
    for kind, contents, close in loads:
        with pytest.MonkeyPatch.context() as patch:
            scenario.load(patch, kind, contents, close)(attempt=1)
        assert scenario.seen() == scenario.model.seen()
        scenario.check_currency()


def play_reject():
    """A refresh whose file holds a key in a row that is rejected, and lacks another one."""
    scenario = Scenario()
    lake = memory_lake.MemoryLake()
    for number, rows in (
        (6, [{"id": key} for key in "xyz"]),
        (8, [{"id": "x"}, {"id": "y", "number_of_employees": "many"}]),
    ):
        lake.files = {f"{scenario.tenant.id}/canonical/companies/a.parquet": (rows, day(number))}
        with pytest.MonkeyPatch.context() as patch:
            memory_lake.use(lake, patch)
            run_load(
                LoadRequest(
                    scenario.tenant,
                    TABLES["companies"],
                    next(_numbers),
                    kind=INCREMENTAL if number == 6 else REFRESH,
                    vanished=Vanished.CLOSE,
                )
            )
    assert current(scenario.tenant) == {"x", "y"}
