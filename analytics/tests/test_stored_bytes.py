"""Text in the warehouse that is not UTF-8, from before loads rejected it, breaks no page."""

import pytest

from analytics.dashboards.boards import DASHBOARDS
from analytics.tests.versions import company, log_load, ticket

GARBLED = b"M\xfcller"


@pytest.fixture
def garbled(acme, put_rows, warehouse):
    texts = ("summary", "company_name", "board_name", "priority", "owner_name", "team_name")
    row = ticket(
        "1", created_date="2026-06-01", company_id=b"\xff1", **dict.fromkeys(texts, GARBLED)
    )
    put_rows(acme, "tickets", [row | {"type_name": GARBLED, "status": GARBLED}])
    put_rows(acme, "companies", [company("1", name=GARBLED, city=GARBLED, is_active=True)])
    for table in ("companies", "tickets"):
        log_load(warehouse, acme, table)
    return acme


@pytest.mark.parametrize("slug", DASHBOARDS)
def test_dashboards_show_a_replacement_mark(client, alice, garbled, slug):
    client.force_login(alice)
    query = {"start": "2026-05-01", "end": "2026-06-30"}
    response = client.get(f"/t/{garbled.id}/board/{slug}/", query)
    text = response.getvalue().decode()
    assert response.status_code == 200
    assert "b&#x27;" not in text
    assert "could not be" not in text


@pytest.mark.parametrize(
    "path",
    [
        "t/{}/explore/tickets/",
        "t/{}/explore/tickets.csv",
        "t/{}/explore/companies/1/",
        "api/v1/tenants/{}/tables/tickets",
        "api/v1/tenants/{}/tables/companies/1",
        "api/companies/{}/1/history",
    ],
)
def test_lists_records_and_the_api_do_too(client, alice, garbled, path):
    client.force_login(alice)
    response = client.get(f"/{path.format(garbled.id)}")
    assert response.status_code == 200
    text = (response.getvalue() if response.streaming else response.content).decode()
    assert "M\ufffdller" in text or "M\\ufffdller" in text
