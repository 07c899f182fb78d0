"""The query cache: hits equal computed results, of the right tenant and data version."""

import itertools
from datetime import date
from decimal import Decimal
from types import SimpleNamespace

import pytest

from analytics.dashboards.choices import choices
from analytics.metrics import METRICS, cache, freshness_of, run_metric
from analytics.periods import Period
from analytics.tests.versions import at, company, log_load, ticket, version
from analytics.warehouse.catalog import PUBLISHING
from loaders.models import LoadJob
from loaders.tests.histories import deliver, row
from tenants.models import Tenant

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _cache_of_files(settings, tmp_path):
    """The default cache of one machine, whose entries are JSON: no type may be lost in it."""
    backend = "common.cache_entries.SignedFileCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": str(tmp_path)}}


def june(tenant):
    return Period(date(2026, 6, 1), date(2026, 7, 1), tenant.zone)


@pytest.fixture
def both(acme, globex, put_rows, warehouse):
    put_rows(acme, "tickets", [ticket("1", created_date="2026-06-10", board_name="x")])
    put_rows(globex, "tickets", [ticket(f"{n}", created_date="2026-06-10") for n in range(5)])
    for tenant in (acme, globex):
        log_load(warehouse, tenant, "tickets", 7)
    return acme, globex


def opened(tenant, **more):
    return run_metric(tenant, "tickets_opened", june(tenant), **more)


def test_a_result_is_cached_until_a_load_makes_a_new_version(both, put_rows, warehouse):
    acme, _ = both
    first = opened(acme)
    put_rows(acme, "tickets", [ticket("2", created_date="2026-06-10")])
    again = opened(acme)
    assert (again.figure, again.milliseconds) == (1, 0.0)
    assert (again.series, again.parts) == (first.series, first.parts)
    log_load(warehouse, acme, "tickets", 8, "2026-06-16T10:00:00")
    assert opened(acme).figure == 2


@pytest.mark.parametrize("name", METRICS)
def test_results_from_the_cache_have_the_same_values_and_types(both, put_rows, warehouse, name):
    acme, _ = both
    times = {"time_start": at("2026-06-10T10:00"), "time_end": at("2026-06-10T11:30")}
    hours = {"actual_hours": Decimal("1.50"), "member_name": "Ann"}
    put_rows(acme, "time_entries", [version("2026-06-10", entry_id="1", **times, **hours)])
    for table in ("companies", "contacts", "time_entries"):
        log_load(warehouse, acme, table, 7)
    first, again = (run_metric(acme, name, june(acme)) for _ in range(2))
    assert again.milliseconds == 0.0
    shown = ("figure", "previous", "series", "parts", "is_cut")
    for each in shown:
        assert repr(getattr(again, each)) == repr(getattr(first, each))


def test_choices_from_the_cache_have_the_same_types(both, put_rows, warehouse):
    acme, _ = both
    put_rows(acme, "companies", [company("1", name="Müller")])
    for table in ("companies", "time_entries"):
        log_load(warehouse, acme, table, 7)
    fresh = freshness_of(acme, ("companies", "tickets", "time_entries"))
    first, again = choices(acme, fresh), choices(acme, fresh)
    assert again == first
    assert again["company"] == [("1", "Müller")]
    assert cache.hit_counts(["choices"])["choices"] == (1, 1)


def test_a_repair_makes_a_new_version_too(both, put_rows, warehouse):
    acme, _ = both
    opened(acme)
    put_rows(acme, "tickets", [ticket("2", created_date="2026-06-10")])
    log_load(warehouse, acme, "tickets", 8, "2026-06-16T10:00:00", kind="repair")
    result = opened(acme)
    assert result.figure == 2
    assert result.freshness[0].load_id == 7


def test_nothing_is_cached_while_a_load_publishes_its_rows(both, put_rows, warehouse):
    acme, _ = both
    log_load(warehouse, acme, "tickets", 8, "2026-06-16T10:00:00", kind=PUBLISHING)
    assert opened(acme).figure == 1
    put_rows(acme, "tickets", [ticket("2", created_date="2026-06-10")])
    assert opened(acme).figure == 2, "it died before it had finished"
    log_load(warehouse, acme, "tickets", 9, "2026-06-17T10:00:00")
    opened(acme)
    assert opened(acme).milliseconds == 0.0, "a later load ends that state"


def test_tables_that_were_never_loaded_are_not_cached(acme, put_rows, warehouse):
    opened(acme)
    put_rows(acme, "tickets", [ticket("2", created_date="2026-06-10")])
    assert opened(acme).figure == 1


def test_every_difference_between_queries_makes_a_different_key(both, monkeypatch):
    """Tenant, period, filters, dimensions, capacity and time zone are all part of the key."""
    acme, globex = both
    keys = set()
    original = cache.keep

    def note(results):
        keys.update(key.cache_key for key in results)
        original(results)

    monkeypatch.setattr(cache, "keep", note)
    queries = 0
    different = ({}, {"board": "x"}, {"team": "x"}, {"board!": "x"}, {"board": ["x", "y"]})
    same = {"board": "x", "team": ""}  # as the second
    for tenant, days, filters in itertools.product((acme, globex), (29, 30), (*different, same)):
        period = Period(date(2026, 6, 1), date(2026, 6, 1 + days - 1), tenant.zone)
        run_metric(tenant, "tickets_opened", period, None, filters)
        queries += filters in different
    run_metric(acme, "tickets_opened", june(acme), by=("board",))
    acme.capacity_hours = 4
    run_metric(acme, "tickets_opened", june(acme))
    acme.time_zone = "Asia/Tokyo"
    run_metric(acme, "tickets_opened", Period(date(2026, 6, 1), date(2026, 7, 1), acme.zone))
    assert len(keys) == queries + 3


def test_no_tenant_gets_the_result_of_another_even_with_the_same_hash(both, monkeypatch):
    """With a constant hash, all queries of a tenant for a metric have the same key."""
    acme, globex = both

    class Constant:
        def __init__(self, data):
            pass

        def hexdigest(self):
            return "0"

    monkeypatch.setattr(cache, "hashlib", SimpleNamespace(sha256=Constant))
    for _ in range(2):
        assert opened(acme).figure == 1
        assert opened(globex).figure == 5
        assert opened(acme, filters={"board": "nope"}).figure == 0


@pytest.mark.parametrize("tenant_id", ["acme:tickets_opened", "acme\n", "*"])
def test_ids_that_could_forge_a_key_are_refused(warehouse, tenant_id):
    from analytics.warehouse.tenant_reader import RefusedStatement

    with pytest.raises(RefusedStatement):
        opened(Tenant(id=tenant_id, name="x", time_zone="UTC"))


def test_hits_and_misses_are_counted(both):
    acme, _ = both
    for _ in range(3):
        opened(acme)
    assert cache.hit_counts(list(METRICS))["tickets_opened"] == (2, 1)
    assert cache.hit_counts(list(METRICS))["backlog"] == (0, 0)


def test_a_real_load_is_seen_at_once(acme, lake, warehouse):
    """From the file to the figure: load, query twice, load again, query again."""
    companies = lambda: run_metric(acme, "companies_total", june(acme)).figure  # noqa: E731
    deliver(lake, acme, "a.jsonl", row("A", 1))
    assert (companies(), companies()) == (1, 1)
    deliver(lake, acme, "b.jsonl", row("A", 1, id="2"))
    assert companies() == 2
    deliver(lake, acme, "c.jsonl", row("A", 1, id="3"), kind=LoadJob.Kind.REFRESH)
    assert companies() == 3
