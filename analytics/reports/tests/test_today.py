"""What the figures of a sent report would be today, and why."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from analytics.reports import links, occurrences
from analytics.tests.versions import log_load, ticket

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent(due, client, alice):
    """A composed occurrence, and alice's client."""
    occurrences.run(due.pk)
    due.refresh_from_db()
    client.force_login(alice)
    return due


def url(occurrence, path=""):
    report = occurrence.report
    return f"/t/{report.tenant_id}/reports/{report.pk}/of/{occurrence.pk}/{path}"


def words_of(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def load_late_ticket(tenant, put_rows, warehouse, key="late"):
    """A file that comes after the report, about a ticket of yesterday."""
    yesterday, now = timezone.now() - timedelta(days=1), timezone.now()
    row = ticket(key, yesterday.isoformat(), created_date=yesterday.isoformat(), priority="High")
    file = f"lake/{tenant.id}/canonical/tickets/late.csv"
    put_rows(tenant, "tickets", [row | {"load_id": 99, "loaded_at": now, "source_file": file}])
    log_load(warehouse, tenant, "tickets", 99, now.isoformat(), "incremental")


def test_figures_that_no_load_changed_are_the_same(sent, client):
    page = words_of(client.get(url(sent)))
    assert page.count("The same today.") == 4, "one for each metric of each tile"
    assert "Today this would be" not in page
    why = words_of(client.get(url(sent, "why/0/tickets_opened/")))
    assert "In the report 3" in why
    assert "No record entered, left or changed its value." in why
    assert "cannot be known" not in why


def test_a_late_file_shows_beside_the_figure_and_is_explained(sent, client, put_rows, warehouse):
    load_late_ticket(sent.report.tenant, put_rows, warehouse)
    page = words_of(client.get(url(sent)))
    assert "Today this would be 4 . Why?" in page
    assert "Tickets closed: The same today." in page
    why = words_of(client.get(url(sent, "why/0/tickets_opened/")))
    assert "In the report 3" in why
    assert "Today this would be 4" in why
    assert "1 record makes the difference: +1" in why
    assert "load #99" in why
    assert "tickets/late.csv" in why
    assert "cannot be known" not in why


def test_the_content_stays_what_was_sent(sent, client, put_rows, warehouse):
    digest = sent.digest
    load_late_ticket(sent.report.tenant, put_rows, warehouse)
    client.get(url(sent))
    sent.refresh_from_db()
    assert sent.digest == digest
    assert sent.content["tiles"][0]["figures"] == {"tickets_opened": "3"}


def test_what_a_rebuild_replaced_cannot_be_known(sent, client, warehouse, put_rows):
    """A bulk load brings everything again: what there was before it is not stored."""
    tenant, now = sent.report.tenant, timezone.now()
    warehouse.run("DELETE FROM shared_tickets WHERE tenant_id = {t:String}", {"t": tenant.id})
    load_late_ticket(tenant, put_rows, warehouse)
    log_load(warehouse, tenant, "tickets", 99, now.isoformat(), "bulk")
    why = words_of(client.get(url(sent, "why/0/tickets_opened/")))
    assert "The report showed 3, but what is stored today gives 0 for that moment." in why
    assert "Load #99 (bulk) rebuilt tickets" in why


@pytest.mark.parametrize("path", ["why/9/tickets_opened/", "why/0/tickets_closed/", "why/0/x/"])
def test_other_figures_of_the_report_do_not_exist(sent, client, path):
    assert client.get(url(sent, path)).status_code == 404


def test_others_do_not_see_why(sent, client, charlie):
    client.force_login(charlie)
    assert client.get(url(sent, "why/0/tickets_opened/")).status_code == 404


def test_the_page_opens_without_the_warehouse(sent, client, settings):
    settings.CLICKHOUSE_URL = "clickhouse://default@127.0.0.1:9/avesa"
    page = words_of(client.get(url(sent)))
    assert "The same today." not in page
    assert " 3 " in page


def test_public_reports_show_what_was_sent_alone(sent, client, put_rows, warehouse):
    load_late_ticket(sent.report.tenant, put_rows, warehouse)
    delivery = sent.deliveries.first()
    client.logout()
    page = words_of(client.get(f"/r/{links.token_of(delivery)}/"))
    assert " 3 " in page
    assert "Today this would be" not in page
    assert "Why?" not in page
