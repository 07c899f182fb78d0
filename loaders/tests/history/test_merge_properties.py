"""Property tests: random loads with crashes, compared with the model in plain Python."""

import copy
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from analytics.warehouse.catalog import SENTINEL, TABLES
from analytics.warehouse.client import WarehouseClient
from loaders.history import publishing
from loaders.jobs import load as load_module
from loaders.jobs.load import Kind, LoadRequest, Vanished, run_load
from loaders.tests import memory_lake
from loaders.tests.crashing import Crash, crash_at
from loaders.tests.history_model import Model
from loaders.tests.thoroughness import THOROUGH
from tenants.models import Tenant

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warehouse", "no_records")]

DAY = datetime(2026, 1, 1, tzinfo=UTC)
# Statements of a load that writes history, more often those around publishing.
STATEMENTS = st.one_of(st.integers(1, 20), st.integers(9, 13))
_numbers = iter(range(1, 10**9))


@pytest.fixture
def no_records(monkeypatch):
    """No load has been recorded: every load examines every file."""
    monkeypatch.setattr(load_module, "examined_before", lambda tenant, table: {})


# A row: (key, content, day of its change or None if the file lacks it). A file holds at most
# one content for a key and effective date: else the hash decides, which the model does not know.
rows = st.tuples(
    st.sampled_from("xy"), st.sampled_from("ABC"), st.one_of(st.none(), st.integers(1, 5))
)
files = st.lists(rows, min_size=1, max_size=5, unique_by=lambda row: (row[0], row[2]))
kinds = st.sampled_from([Kind.INCREMENTAL, Kind.INCREMENTAL, Kind.REFRESH])


@st.composite
def scenarios(draw):
    """[(kind, [(day of delivery, rows)], close?)]: files come in any order, each day once."""
    days = iter(draw(st.permutations(range(6, 14))))
    return [
        (
            draw(kinds),
            [(next(days), draw(files)) for _ in range(draw(st.integers(1, 2)))],
            draw(st.booleans()),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]


class Scenario:
    """One tenant's loads, in the warehouse and in the model."""

    def __init__(self):
        self.tenant = Tenant(id=f"p-{next(_numbers)}", name="p")
        self.model = Model()

    def load(self, patch, kind, contents, close):
        """Update the model, and return a function that runs the load: attempt -> None."""
        lake = memory_lake.MemoryLake()
        deliveries = []
        for day, content in contents:
            modified = DAY + timedelta(days=day)
            lake.files[f"{self.tenant.id}/canonical/companies/{day}.parquet"] = (
                [
                    {"id": key, "status": status, "updated_at": at and f"2026-01-{at:02d}"}
                    for key, status, at in content
                ],
                modified,
            )
            deliveries += [
                (key, DAY + timedelta(days=at - 1) if at else modified, modified, (status, at))
                for key, status, at in content
            ]
        if kind is Kind.REFRESH:
            taken_at = max(delivered for _, _, delivered, _ in deliveries)
            self.model.refresh(deliveries, taken_at, close=close)
        else:
            self.model.load(deliveries)
        memory_lake.use(lake, patch)
        number = next(_numbers)
        vanished = Vanished.CLOSE if close else Vanished.IGNORE
        return lambda attempt: run_load(
            LoadRequest(self.tenant, TABLES["companies"], number, attempt, kind, vanished)
        )

    def seen(self):
        found = WarehouseClient().rows(
            "SELECT company_id, effective_date, expiry_date, status, updated_at "
            "FROM shared_companies WHERE tenant_id = {t:String} AND effective_date < expiry_date",
            {"t": self.tenant.id},
        )
        versions = {
            (key, start, None if expiry.year == 2999 else expiry, (status, updated and updated.day))
            for key, start, expiry, status, updated in found
        }
        assert len(versions) == len(found), "a version is stored twice"
        return versions

    def check_currency(self):
        """At any time the current rows are those that never expire, at most one of each key."""
        twice, differ = WarehouseClient().rows(
            f"""SELECT countIf(currents > 1), countIf(currents != open) FROM (
                SELECT countIf(is_current) AS currents, countIf(expiry_date = '{SENTINEL}') AS open
                FROM shared_companies WHERE tenant_id = {{t:String}} GROUP BY company_id
            )""",
            {"t": self.tenant.id},
        )[0]
        assert (twice, differ) == (0, 0)


@settings(
    max_examples=300 if THOROUGH else 30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    loads=scenarios(),
    crashing=st.integers(0, 2),
    statement=STATEMENTS,
    before=st.booleans(),
    again=st.booleans(),
    swap=st.booleans(),
)
def test_loads_with_a_crash_anywhere_give_the_history_of_the_model(
    monkeypatch, loads, crashing, statement, before, again, swap
):
    scenario = Scenario()
    crashing %= len(loads)
    monkeypatch.setattr(publishing, "SWAP_ABOVE", 0.25 if swap else 1000)
    for position, (kind, contents, close) in enumerate(loads):
        old_model = copy.deepcopy(scenario.model)
        with monkeypatch.context() as patch:
            run = scenario.load(patch, kind, contents, close)
            old, new = old_model.seen(), scenario.model.seen()
            crashed = False
            if position == crashing:
                with monkeypatch.context() as dying:
                    crash_at(dying, statement, before=before)
                    try:
                        run(attempt=1)
                    except Crash:
                        crashed = True
                        event("crashed")
                state = scenario.seen()
                scenario.check_currency()
                assert state in (old, new)
                event("published" if state == new != old else "not published")
                if crashed and not again and state == old:
                    scenario.model = old_model  # given up: none of it may ever become visible
                    event("given up")
                    continue
            run(attempt=2)
        assert scenario.seen() == new
        scenario.check_currency()
