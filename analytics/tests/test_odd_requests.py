"""Odd URLs: every page answers properly, never with an internal error."""

import pytest

from analytics.tests.versions import company, log_load, ticket

ODD = ["", "\0", "\U0001f600", "'", "\\", "%", "-1", "9" * 400, "x" * 5000, "1e9999"]
ODD += ["{tenant_id:String}", "2026-02-30", "a~b~c", "~", "../..", "backlog_by_age"]
WHEN = ["period", "start", "end", "as_of"]
LIST = ["as_of", "q", "sort", "columns", "where", "after", "metric", "label", "column", "value"]
PATHS = {
    "board/customers/": [*WHEN, "company"],
    "figures/tickets_by_company.csv": [*WHEN, "technician", "of"],
    "explore/tickets/": LIST,
    "explore/tickets.csv": LIST,
}


@pytest.fixture
def filled(acme, put_rows, warehouse):
    put_rows(acme, "companies", [company("1", is_active=True)])
    put_rows(acme, "tickets", [ticket("1", created_date="2026-06-01")])
    for table in ("companies", "tickets"):
        log_load(warehouse, acme, table)


def answered(client, acme, path, query):
    response = client.get(f"/t/{acme.id}/{path}", query)
    text = response.getvalue().decode()
    assert response.status_code in (200, 400, 404), (path, query, text[:300])
    assert "Failed:" not in text, (path, query)
    if response["Content-Type"].startswith("text/html"):
        assert text.rstrip().endswith("</html>")
    return response


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_odd_values_of_any_parameter(client, alice, acme, filled, path):
    client.force_login(alice)
    for name in PATHS[path]:
        answered(client, acme, path, {name: ODD})
    for value in ODD[::3]:
        answered(client, acme, path, dict.fromkeys(PATHS[path], value))


@pytest.mark.parametrize(
    "query",
    [
        {"start": "1971-01-01", "end": "1973-12-31"},
        {"start": "2147-01-01", "end": "2148-12-31"},
        {"as_of": "1971-01-01"},
        {"as_of": "1971-01-01", "start": "1971-01-01", "end": "1971-01-01"},
        {"as_of": "2148-12-31", "period": "last-12-months"},
        {"metric": "backlog", "label": "\0"},
        {"metric": "backlog_by_board", "label": "\0"},
        {"metric": "backlog_by_board", "label": "x" * 3000},
        {"metric": "backlog", "period": "nope"},
        {"metric": "companies_total"},
        {"metric": "leader_board", "label": "", "technician": "", "as_of": "2026-06-05"},
        {"where": ["created_date~is~2148-12-31", "created_date~not~1971-01-01"]},
        {"where": "actual_hours~is~0.00000000000000000001"},
        {"where": "actual_hours~min~-99999999999999"},
        {"where": ["approved~min~yes", "approved~max~no", "approved~has~tru"]},
        {"sort": "-approved", "columns": ["approved", "approved", "summary"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["board/service/", "explore/tickets/", "explore/tickets.csv"])
def test_the_edges_of_what_is_allowed(client, alice, acme, filled, path, query):
    client.force_login(alice)
    answered(client, acme, path, query)
