import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from analytics.tests.versions import company, log_load, ticket
from tenants.models import Membership


@pytest.fixture
def filled(acme, globex, warehouse, put_rows):
    """Both tenants with data; what belongs to globex says so."""
    today = timezone.now()
    yesterday = (today - timedelta(days=1)).isoformat()
    put_rows(acme, "companies", [company("1", is_active=True, annual_revenue=1_250_000)])
    put_rows(acme, "tickets", [ticket("1", created_date=yesterday)])
    put_rows(globex, "companies", [company(str(n), is_active=True) for n in range(77)])
    for table in ("companies", "tickets"):
        log_load(warehouse, acme, table, load_id=4711)
        log_load(warehouse, globex, table, load_id=666)


def page_of(client, tenant, query="", status=200):
    response = client.get(f"/t/{tenant.id}/{query}")
    assert response.status_code == status
    return response.content.decode()


def test_a_member_sees_the_tenants_figures(client, alice, acme, filled):
    client.force_login(alice)
    page = page_of(client, acme)
    assert acme.name in page
    assert "1.25 m" in page
    assert "load #4711" in page
    assert "companies-4711.parquet" in page
    assert page.count('type="application/json"') == 2
    assert "Nothing to draw" in page, "no ticket was closed"
    assert ">77<" not in page
    assert "load #666" not in page


def test_a_viewer_sees_the_same(client, bob, acme, filled):
    client.force_login(bob)
    assert "1.25 m" in page_of(client, acme)


@pytest.mark.parametrize("name", ["charlie", "dora"])
def test_others_and_staff_find_nothing(client, request, name, acme, filled):
    client.force_login(request.getfixturevalue(name))
    page = page_of(client, acme, status=404)
    assert acme.name not in page


def test_an_unknown_tenant_looks_like_a_foreign_one(client, charlie, acme):
    client.force_login(charlie)
    unknown = client.get("/t/nobody/").content.decode()
    foreign = page_of(client, acme, status=404)
    csrf = r'name="csrfmiddlewaretoken" value="\w+"'
    assert re.sub(csrf, "", foreign) == re.sub(csrf, "", unknown)


def test_a_suspended_tenant_is_gone_at_once(client, alice, acme):
    client.force_login(alice)
    acme.is_active = False
    acme.save()
    page_of(client, acme, status=404)


def test_an_anonymous_visitor_is_sent_to_log_in_and_comes_back(client, alice, acme, warehouse):
    response = client.get(f"/t/{acme.id}/?period=last-7-days")
    assert response.status_code == 302
    assert response.url.startswith("/login/?next=/t/")
    credentials = {"username": "alice", "password": "pass"}
    back = client.post(response.url, credentials | {"next": f"/t/{acme.id}/"})
    assert back.url == f"/t/{acme.id}/"


def test_a_wrong_password_is_said_plainly(client, alice):
    page = client.post("/login/", {"username": "alice", "password": "x"}).content.decode()
    assert "do not go together" in page


def test_home_leads_to_the_only_tenant(client, alice, acme):
    client.force_login(alice)
    assert client.get("/").url == f"/t/{acme.id}/"


def test_home_offers_a_choice_and_pages_a_switch(client, alice, acme, globex, warehouse):
    Membership.objects.create(user=alice, tenant=globex)
    client.force_login(alice)
    assert client.get("/").content.decode().count('href="/t/') == 2
    assert f'href="/t/{globex.id}/"' in page_of(client, acme)


def test_home_has_a_word_for_those_without_a_tenant(client, django_user_model):
    client.force_login(django_user_model.objects.create_user("eve"))
    assert "belongs to no tenant" in client.get("/").content.decode()


def test_home_sends_staff_to_the_admin(client, dora):
    client.force_login(dora)
    assert client.get("/").url == "/admin/"


def test_an_empty_tenant_is_told_what_comes_next(client, alice, acme, warehouse):
    client.force_login(alice)
    page = page_of(client, acme)
    assert "No data yet" in page
    assert "application/json" not in page


def test_when_the_warehouse_is_down_the_page_stays_and_says_so(client, alice, acme, settings):
    settings.CLICKHOUSE_URL = "clickhouse://127.0.0.1:1/avesa"
    client.force_login(alice)
    page = page_of(client, acme)
    assert page.count("cannot be computed at the moment") == 4
    assert "127.0.0.1" not in page


def test_one_failing_tile_leaves_the_others(client, alice, acme, filled, warehouse):
    warehouse.run("RENAME TABLE tickets_as_of TO tickets_as_of_hidden")
    try:
        client.force_login(alice)
        page = page_of(client, acme)
    finally:
        warehouse.run("RENAME TABLE tickets_as_of_hidden TO tickets_as_of")
    assert "1.25 m" in page
    assert page.count("cannot be computed at the moment") == 2


def test_periods_are_chosen_by_name_or_by_dates(client, alice, acme, filled):
    client.force_login(alice)
    assert 'aria-current="true">90 days' in page_of(client, acme, "?period=last-90-days")
    assert "1 Jan 2026 – 31 Mar 2026" in page_of(client, acme, "?start=2026-01-01&end=2026-03-31")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?start=2026-13-01", "start"),
        ("?start=2026-03-01&end=2026-02-01", "start"),
        ("?end=<script>", "end"),
        ("?as_of=yesterday", "as_of"),
    ],
)
def test_wrong_dates_are_said_and_the_default_is_shown(client, alice, acme, filled, query, field):
    client.force_login(alice)
    page = page_of(client, acme, query, status=400)
    assert f'name="{field}"' in page
    assert 'role="alert"' in page
    assert "Shown are the last 30 days" in page
    assert "<script>&" not in page


def test_the_page_can_be_turned_back(client, alice, acme, put_rows, warehouse):
    put_rows(
        acme,
        "companies",
        [
            company("1", "2026-01-01", "2026-02-01", annual_revenue=1_000_000),
            company("1", "2026-02-01", annual_revenue=2_000_000),
        ],
    )
    client.force_login(alice)
    query = "?start=2026-01-01&end=2026-02-28"
    assert "2.00 m" in page_of(client, acme, query)
    then = page_of(client, acme, f"{query}&as_of=2026-01-20")
    assert "1.00 m" in then
    assert "how it was on 20 Jan 2026" in then


def test_a_turned_back_page_shows_the_days_before_its_date(client, alice, acme, warehouse):
    client.force_login(alice)
    assert "1 Jan 2026 – 30 Jan 2026" in page_of(client, acme, "?as_of=2026-01-30")


def test_nothing_of_a_tenant_stays_in_browsers(client, alice, acme, warehouse):
    client.force_login(alice)
    kept = client.get(f"/t/{acme.id}/")["Cache-Control"]
    assert "no-store" in kept
    assert "private" in kept


@pytest.mark.parametrize("tenant_id", ["%00", "a%00b", "%FF", "x" * 300, "acme%0a"])
def test_ids_that_cannot_be_are_not_found(client, alice, tenant_id):
    client.force_login(alice)
    response = client.get(f"/t/{tenant_id}/")
    assert response.status_code == 404
    assert "There is nothing here" in response.content.decode()


def test_a_form_without_its_cookie_is_refused_in_our_words(alice):
    response = Client(enforce_csrf_checks=True).post("/login/", {"username": "alice"})
    assert response.status_code == 403
    assert "Please try again" in response.content.decode()


def test_pages_forbid_foreign_and_inline_code(client, alice, acme, warehouse):
    client.force_login(alice)
    response = client.get(f"/t/{acme.id}/")
    policy = response["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    page = response.content.decode()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert " style=" not in page
    assert " onclick" not in page


def test_the_chart_library_is_served_from_here_and_kept_by_browsers(client):
    from analytics import vega

    response = client.get(f"/assets/vega-{vega.VERSION}.js")
    assert response.status_code == 200
    assert "immutable" in response["Cache-Control"]
    assert client.get("/assets/vega-0.js").status_code == 404


def test_logging_out_needs_a_post(client, alice):
    client.force_login(alice)
    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/").url == "/login/"
