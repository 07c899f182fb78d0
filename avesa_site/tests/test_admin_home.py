"""The admin's home page: what runs, what failed, who is late, and how much data there is."""

from datetime import timedelta

import pytest
from django.contrib import admin
from django.utils import timezone

from analytics.tests.versions import company, log_load
from common import aws
from common.models import Heartbeat
from loaders.models import LoadJob
from tenants.models import Alert, Tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def home(client, dora):
    client.force_login(dora)

    def page():
        return client.get("/admin/").content.decode()

    return page


def row_of(page, name):
    start = page.index(f">{name}</a>")
    return page[start : page.index("</tr>", start)]


def test_counts_of_running_queued_and_failed_work(home, acme, warehouse):
    now = timezone.now()
    LoadJob.objects.create(tenant=acme, table="companies", state="running")
    LoadJob.objects.create(tenant=acme, table="tickets", state="failed", finished_at=now)
    LoadJob.objects.create(
        tenant=acme, table="tickets", state="failed", finished_at=now - timedelta(days=2)
    )
    Alert.objects.create(tenant=acme, kind="load", subject="tickets")
    page = home()
    for title in ("Loads running", "Loads failed, last day", "Open alerts"):
        assert ">1</span>" in page[page.index(title) :][:400], title
    assert ">0</span>" in page[page.index("Loads queued") :][:400]


def test_late_tenants_and_amounts_of_data(home, acme, globex, warehouse, put_rows):
    put_rows(acme, "companies", [company(f"{n}") for n in range(1234)])
    now = timezone.now()
    for table in ("companies", "contacts", "tickets", "time_entries"):
        log_load(warehouse, acme, table, finished_at=now.isoformat())
        log_load(warehouse, globex, table, finished_at=(now - timedelta(days=3)).isoformat())
    page = home()
    assert "1,234" in row_of(page, "Acme")
    assert "late" not in row_of(page, "Acme")
    assert ">late</span>" in row_of(page, "Globex")
    globex.is_active = False
    globex.save()
    assert "(suspended)" in row_of(home(), "Globex")
    assert ">late<" not in row_of(home(), "Globex")


def test_a_tenant_that_was_never_loaded_is_late(home, acme, warehouse):
    row = row_of(home(), "Acme")
    assert row.count("never") == 4
    assert ">late</span>" not in row, "it is new"
    Tenant.objects.update(created_at=timezone.now() - timedelta(days=2))
    assert ">late</span>" in row_of(home(), "Acme")


def test_a_table_that_was_never_delivered_is_not_late(home, acme, warehouse):
    log_load(warehouse, acme, "companies", finished_at=timezone.now().isoformat())
    row = row_of(home(), "Acme")
    assert row.count("never") == 3
    assert ">late</span>" not in row


def test_a_tenant_whose_pipeline_does_not_end_is_late(home, acme, warehouse):
    log_load(warehouse, acme, "companies", finished_at=timezone.now().isoformat())
    Alert.objects.create(tenant=acme, kind=Alert.Kind.LATE, subject="pipeline")
    assert ">late</span>" in row_of(home(), "Acme")


def test_heartbeats(home, warehouse):
    assert home().count("never seen") == 2
    Heartbeat.record("beat")
    Heartbeat.record("worker")
    Heartbeat.objects.filter(name="worker").update(at=timezone.now() - timedelta(hours=1))
    page = home()
    assert "never seen" not in page
    assert "silent since" in page
    assert ">working</span>" in page


def test_a_warehouse_that_is_down_is_reported_and_the_rest_is_shown(home, acme, settings):
    settings.CLICKHOUSE_URL = "clickhouse://default@127.0.0.1:1/avesa"
    page = home()
    assert "The warehouse cannot be reached" in page
    assert "Acme" in page
    assert ">late</span>" not in row_of(page, "Acme")


def test_a_secret_that_cannot_be_read_is_reported(home, acme, settings, monkeypatch):
    def fail(name):
        raise aws.AwsError("The secret cannot be read.")

    settings.CLICKHOUSE_SECRET = "unknown-secret"
    monkeypatch.setattr(aws, "secret", fail)
    assert "The secret cannot be read." in home()


def test_the_admin_has_only_our_own_pages():
    """Pages of a scheduler package would let staff with view permission stop any task."""
    apps = {model._meta.app_label for model in admin.site._registry}
    assert apps == {"auth", "tenants", "loaders", "reports"}


def test_staff_without_the_permission_see_no_tenants(client, acme, bob, warehouse):
    bob.is_staff = True
    bob.save()
    client.force_login(bob)
    page = client.get("/admin/").content.decode()
    assert "Acme" not in page
    assert "Loads running" not in page
