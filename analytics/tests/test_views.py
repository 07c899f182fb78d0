"""Dashboards and figures as users see them."""

import re
import threading
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from analytics.dashboards.boards import DASHBOARDS
from analytics.metrics import METRICS
from analytics.metrics.run import Page
from analytics.metrics.sources import TICKET_EVENTS, TIME_ENTRY_EVENTS
from analytics.tests.versions import company, log_load, ticket
from analytics.warehouse.errors import WarehouseBusy
from tenants.models import Membership


@pytest.fixture
def filled(acme, globex, warehouse, put_rows):
    """Both tenants with data; globex is in the name of everything that is globex's."""
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
    return text_of(response)


def text_of(response):
    return response.getvalue().decode()


def tile(page, slug):
    """The text of one tile."""
    (found,) = re.findall(rf'<section slot="{slug}".*?</section>', page, re.DOTALL)
    return re.sub(r"<[^>]+>|\s+", " ", found)


def test_a_member_sees_the_tenants_figures(client, alice, acme, filled):
    client.force_login(alice)
    page = page_of(client, acme)
    assert acme.name in page
    assert " 1 " in tile(page, "figure-tickets-opened")
    assert "– " in tile(page, "figure-resolution-median"), "no ticket was closed"
    assert "Loaded 15 Jun, 06:00" in tile(page, "figure-backlog"), "New York's clocks"
    assert "Load #4711, tickets-4711.parquet" in page
    assert page.count('type="application/json"') == 2
    assert ">77<" not in page
    assert "666" not in page


def test_a_viewer_sees_the_same(client, bob, acme, filled):
    client.force_login(bob)
    assert " 1 " in tile(page_of(client, acme), "figure-tickets-opened")


@pytest.mark.parametrize("slug", DASHBOARDS)
def test_every_dashboard_has_all_its_tiles(client, alice, acme, filled, slug):
    client.force_login(alice)
    page = page_of(client, acme, f"board/{slug}/?period=last-12-months&technician=Ann")
    assert "Failed" not in page
    for each in DASHBOARDS[slug].tiles:
        assert tile(page, each.slug)
        assert f'<slot name="{each.slug}">' in page, "the place of the tile"


def test_every_metric_stands_on_a_dashboard():
    shown = {name for board in DASHBOARDS.values() for each in board.tiles for name in each.names}
    assert shown == set(METRICS)


@pytest.mark.parametrize("name", ["charlie", "dora"])
def test_others_and_staff_find_nothing(client, request, name, acme, filled):
    client.force_login(request.getfixturevalue(name))
    page = page_of(client, acme, status=404)
    assert acme.name not in page


def test_an_unknown_tenant_looks_like_a_foreign_one(client, charlie, acme):
    client.force_login(charlie)
    unknown = client.get("/t/unknown/").content.decode()
    foreign = page_of(client, acme, status=404)
    csrf = r'name="csrfmiddlewaretoken" value="\w+"'
    assert re.sub(csrf, "", foreign) == re.sub(csrf, "", unknown)


def test_a_suspended_tenant_is_gone_at_once(client, alice, acme, globex):
    Membership.objects.create(user=alice, tenant=globex)
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


def test_a_wrong_password_has_a_plain_message(client, alice):
    page = client.post("/login/", {"username": "alice", "password": "x"}).content.decode()
    assert "Wrong user name or password" in page


def test_home_leads_to_the_only_tenant(client, alice, acme):
    client.force_login(alice)
    assert client.get("/").url == f"/t/{acme.id}/"


def test_home_offers_a_choice_and_pages_a_switch(client, alice, acme, globex, warehouse):
    Membership.objects.create(user=alice, tenant=globex)
    client.force_login(alice)
    assert client.get("/").content.decode().count('href="/t/') == 2
    assert f'href="/t/{globex.id}/"' in page_of(client, acme)


def test_home_has_a_message_for_users_without_a_tenant(client, django_user_model):
    client.force_login(django_user_model.objects.create_user("eve"))
    assert "not a member of any tenant" in client.get("/").content.decode()


def test_home_sends_staff_to_the_admin(client, dora):
    client.force_login(dora)
    assert client.get("/").url == "/admin/"


def test_an_empty_tenant_sees_what_happens_next(client, alice, acme, warehouse):
    client.force_login(alice)
    page = page_of(client, acme)
    assert f"Welcome to AVESA, {acme.name}" in page
    assert "application/json" not in page


DOORS = ["", "board/service/", "figures/backlog/", "figures/backlog.csv", "explore/tickets/"]
DOORS += ["explore/tickets.xlsx", "explore/tickets/1/", "companies/1/", "people/Ann/"]


@pytest.mark.parametrize("path", DOORS)
def test_when_the_warehouse_is_down_there_is_an_error_page(client, alice, acme, settings, path):
    settings.CLICKHOUSE_URL = "clickhouse://127.0.0.1:1/avesa"
    client.force_login(alice)
    page = page_of(client, acme, path, status=503)
    assert "not available right now" in page
    assert "127.0.0.1" not in page


def test_one_failing_tile_leaves_the_others(client, alice, acme, filled, warehouse):
    warehouse.run("RENAME TABLE shared_time_entries TO hidden")
    try:
        client.force_login(alice)
        page = page_of(client, acme)
    finally:
        warehouse.run("RENAME TABLE hidden TO shared_time_entries")
    assert " 1 " in tile(page, "figure-tickets-opened")
    assert "Failed:  These figures are not available" in tile(page, "figure-hours-worked")
    assert page.count("Failed:") == 2
    assert page.rstrip().endswith("</html>")


def test_the_panel_keeps_filters_of_several_values_and_writes_those_that_are_not_given(
    client, alice, acme, filled, put_rows
):
    put_rows(acme, "tickets", [ticket("2", created_date=timezone.now().isoformat(), priority="~x")])
    client.force_login(alice)
    path = f"/t/{acme.id}/filters/?company=1&company=2&board=~"
    fields = client.get(path, headers={"X-Requested-With": "fetch"}).content.decode()
    assert 'name="company"' not in fields
    assert '<option value="~" selected>not given</option>' in fields
    assert '<option value="~~x">~x</option>' in fields
    page = client.get(path).content.decode()
    assert page.count('<input type="hidden" name="company"') == 2


def test_another_period_keeps_the_breakdown(client, alice, acme, filled):
    client.force_login(alice)
    page = page_of(client, acme, "figures/tickets_opened/?by=weekday&by=hour")
    panel = page[page.index('class="panel"') : page.index("</form>", page.index('class="panel"'))]
    assert '<input type="hidden" name="by" value="weekday">' in panel
    assert '<input type="hidden" name="by" value="hour">' in panel


def test_a_tile_that_waited_too_long_for_its_turn_states_so(
    client, alice, acme, filled, monkeypatch
):
    ask = Page.ask

    def busy(self, pieces):
        if pieces[0].source is TIME_ENTRY_EVENTS:
            raise WarehouseBusy("Too many statements are running.")
        return ask(self, pieces)

    monkeypatch.setattr(Page, "ask", busy)
    client.force_login(alice)
    page = page_of(client, acme)
    assert "Many figures are being computed" in tile(page, "figure-hours-worked")
    assert " 1 " in tile(page, "figure-tickets-opened")


def test_parts_beyond_those_of_a_tile_are_one_row(client, alice, acme, filled, put_rows):
    now = timezone.now().isoformat()
    rows = [ticket(f"b{n}", created_date=now, company_id=f"{n % 11 + 5}") for n in range(22)]
    put_rows(acme, "tickets", rows)
    client.force_login(alice)
    shown = tile(page_of(client, acme), "parts-tickets-by-company")
    assert re.search(r"\d others\s+\d", shown), shown
    assert "All 1" in shown


def test_tiles_are_sent_as_they_are_ready(client, alice, acme, filled, monkeypatch):
    """The source of the first tiles answers last; the tiles of other sources do not wait for it."""
    others = threading.Event()
    ask = Page.ask

    def slow(self, pieces):
        if pieces[0].source is TICKET_EVENTS:
            assert others.wait(20)
        return ask(self, pieces)

    monkeypatch.setattr(Page, "ask", slow)
    of_tickets = {
        tile.slug
        for tile in DASHBOARDS["overview"].tiles
        if any(TICKET_EVENTS in metric.sources for metric in tile.metrics)
    }
    client.force_login(alice)
    sent = client.get(f"/t/{acme.id}/").streaming_content
    arrived = []
    for part in sent:
        arrived += re.findall(r'<section slot="([^"]+)"', part.decode())
        if len(arrived) == len(DASHBOARDS["overview"].tiles) - len(of_tickets):
            others.set()
    assert set(arrived[-len(of_tickets) :]) == of_tickets


def test_tiles_name_the_filters_that_they_ignore(client, alice, acme, filled, put_rows, warehouse):
    now = timezone.now().isoformat()
    put_rows(acme, "tickets", [ticket("2", created_date=now, board_name="Help <Desk>")])
    log_load(warehouse, acme, "tickets", 4712, "2026-06-16T10:00:00")
    client.force_login(alice)
    page = page_of(client, acme, "?board=Help+<Desk>")
    assert " 1 " in tile(page, "figure-tickets-opened")
    assert " 2 " in tile(page_of(client, acme), "figure-tickets-opened")
    assert "Not filtered by board" in tile(page, "figure-companies-active")
    assert "Not filtered by" not in tile(page, "figure-backlog")
    assert "Help &lt;Desk&gt;" in page
    assert "Help <Desk>" not in page


# --- One figure


def test_a_figure_shows_its_definition_its_sql_and_its_files(client, alice, acme, put_rows, filled):
    opened = (timezone.now() - timedelta(days=2)).isoformat()
    source = {"source_file": f"lake/{acme.id}/canonical/tickets/x.parquet", "load_id": 4711}
    put_rows(acme, "tickets", [ticket("9", created_date=opened, type_name="A", **source)])
    client.force_login(alice)
    page = page_of(client, acme, "figures/tickets_by_category/?period=last-7-days")
    assert METRICS["tickets_by_category"].description in page
    assert "FROM shared_tickets WHERE tenant_id = {tenant_id:String} AND (" in page
    assert "tickets/x.parquet" in page
    assert "lake/" not in page
    assert (
        f"/t/{acme.id}/explore/tickets/?period=last-7-days&amp;metric=tickets_by_category" in page
    )
    assert "category=A" in page


@pytest.mark.parametrize("name", list(METRICS)[::4])  # test_isolation has all of them, unrendered
def test_figures_have_pages(client, alice, acme, filled, name):
    client.force_login(alice)
    page = page_of(client, acme, f"figures/{name}/?period=last-7-days&as_of=2026-06-20")
    assert METRICS[name].title in page


def test_an_unknown_figure_or_dashboard_is_not_found(client, alice, acme, warehouse):
    client.force_login(alice)
    for path in ("figures/nope/", "figures/nope.csv", "board/nope/", "explore/nope/"):
        page_of(client, acme, path, status=404)


def test_the_catalog_defines_every_figure(client, alice, acme, warehouse):
    client.force_login(alice)
    page = page_of(client, acme, "figures/")
    for metric in METRICS.values():
        assert page.count(f">{metric.title}</a>") == 1


# --- Periods and as-of


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
def test_wrong_dates_show_an_error_and_a_default_period(client, alice, acme, filled, query, field):
    client.force_login(alice)
    page = page_of(client, acme, query, status=400)
    assert f'name="{field}"' in page
    assert 'role="alert"' in page
    assert "Showing the last 30 days" in page
    assert "<script>&" not in page


def test_a_page_can_show_a_past_date(client, alice, acme, put_rows, warehouse):
    then, later = (
        company("1", "2026-01-01", "2026-02-01", is_active=True, annual_revenue=1_000_000),
        company("1", "2026-02-01", is_active=True, annual_revenue=2_000_000),
    )
    put_rows(acme, "companies", [then, later])
    log_load(warehouse, acme, "companies")
    client.force_login(alice)
    query = "board/customers/?start=2026-01-01&end=2026-02-28"
    assert "2.00 m" in tile(page_of(client, acme, query), "parts-revenue-by-segment")
    page = page_of(client, acme, f"{query}&as_of=2026-01-20")
    assert "1.00 m" in tile(page, "parts-revenue-by-segment")
    assert "the data as of 20 Jan 2026" in page


def test_a_page_as_of_a_date_shows_the_days_before_it(client, alice, acme, filled):
    client.force_login(alice)
    assert "1 Jan 2026 – 30 Jan 2026" in page_of(client, acme, "?as_of=2026-01-30")


def test_links_keep_period_as_of_and_filters(client, alice, acme, filled):
    client.force_login(alice)
    page = page_of(client, acme, "?period=last-7-days&as_of=2026-06-20&team=A%26B")
    expected = "period=last-7-days&amp;as_of=2026-06-20&amp;team=A%26B"
    assert f"/t/{acme.id}/figures/backlog/?{expected}" in page
    assert f"/t/{acme.id}/board/service/?{expected}" in page
    assert "?period=last-90-days&amp;as_of=2026-06-20&amp;team=A%26B" in page


def test_browsers_store_no_page_of_a_tenant(client, alice, acme, warehouse):
    client.force_login(alice)
    expected = client.get(f"/t/{acme.id}/")["Cache-Control"]
    assert "no-store" in expected
    assert "private" in expected


@pytest.mark.parametrize("tenant_id", ["%00", "a%00b", "%FF", "x" * 300, "acme%0a"])
def test_invalid_ids_are_not_found(client, alice, tenant_id):
    client.force_login(alice)
    response = client.get(f"/t/{tenant_id}/")
    assert response.status_code == 404
    assert "Page not found" in response.content.decode()


def test_a_form_without_its_cookie_gets_our_error_page(alice):
    response = Client(enforce_csrf_checks=True).post("/login/", {"username": "alice"})
    assert response.status_code == 403
    assert "Please try again" in response.content.decode()


PATHS = ["", "board/service/", "figures/", "figures/backlog_by_age/", "explore/tickets/",
         "explore/tickets/1/"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_pages_forbid_external_and_inline_code(client, alice, acme, filled, path):
    client.force_login(alice)
    response = client.get(f"/t/{acme.id}/{path}")
    policy = response["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    page = text_of(response)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page.replace("https://vega.github.io/schema/", "")  # only a name
    assert " style=" not in page
    assert " onclick" not in page


@pytest.mark.parametrize(
    "path",
    ["/login/", "/nothing/", "/health/live/", "/api/openapi.json", "/r/x/", "/r/x/unsubscribe/",
     "/t/{}/", "/t/{}/reports/", "/t/{}/reports/new/", "/t/{}/explore/tickets.csv?sort=x",
     "/t/{}/explore/tickets/?sort=x", "/api/v1/tenants/{}/metrics"],
)  # fmt: skip
def test_every_policy_limits_forms_and_the_base_address(client, alice, acme, filled, path):
    client.force_login(alice)
    policy = client.get(path.format(acme.id))["Content-Security-Policy"]
    assert "form-action 'self'" in policy
    assert "base-uri 'none'" in policy


def test_the_chart_library_is_served_locally_and_cached_by_browsers(client):
    from analytics.charts import bundle

    response = client.get(f"/assets/vega-{bundle.VERSION}.js")
    assert response.status_code == 200
    assert "immutable" in response["Cache-Control"]
    assert client.get("/assets/vega-0.js").status_code == 404


def test_logging_out_needs_a_post(client, alice):
    client.force_login(alice)
    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/").url == "/login/"
