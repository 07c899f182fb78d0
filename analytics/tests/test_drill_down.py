"""From a figure down to its records, and the pages about companies, people, boards and contacts."""

import re
from datetime import timedelta
from html import unescape
from urllib.parse import quote

import pytest
from django.urls import get_resolver
from django.utils import timezone

from analytics.tests.versions import company, log_load, ticket, version
from analytics.warehouse.catalog import TABLES
from tenants.models import SlaTarget

FROM = timezone.now() - timedelta(days=3)


@pytest.fixture
def filled(acme, globex, put_rows, warehouse):
    """Möller's paper jam missed its target, the other ticket met it; globex has a namesake."""
    SlaTarget.objects.create(tenant=acme, priority="High", response_hours=1, resolution_hours=4)
    put_rows(
        acme,
        "companies",
        [
            company("6", "2026-01-01", "2026-02-01", name="Möller", is_active=True),
            company("6", "2026-02-01", name="Möller Pharma AG", city="Kiel", is_active=True),
            company("7", name="Initech", is_active=True),
        ],
    )
    put_rows(acme, "contacts", [
        version("2026-01-01", contact_id="c1", first_name="Jan", last_name="Kok", company_id="6"),
    ])  # fmt: skip
    put_rows(acme, "tickets", [_ticket("1", 30, "Paper jam"), _ticket("2", 0.5, "Password")])
    put_rows(acme, "time_entries", [
        version("2026-01-01", entry_id="e1", ticket_id="1", company_id="6", time_start=FROM,
                member_name="Ann / Lee", actual_hours=2),
    ])  # fmt: skip
    put_rows(globex, "companies", [company("6", name="Secret"), company("99", name="Secret")])
    put_rows(globex, "tickets", [ticket("9", owner_name="Zoe", board_name="Secret desk")])
    for table in TABLES:
        log_load(warehouse, acme, table)


def _ticket(key, hours, summary):
    closed = FROM + timedelta(hours=hours)
    return ticket(
        key,
        FROM.isoformat(),
        created_date=FROM.isoformat(),
        first_response_date=FROM,
        closed_date=closed.isoformat(),
        ticket_number=f"10270{key}",
        summary=summary,
        priority="High",
        company_id="6",
        company_name="Möller Pharma AG",
        contact_id="c1",
        contact_name="Jan Kok",
        owner_name="Ann / Lee",
        board_name="Help desk",
        budget_hours=2,
        actual_hours=3,
    )


@pytest.fixture
def read(client, alice, acme, filled):
    client.force_login(alice)

    def page(path, status=200):
        url = path if path.startswith("/") else f"/t/{acme.id}/{path}"
        response = client.get(unescape(url))
        assert response.status_code == status, url
        return response.getvalue().decode()

    return page


def link(page, text):
    """The address of the first link with this text or label."""
    found = re.search(rf'<a [^>]*aria-label="{re.escape(text)}"[^>]*>', page) or re.search(
        rf"<a [^>]*>{re.escape(text)}</a>", page
    )
    assert found, text
    return re.search(r'href="([^"]+)"', found[0])[1]


def crumbs(page):
    [nav] = re.findall(r'<nav class="crumbs".*?</nav>', page, re.DOTALL)
    return re.findall(r'<a href="([^"]+)">([^<]+)</a>', nav)


def heading(page):
    return re.search(r"<h1>(.*?)</h1>", page)[1]


def test_from_a_share_to_what_missed_it_and_back(read):
    figure = read(link(read(""), "SLA met"))
    listed = read(link(figure, "1, Missed tickets: Möller Pharma AG"))
    assert heading(listed) == "Missed tickets"
    assert "Paper jam" in listed
    assert "Password" not in listed
    record = read(link(listed, "#102701 Paper jam"))
    assert heading(record) == "#102701 Paper jam"
    assert "<title>#102701 Paper jam" in record
    way = crumbs(record)
    assert [title for _, title in way] == ["Möller Pharma AG", "SLA met", "Missed tickets"]
    assert "Password" not in read(way[2][0])
    assert "50.0 %" in read(way[1][0])
    assert heading(read(way[0][0])) == "Möller Pharma AG"


def test_a_label_leads_to_the_figure_of_its_part_broken_down_by_something_else(read):
    figure = read(link(read("figures/tickets_by_company/"), "Möller Pharma AG"))
    assert "company=6" in figure
    assert '<h2 id="breakdown">By board' in figure
    by_technician = read("figures/tickets_by_company/?company=6&by=technician")
    assert "By technician" in by_technician
    assert "technician=Ann+%2F+Lee" in link(by_technician, "2, Tickets: Ann / Lee")


def test_a_bucket_leads_to_its_day_and_a_day_to_its_records(read, acme):
    day = f"{FROM.astimezone(acme.zone):%Y-%m-%d}"
    figure = read("figures/tickets_opened/?company=6")
    urls = re.findall(r'<td><a href="([^"]+)">2</a></td>', figure)
    assert urls
    assert all("company=6" in url for url in urls)
    assert f'"hrefs": ["{unescape(urls[0])}"]' in figure.replace("\\u0026", "&")
    one_day = read(urls[0])
    assert f"start={day}&amp;end={day}" in urls[0]
    to_records = re.findall(r'<td><a href="([^"]+)">2</a></td>', one_day)
    assert "/explore/tickets/" in to_records[0]
    assert "Paper jam" in read(to_records[0])


def test_the_company_page_has_its_figures_its_records_and_its_history(read, acme):
    page = read(link(read("explore/companies/6/"), "Figures of this company"))
    assert heading(page) == "Möller Pharma AG"
    for text in ("Kiel", "Hours against budget", "150.0 %", "Top topics", "#102701 Paper jam"):
        assert text in page
    assert "Jan Kok" in page
    assert '<th scope="row">Name</th><td>Möller</td><td>Möller Pharma AG</td>' in page
    assert link(page, "All fields and history") == f"/t/{acme.id}/explore/companies/6/"
    assert "company=6" in link(page, "SLA met")
    assert "company=6" not in re.search(r'<nav class="presets".*?</nav>', page, re.DOTALL)[0]
    assert "without=company" in page
    assert "Möller Pharma AG</a></p>" not in page
    assert [title for _, title in crumbs(page)] == ["Customers"]


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("people/~QW5uIC8gTGVl/", "Ann / Lee"),
        (f"service-boards/{quote('Help desk')}/", "Help desk"),
        ("contacts/c1/", "Jan Kok"),
    ],
)
def test_people_boards_and_contacts_have_pages_of_the_same_form(read, path, title):
    page = read(path)
    assert heading(page) == title
    assert "Failed" not in page
    assert re.search(r'slot="figure-sla-met".*?50\.0 %', page, re.DOTALL)
    assert "#102701 Paper jam" in page


def test_filters_of_an_address_narrow_the_page_but_never_change_what_it_is_about(read):
    assert re.search(r'slot="figure-sla-met".*?–', read("companies/6/?priority=Low"), re.DOTALL)
    other = read("companies/6/?company=7")
    assert re.search(r'slot="figure-sla-met".*?50\.0 %', other, re.DOTALL)
    assert "company=6" in link(other, "SLA met")
    assert "company=7" not in link(other, "SLA met")


def test_names_in_lists_lead_to_their_pages(read, acme):
    listed = read("explore/tickets/")
    assert link(listed, "Möller Pharma AG") == f"/t/{acme.id}/companies/6/"
    assert heading(read(link(listed, "Ann / Lee"))) == "Ann / Lee"
    assert heading(read(link(listed, "Help desk"))) == "Help desk"
    entries = read("explore/time_entries/")
    assert heading(read(link(entries, "#102701 Paper jam"))) == "#102701 Paper jam"
    entry = read("explore/time_entries/e1/")
    assert heading(entry).startswith("2.00 h by Ann / Lee on ")
    assert "#102701 Paper jam</a>" in entry


def test_a_page_can_be_turned_back_to_before_its_first_record(read):
    assert "as of 2 Jan 2020" in read("people/~QW5uIC8gTGVl/?as_of=2020-01-02")
    read("people/Zoe/?as_of=2020-01-02", status=404)


UNKNOWN = ["companies/99/", "companies/~!/", "people/Zoe/", "people/~!/", "people/~_w/"]
UNKNOWN += [
    "service-boards/Secret%20desk/",
    "contacts/nope/",
    f"people/{'x' * 900}/",
    "people/%00/",
]


@pytest.mark.parametrize("path", UNKNOWN)
def test_what_is_unknown_or_anothers_is_not_found(read, path):
    read(path, status=404)


SUBJECT_PATHS = ["companies/6/", "contacts/c1/", "people/Ann/", "service-boards/Help%20desk/"]


@pytest.mark.parametrize("path", SUBJECT_PATHS)
def test_only_members_open_these_pages(client, charlie, dora, acme, filled, path):
    for user in (charlie, dora):
        client.force_login(user)
        assert client.get(f"/t/{acme.id}/{path}").status_code == 404
    client.logout()
    assert client.get(f"/t/{acme.id}/{path}").status_code == 302


def test_every_page_about_a_subject_is_among_those():
    names = {pattern.name: pattern for pattern in get_resolver("analytics.urls").url_patterns}
    prefixes = {path.split("/")[0] for path in SUBJECT_PATHS}
    subjects = [p for p in names.values() if p.callback.__module__ == "analytics.views.subjects"]
    assert {f"{each.pattern}".split("/")[2] for each in subjects} == prefixes
