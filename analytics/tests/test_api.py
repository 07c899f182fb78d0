import json
from datetime import timedelta

import pytest
from django.utils import timezone
from openapi_spec_validator import validate

from analytics.metrics import METRICS, run_metric
from analytics.periods import preset
from analytics.tests.versions import company, ticket
from tenants.models import ApiToken


@pytest.fixture
def filled(acme, globex, put_rows):
    put_rows(
        acme,
        "companies",
        [
            company("1", is_active=True, number_of_employees=3, annual_revenue=10),
            company("2", is_active=False, number_of_employees=4),
        ],
    )
    put_rows(globex, "companies", [company("9", is_active=True, number_of_employees=999)])
    yesterday = (timezone.now() - timedelta(days=1)).isoformat()
    put_rows(acme, "tickets", [ticket("1", created_date=yesterday)])


def companies(tenant, query=""):
    return f"/api/companies/analytics/{tenant.id}{query}"


def trends(tenant, query=""):
    return f"/api/tickets/trends/{tenant.id}{query}"


@pytest.fixture
def token(acme):
    return {"Authorization": f"Bearer {ApiToken.issue(acme, 'test')[1]}"}


def test_company_analytics_have_the_specified_fields(client, alice, acme, filled):
    client.force_login(alice)
    assert client.get(companies(acme)).json() == {
        "total_companies": 2,
        "active_companies": 1,
        "avg_employees": 3.5,
        "total_revenue": 10.0,
    }


def test_ticket_trends_have_one_row_per_day(client, alice, acme, filled):
    client.force_login(alice)
    rows = client.get(trends(acme, "?period=7")).json()
    assert len(rows) == 7
    assert list(rows[0]) == ["date", "ticket_count", "closed_count", "avg_hours"]
    assert sum(row["ticket_count"] for row in rows) == 1
    assert rows[0]["date"] < rows[-1]["date"]
    assert len(client.get(trends(acme)).json()) == 30


def test_dates_limit_the_period(client, alice, acme, filled):
    client.force_login(alice)
    answer = client.get(companies(acme, "?startDate=2020-01-01&endDate=2020-12-31")).json()
    assert answer["total_companies"] == 0
    assert answer["avg_employees"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?startDate=2026-02-30", "startDate"),
        ("?endDate=tomorrow", "endDate"),
        ("?startDate=2026-03-02&endDate=2026-03-01", "startDate"),
        ("?startDate=0001-01-01", "startDate"),
    ],
)
def test_wrong_dates_name_their_field(client, alice, acme, warehouse, query, field):
    client.force_login(alice)
    answer = client.get(companies(acme, query))
    assert answer.status_code == 400
    (problem,) = answer.json()["errors"]
    assert problem["field"] == field
    assert problem["message"]


@pytest.mark.parametrize("period", ["0", "367", "-1", "many", "1.5", ""])
def test_wrong_periods_name_their_field(client, alice, acme, warehouse, period):
    client.force_login(alice)
    answer = client.get(trends(acme, f"?period={period}"))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "period"


def test_a_token_gives_access_to_its_tenant_only(client, acme, globex, filled, token):
    assert client.get(companies(acme), headers=token).status_code == 200
    assert client.get(companies(globex), headers=token).status_code == 404
    assert client.get(trends(globex), headers=token).status_code == 404


def test_a_revoked_token_is_refused(client, acme, token):
    ApiToken.objects.update(revoked_at=timezone.now())
    assert client.get(companies(acme), headers=token).status_code == 401


def test_a_token_of_a_suspended_tenant_is_refused(client, acme, token):
    acme.is_active = False
    acme.save()
    assert client.get(companies(acme), headers=token).status_code == 401


def test_only_the_digest_of_a_token_is_stored(acme, token):
    stored = json.dumps(list(ApiToken.objects.values("digest", "hint", "name")))
    assert token["Authorization"].split()[1] not in stored


@pytest.mark.parametrize("url", [companies, trends])
def test_without_credentials_there_is_no_data(client, acme, url):
    answer = client.get(url(acme))
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    wrong = client.get(url(acme), headers={"Authorization": "Bearer avesa_wrong"})
    assert wrong.status_code == 401


@pytest.mark.parametrize("name", ["charlie", "dora"])
@pytest.mark.parametrize("url", [companies, trends])
def test_foreign_and_unknown_tenants_are_not_found(client, request, name, url, acme):
    client.force_login(request.getfixturevalue(name))
    foreign = client.get(url(acme))
    assert foreign.status_code == 404
    unknown = client.get("/api/companies/analytics/unknown")
    assert foreign.json() == unknown.json()


@pytest.mark.parametrize("tenant_id", ["%00", "a%00b", "%FF", "x" * 300, "acme%0a"])
@pytest.mark.parametrize("path", ["companies/analytics", "tickets/trends"])
def test_invalid_ids_are_not_found(client, alice, tenant_id, path):
    client.force_login(alice)
    response = client.get(f"/api/{path}/{tenant_id}")
    assert (response.status_code, response.json()["detail"]) == (404, "No such tenant.")


@pytest.mark.parametrize("url", [companies, trends])
def test_browsers_store_no_figures(client, alice, acme, warehouse, url):
    client.force_login(alice)
    assert "no-store" in client.get(url(acme))["Cache-Control"]


def test_a_warehouse_that_is_down_is_a_503_without_details(client, alice, acme, settings):
    settings.CLICKHOUSE_URL = "clickhouse://127.0.0.1:1/avesa"
    client.force_login(alice)
    answer = client.get(companies(acme))
    assert answer.status_code == 503
    assert "127.0.0.1" not in answer.content.decode()


def test_the_openapi_document_is_valid_and_names_the_fields(client):
    document = client.get("/api/openapi.json").json()
    validate(document)
    assert set(document["paths"]) == {
        "/api/companies/analytics/{tenant_id}",
        "/api/tickets/trends/{tenant_id}",
        "/api/{table}/{tenant_id}/{record_id}/history",
        "/api/v1/tenants/{tenant_id}/metrics",
        "/api/v1/tenants/{tenant_id}/metrics/{name}",
        "/api/v1/tenants/{tenant_id}/metrics/{name}/changes",
        "/api/v1/tenants/{tenant_id}/metrics/{name}/differences",
        "/api/v1/tenants/{tenant_id}/query",
        "/api/v1/tenants/{tenant_id}/dimensions",
        "/api/v1/tenants/{tenant_id}/dimensions/{name}",
        "/api/v1/tenants/{tenant_id}/tables/{table}",
        "/api/v1/tenants/{tenant_id}/tables/{table}/{record_id}",
        "/api/v1/tenants/{tenant_id}/tables/{table}/{record_id}/history",
    }
    assert "total_companies" in json.dumps(document)
    assert "startDate" in json.dumps(document)


# --- Problems


def test_errors_follow_rfc_9457(client, alice, acme, settings, warehouse):
    client.force_login(alice)
    for path, status in (
        (companies(acme, "?startDate=x"), 400),
        (f"/api/v1/tenants/{acme.id}/metrics/backlog?start=x", 400),
        (f"/api/v1/tenants/{acme.id}/query", 400),
        (f"/api/v1/tenants/{acme.id}/query?metric=nope", 400),
        (f"/api/v1/tenants/{acme.id}/dimensions/nope", 404),
        (f"/api/v1/tenants/{acme.id}/tables/tickets?where=x", 400),
        (f"/api/v1/tenants/{acme.id}/tables/tickets?limit=x", 400),
        ("/api/v1/tenants/unknown/metrics", 404),
        (f"/api/v1/tenants/{acme.id}/metrics/nope", 404),
        (f"/api/v1/tenants/{acme.id}/tables/nope", 404),
        (f"/api/v1/tenants/{acme.id}/tables/tickets/404", 404),
    ):
        answer = client.get(path)
        assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
        body = answer.json()
        assert set(body) == {"type", "title", "status", "detail", "errors"}
        assert body["status"] == status
        assert body["detail"]
        assert bool(body["errors"]) == (status == 400)
    client.logout()
    answer = client.get(f"/api/v1/tenants/{acme.id}/metrics")
    assert (answer.status_code, answer["Content-Type"]) == (401, "application/problem+json")


# --- Version 1


def v1(tenant, path):
    return f"/api/v1/tenants/{tenant.id}/{path}"


def test_the_metrics_are_defined(client, acme, token):
    listed = client.get(v1(acme, "metrics"), headers=token).json()
    assert [each["name"] for each in listed] == list(METRICS)
    assert listed[0]["description"] == METRICS[listed[0]["name"]].description


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_answers_as_run_metric_does(client, acme, filled, token, name):
    query = "?period=last-7-days&company=1&technician=x"
    answer = client.get(v1(acme, f"metrics/{name}{query}"), headers=token)
    assert answer.status_code == 200
    period = preset("last-7-days", acme.zone, timezone.now())
    filters = {"company": "1", "technician": "x"}
    result = run_metric(acme, name, period, None, filters)
    body = answer.json()
    assert body["figure"] == (None if result.figure is None else float(result.figure))
    assert (body["first_day"], body["last_day"]) == (str(period.start), str(period.last_day))
    assert len(body["series"]) == 7
    assert {**body["filters"], **dict.fromkeys(body["not_applied"])}.keys() == filters.keys()


def test_a_metric_can_exclude_values(client, acme, token, put_rows):
    opened = [("1", "High"), ("2", "Low"), ("3", "Low")]
    tickets = [ticket(key, created_date="2026-06-02", priority=name) for key, name in opened]
    put_rows(acme, "tickets", tickets)
    path = v1(acme, "metrics/tickets_opened?start=2026-06-01&end=2026-06-10&priority!=Low")
    answer = client.get(path, headers=token).json()
    assert (answer["figure"], answer["filters"]) == (1, {"priority!": ["Low"]})


def test_a_metric_can_be_computed_as_of_a_date(client, acme, token, put_rows):
    put_rows(acme, "tickets", [ticket("1", "2026-06-03", created_date="2026-06-02T12:00:00")])
    path = v1(acme, "metrics/backlog?start=2026-06-01&end=2026-06-10")
    assert client.get(path, headers=token).json()["figure"] == 1
    then = client.get(f"{path}&as_of=2026-06-01", headers=token).json()
    assert (then["figure"], then["last_day"]) == (0, "2026-06-01")
    assert then["as_of"] == "2026-06-02T03:59:59.999Z"


def test_records_are_listed_page_by_page(client, acme, globex, filled, token):
    path = v1(acme, "tables/companies")
    first = client.get(f"{path}?limit=1&sort=-company_id&columns=company_id", headers=token).json()
    assert first["records"] == [{"company_id": "2"}]
    rest = client.get(
        f"{path}?limit=1&sort=-company_id&after={first['next']}", headers=token
    ).json()
    assert rest["records"][0]["annual_revenue"] == 10.0
    assert rest["next"] is None
    found = client.get(f"{path}?where=is_active~is~yes&q=1", headers=token).json()
    assert [each["company_id"] for each in found["records"]] == ["1"]


@pytest.mark.parametrize(
    "path",
    [
        "metrics",
        "metrics/backlog",
        "query?metric=backlog",
        "dimensions",
        "dimensions/company",
        "tables/companies",
        "tables/companies/9",
        "tables/companies/9/history",
    ],
)
def test_version_1_is_closed_to_others(client, acme, globex, filled, token, charlie, path):
    assert client.get(v1(globex, path), headers=token).status_code == 404
    client.force_login(charlie)
    assert client.get(v1(acme, path)).status_code == 404
    answer = client.get(v1(globex, path))
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize("path", ["/api/nope", "/api/v1/nope"])
def test_unknown_urls_answer_with_a_problem_too(client, path, db):
    answer = client.get(path)
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_an_internal_error_is_a_problem_without_details(client, alice, acme, monkeypatch):
    def fail(*args):
        raise RuntimeError("a secret")

    monkeypatch.setattr("analytics.api.v1.run_metric", fail)
    client.force_login(alice)
    client.raise_request_exception = False
    answer = client.get(v1(acme, "metrics/backlog"))
    assert (answer.status_code, answer["Content-Type"]) == (500, "application/problem+json")
    assert "secret" not in answer.content.decode()
