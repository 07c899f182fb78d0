"""After a load, the dashboards that were opened lately are computed before anybody opens them."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from analytics.dashboards import warming
from analytics.dashboards.boards import DASHBOARDS
from analytics.tests.versions import company, log_load, ticket, version
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.tenant_reader import TenantReader
from avesa_site.tasks import warm_dashboards
from loaders.models import LoadJob
from loaders.tests.histories import deliver, row


@pytest.fixture
def open_page(client, alice, acme, put_rows, warehouse):
    of = {"owner_name": "Ann", "board_name": "Help", "company_id": "1", "contact_id": "1"}
    put_rows(acme, "tickets", [ticket("1", created_date=timezone.now().isoformat(), **of)])
    put_rows(acme, "companies", [company("1", name="Initech")])
    put_rows(acme, "contacts", [version("2026-01-01", contact_id="1", last_name="Kok")])
    for table in TABLES:
        log_load(warehouse, acme, table)
    client.force_login(alice)
    return lambda path="": b"".join(client.get(f"/t/{acme.id}/{path}").streaming_content)


@pytest.fixture
def sent(monkeypatch):
    """The statements sent from now on."""
    found = []
    original = TenantReader._send

    def note(self, sql, bound):
        found.append(sql)
        return original(self, sql, bound)

    monkeypatch.setattr(TenantReader, "_send", note)
    return found


def _load_again(warehouse, tenant):
    for table in TABLES:
        log_load(warehouse, tenant, table, 99, "2026-06-16T10:00:00")


def test_opened_dashboards_are_in_the_cache_after_a_load(open_page, acme, warehouse, sent):
    for path in ("", "board/service/?period=last-90-days&priority=High"):
        open_page(path)
    _load_again(warehouse, acme)
    assert warm_dashboards(acme.id) == 2
    sent.clear()
    for path in ("", "board/service/?period=last-90-days&priority=High"):
        open_page(path)
    assert len(sent) == 2  # how fresh the data is, for each


def test_loads_come_first(open_page, acme, warehouse, lake):
    open_page()
    job = LoadJob.objects.create(tenant=acme, table="tickets", kind=LoadJob.Kind.BULK)
    assert warm_dashboards(acme.id) == 0
    job.state = LoadJob.State.CANCELED
    job.save()
    assert warm_dashboards(acme.id) == 1


def test_dashboards_not_opened_lately_is_left_alone(open_page, acme, globex):
    open_page()
    open_page("?as_of=2026-06-01")  # never changes
    assert warm_dashboards(acme.id) == 1
    assert warm_dashboards(globex.id) == 0
    key, age = f"dashboards-opened:{acme.id}", warming.REMEMBERED + timedelta(minutes=1)
    cache.set(key, [[at - age.total_seconds(), entry] for at, entry in cache.get(key)])
    assert warm_dashboards(acme.id) == 0


def test_only_the_latest_few_are_computed(open_page, acme):
    for days in range(1, warming.MAX_DASHBOARDS + 5):
        open_page(f"?start=2026-06-{days:02d}&end=2026-06-30")
    assert len(warming._opened(acme)) == warming.MAX_DASHBOARDS


def test_a_suspended_tenant_is_left_alone(open_page, acme):
    open_page()
    acme.is_active = False
    acme.save()
    assert warm_dashboards(acme.id) == 0


def test_every_load_sends_the_message(acme, lake, warehouse, monkeypatch):
    sent_to = []
    monkeypatch.setattr("loaders.jobs.worker.warm_soon", sent_to.append)
    deliver(lake, acme, "a.jsonl", row("A", 1))
    assert sent_to == [acme.id]


@pytest.mark.parametrize("slug", DASHBOARDS)
def test_a_cold_dashboard_takes_at_most_six_statements(open_page, sent, slug):
    open_page(f"board/{slug}/?company=1")
    sent.clear()
    open_page(f"board/{slug}/?period=last-90-days")
    assert len(sent) <= 6


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("figures/", 0),
        ("figures/sla_met/", 6),
        ("figures/contacts_per_company/", 7),  # of two sources
        ("figures/tickets_opened/?by=priority&by=board", 6),
        ("explore/tickets/", 2),
        ("explore/tickets/?metric=sla_met&company=1", 4),
        ("explore/tickets/1/", 2),
        ("filters/", 2),
        ("companies/1/", 6),
        ("contacts/1/", 6),
        ("people/Ann/", 6),
        ("service-boards/Help/", 6),
    ],
)
def test_every_other_page_takes_a_few(client, open_page, acme, sent, path, most):
    response = client.get(f"/t/{acme.id}/{path}")
    assert response.status_code == 200
    assert response.getvalue()  # tiles are computed while they are sent
    assert len(sent) <= most
