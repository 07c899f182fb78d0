"""Runs inside Superset's own environment: makes a dashboard of ten charts and measures it.

    SUPERSET_CONFIG_PATH=… python superset_driver.py PORT ROUNDS TENANT…

It imports nothing of AVESA. The last line that it prints is JSON: {tenant: [cold, warm]}, each the
median of seconds for the page of the dashboard and, six at once as browsers do, the figures of its
charts. Drawing in the browser is not part of it.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from time import perf_counter

from flask_appbuilder.security.sqla.models import User
from superset.app import create_app

USER, PASSWORD = "bench", "bench-password"
AT_ONCE = 6  # requests of a browser to one server
LAST_30_DAYS = "Last 30 days"
TABLES = {
    "tickets": "SELECT * FROM shared_tickets WHERE tenant_id = '{tenant}' AND is_current",
    "time_entries": "SELECT * FROM shared_time_entries WHERE tenant_id = '{tenant}' AND is_current",
}
COUNT, HOURS = "count(*)", "sum(actual_hours)"
# title, dataset, measure, column of its time ("": of now), by day, dimension
CHARTS = [
    ("Tickets opened", "tickets", COUNT, "created_date", False, ""),
    ("Tickets closed", "tickets", COUNT, "closed_date", False, ""),
    ("Open tickets", "tickets", COUNT, "", False, ""),
    ("Tickets opened by day", "tickets", COUNT, "created_date", True, ""),
    ("Tickets closed by day", "tickets", COUNT, "closed_date", True, ""),
    ("Open tickets by priority", "tickets", COUNT, "", False, "priority"),
    ("Tickets by company", "tickets", COUNT, "created_date", False, "company_name"),
    ("Hours worked", "time_entries", HOURS, "time_start", False, ""),
    ("Hours worked by day", "time_entries", HOURS, "time_start", True, ""),
    ("Hours by technician", "time_entries", HOURS, "time_start", False, "member_name"),
]


def main(port, rounds, tenants):
    app = create_app()
    headers = _log_in(app)
    database = _made(app, headers, "database", {
        "database_name": "avesa",
        "sqlalchemy_uri": f"clickhouse+native://default@127.0.0.1:{port}/avesa",
    })  # fmt: skip
    found = {tenant: _measured(app, headers, database, tenant, rounds) for tenant in tenants}
    print(json.dumps(found))


def _log_in(app):
    with app.app_context():  # but none around requests: they would share its user
        manager = app.appbuilder.sm
        admin = manager.find_role("Admin")
        made = manager.add_user(USER, "B", "M", "b@example.com", admin, password=PASSWORD)
        assert isinstance(made, User)
    login = {"username": USER, "password": PASSWORD, "provider": "db", "refresh": False}
    answer = app.test_client().post("/api/v1/security/login", json=login)
    return {"Authorization": f"Bearer {answer.json['access_token']}"}


def _made(app, headers, kind, values):
    """The id of a new object."""
    answer = app.test_client().post(f"/api/v1/{kind}/", json=values, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json["id"]


def _measured(app, headers, database, tenant, rounds):
    datasets = {
        name: _made(app, headers, "dataset", {
            "database": database, "schema": "avesa", "table_name": f"{tenant}-{name}",
            "sql": sql.format(tenant=tenant),
        })
        for name, sql in TABLES.items()
    }  # fmt: skip
    dashboard = _made(app, headers, "dashboard", {"dashboard_title": tenant})
    queries = [_query(chart, datasets) for chart in CHARTS]
    for (title, name, *_), query in zip(CHARTS, queries, strict=True):
        _made(app, headers, "chart", {
            "slice_name": title, "viz_type": "table", "datasource_id": datasets[name],
            "datasource_type": "table", "dashboards": [dashboard], "params": "{}",
            "query_context": json.dumps(query),
        })  # fmt: skip
    _page(app, headers, dashboard, queries, force=True)  # connections and the engine's caches
    times = [
        median(_page(app, headers, dashboard, queries, force=force) for _ in range(rounds))
        for force in (True, False)
    ]
    return times


def _query(chart, datasets):
    """What Superset's page sends for a chart."""
    _, name, measure, time, by_day, dimension = chart
    filters = [{"col": "closed_date", "op": "IS NULL"}] if not time else [
        {"col": time, "op": "TEMPORAL_RANGE", "val": LAST_30_DAYS}
    ]  # fmt: skip
    columns = [dimension] if dimension else []
    if by_day:
        columns = [{
            "timeGrain": "P1D", "columnType": "BASE_AXIS", "sqlExpression": time, "label": "day",
            "expressionType": "SQL",
        }]  # fmt: skip
    metric = {"expressionType": "SQL", "sqlExpression": measure, "label": measure}
    query = {
        "columns": columns, "metrics": [metric], "filters": filters, "row_limit": 1000,
        "orderby": [] if by_day else [[metric, False]], "extras": {}, "annotation_layers": [],
        "applied_time_extras": {}, "url_params": {}, "custom_params": {}, "custom_form_data": {},
    }  # fmt: skip
    return {
        "datasource": {"id": datasets[name], "type": "table"},
        "queries": [query],
        "result_format": "json",
        "result_type": "full",
    }


def _page(app, headers, dashboard, queries, *, force):
    """Seconds of the dashboard's page and of the figures of all its charts."""

    def figures(query):
        answer = app.test_client().post(
            "/api/v1/chart/data", json=query | {"force": force}, headers=headers
        )
        assert answer.status_code == 200, answer.text
        (result,) = answer.json["result"]
        assert result["error"] is None
        assert force or result["is_cached"], "warm means from its cache"

    started = perf_counter()
    shell = app.test_client().get(f"/api/v1/dashboard/{dashboard}", headers=headers)
    assert shell.status_code == 200, shell.text
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(figures, queries))
    return perf_counter() - started


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
