"""The page and the API that explain why a figure differs between two moments."""

import re

import pytest

from analytics.metrics import METRICS
from analytics.tests.versions import at, log_load, ticket
from tenants.models import ApiToken

OPENED = {"created_date": "2026-06-02T12:00:00"}
CLOSED = OPENED | {"closed_date": "2026-06-03T12:00:00"}
JUNE = "start=2026-06-01&end=2026-06-30"


@pytest.fixture
def filled(acme, globex, put_rows, warehouse):
    """A closed ticket that is reopened on 9 June, by load 7."""
    reopened = {"load_id": 7, "loaded_at": at("2026-06-09T10:00:00")}
    lake = f"lake/{acme.id}/canonical/tickets"
    put_rows(
        acme,
        "tickets",
        [
            ticket("1/a", "2026-06-03T12:00:00", "2026-06-09", priority="High", **CLOSED)
            | {"load_id": 1, "loaded_at": at("2026-06-03"), "source_file": f"{lake}/first.csv"},
            ticket("1/a", "2026-06-09", summary="<b>Printer</b>", priority="High", **OPENED)
            | reopened
            | {"source_file": f"{lake}/second.csv"},
        ],
    )
    put_rows(globex, "tickets", [ticket("of globex", "2026-06-09", **CLOSED)])
    log_load(warehouse, acme, "tickets")


def address(tenant, name="tickets_closed", query=f"{JUNE}&before=2026-06-05"):
    return f"/t/{tenant.id}/figures/{name}/why/?{query}"


def page_of(client, path, status=200):
    response = client.get(path)
    assert response.status_code == status
    return response.content.decode()


def words_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_the_page_names_record_version_field_file_and_load(client, alice, acme, filled):
    client.force_login(alice)
    page = page_of(client, address(acme))
    text = words_of(page)
    assert "1 record makes the difference: −1" in text
    assert "Left 1 1 0 −1" in text
    assert "Closed date : 3 Jun 2026, 08:00:00 → –" in text, "in the time zone of the tenant"
    assert "load #7 on 9 Jun 2026, 06:00 · tickets/second.csv" in text
    assert "&lt;b&gt;Printer" in page
    assert "of globex" not in page
    assert f"/t/{acme.id}/explore/tickets/~" in page, "the record has a link"


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_the_page(client, alice, acme, filled, name):
    client.force_login(alice)
    page_of(client, address(acme, name, f"{JUNE}&before=2026-06-05&company=~&priority=High"))


def test_the_banner_of_an_as_of_date_leads_there(client, alice, acme, filled):
    client.force_login(alice)
    figure = page_of(
        client,
        f"/t/{acme.id}/figures/tickets_closed/?{JUNE}&as_of=2026-06-05&priority=High",
    )
    (link,) = re.findall(r'href="([^"]+/why/[^"]+)"', figure)
    text = words_of(page_of(client, link.replace("&amp;", "&")))
    assert "Priority: High" in text
    assert "As of 5 Jun 2026, 23:59" in text
    assert "1 record makes the difference: −1" in text


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "Use the date of an earlier figure"),
        ("before=2999-01-01", "Use a date from"),
        ("before=2100-01-01", "Use the date of an earlier figure"),
        ("before=yesterday", "Use a date such as"),
        ("before=2026-06-05T10:00", "Use a date, or a time"),
        ("before=2026-06-05&as_of=2026-06-04", "Use a date before"),
        ("before=2026-06-05&loaded_by=0001-01-01T00:00:00Z", "Use a date"),
        ("before=9999-12-31T23:59:59-12:00", "Use a date"),
    ],
)
def test_wrong_moments_are_explained_and_can_be_corrected(
    client, alice, acme, filled, query, message
):
    client.force_login(alice)
    page = page_of(client, address(acme, query=f"{query}&priority=High"), 400)
    assert message in page
    assert '<input type="hidden" name="priority" value="High">' in page


def test_others_and_unknown_figures_find_nothing(client, alice, charlie, acme, filled):
    client.force_login(charlie)
    page_of(client, address(acme), 404)
    client.force_login(alice)
    page_of(client, address(acme, "nothing"), 404)


def test_the_api_has_the_same(client, acme, filled):
    token = {"Authorization": f"Bearer {ApiToken.issue(acme, 'test')[1]}"}
    path = f"/api/v1/tenants/{acme.id}/metrics/tickets_closed/differences?{JUNE}"
    answer = client.get(f"{path}&before=2026-06-05&priority=High", headers=token).json()
    assert (answer["before"]["figure"], answer["after"]["figure"]) == (1, 0)
    assert answer["filters"] == {"priority": ["High"]}
    assert [each["records"] for each in answer["causes"]] == [0, 1, 0]
    (record,) = answer["records"]
    assert (record["id"], record["cause"], record["contribution"]) == ("1/a", "left", -1)
    (version,) = record["versions"]
    assert (version["load_id"], version["file"]) == (7, "tickets/second.csv")
    assert {
        "name": "closed_date",
        "before": "2026-06-03T12:00:00Z",
        "after": None,
        "counts": True,
    } in version["fields"]
    instant = client.get(
        f"{path}&before=2026-06-08T23:59:59Z&as_of=2026-06-09T00:00:00Z", headers=token
    ).json()
    assert (instant["before"]["figure"], instant["after"]["figure"]) == (1, 0)
    wrong = client.get(f"{path}&before=soon", headers=token)
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (400, "before")


def test_the_api_gives_the_times_behind_a_median(client, acme, filled):
    token = {"Authorization": f"Bearer {ApiToken.issue(acme, 'test')[1]}"}
    path = f"/api/v1/tenants/{acme.id}/metrics/resolution_median/differences?{JUNE}"
    answer = client.get(f"{path}&before=2026-06-05", headers=token).json()
    assert (answer["before"]["figure"], answer["after"]["figure"]) == (24, None)
    (record,) = answer["records"]
    assert (record["before"], record["after"]) == ([[24 * 3_600_000]], [[]])
    assert record["contribution"] is None
