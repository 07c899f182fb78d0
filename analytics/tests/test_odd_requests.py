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
    "companies/1/": ["as_of", "company"],
    "explore/tickets/": LIST,
    "explore/tickets/1/": ["metric", "verdict", "period"],
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


QUERY = ["metric", "by", "period", "start", "end", "as_of", "buckets", "compare", "sort", "limit"]
QUERY += ["format", "priority", "priority!", "company", "weekday", "age", "no_such_name", "\0"]
ASKED = {"metric": "backlog", "by": "priority"}


def answered_by_api(client, acme, path, query):
    response = client.get(f"/api/v1/tenants/{acme.id}/{path}", query)
    assert response.status_code in (200, 400, 404), (path, query, response.getvalue()[:300])
    if response.status_code != 200:
        problem = response.json()
        assert response["Content-Type"] == "application/problem+json"
        assert problem["detail"], query
        assert bool(problem["errors"]) == (response.status_code == 400), query


@pytest.mark.slow
@pytest.mark.parametrize("name", QUERY)
def test_odd_values_of_any_parameter_of_a_query(client, alice, acme, filled, name):
    client.force_login(alice)
    answered_by_api(client, acme, "query", ASKED | {name: ODD})
    for value in ODD:
        answered_by_api(client, acme, "query", ASKED | {name: value})
        answered_by_api(client, acme, "query", ASKED | {"buckets": "auto", "limit": 1, name: value})


@pytest.mark.slow
@pytest.mark.parametrize("value", ODD, ids=lambda value: value[:10])
def test_odd_requests_for_values(client, alice, acme, filled, value):
    client.force_login(alice)
    answered_by_api(client, acme, "query", dict.fromkeys(QUERY, value))
    for name in ("q", "limit", "as_of"):
        answered_by_api(client, acme, "dimensions/company", {name: value})


@pytest.mark.parametrize(
    "query",
    [
        {"start": "1971-01-01", "end": "1973-12-31", "buckets": "week"},
        {"start": "2148-12-01", "end": "2148-12-31", "buckets": "day"},
        {"start": "2026-01-01", "end": "2026-12-31", "buckets": "day", "limit": 13},
        {"as_of": "1971-01-01", "start": "1971-01-01", "end": "1971-01-01", "buckets": "month"},
        {"priority": ["~", "~~", "~~~", "'); DROP TABLE shared_tickets --"]},
        {"priority": "High", "priority!": "High", "buckets": "auto"},
        {"by": ["age", "company"], "sort": "-label", "limit": 1, "format": "csv"},
        {"by": "age", "metric": ["backlog", "unassigned"], "limit": 2, "buckets": "auto"},
    ],
    ids=str,
)
def test_the_edges_of_a_query(client, alice, acme, filled, query):
    client.force_login(alice)
    response = client.get(f"/api/v1/tenants/{acme.id}/query", ASKED | query)
    assert response.status_code == 200, response.getvalue()


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
