"""A tenant never sees another's rows: each layer protects alone when the other is disabled."""

import re
from pathlib import Path

import pytest

import analytics
from analytics.dashboards.choices import choices
from analytics.metrics import (
    DIMENSIONS,
    METRICS,
    Aggregate,
    MetricQuery,
    freshness,
    names,
    run_metrics,
)
from analytics.metrics.differences import Moment, differences
from analytics.metrics.statement import figures_statement
from analytics.periods import Period
from analytics.records import listing, relations
from analytics.records import names as record_names
from analytics.tests.versions import at, company, exported, log_load, ticket
from analytics.warehouse import sql, tenant_reader
from analytics.warehouse.catalog import CONTACTS, LOG_TABLES, TABLES, TICKETS
from analytics.warehouse.sql import SCOPE, tenant_rows
from analytics.warehouse.tenant_reader import RefusedStatement, TenantReader
from loaders.tests.thoroughness import THOROUGH
from tenants.models import ApiToken, Tenant

TABLE_NAMES = [table.shared_name for table in TABLES.values()] + [log.name for log in LOG_TABLES]
VIEW_NAMES = [f"{table}_{suffix}" for table in TABLES for suffix in ("as_of", "history")]
JULY_1 = "'2026-07-01 00:00:00.000'"
ARGUMENTS = {"as_of": f", as_of = {JULY_1}"}
# Metrics that read each feed of each source.
OF_EACH_SOURCE = list(METRICS) if THOROUGH else [
    "sla_met", "tickets_opened", "reopened", "backlog", "utilization", "companies_lost",
    "companies_new", "contacts_per_company",
]  # fmt: skip
STATEMENTS = sorted(Path(analytics.__file__).parent.rglob("*.sql"))


@pytest.fixture
def both(acme, globex, put_rows, warehouse):
    """Each tenant has a row in every table; acme's are called mine, globex's theirs."""
    for tenant, word in ((acme, "mine"), (globex, "theirs")):
        put_rows(tenant, "companies", [company(word, name=word, is_active=True)])
        closed = ticket(
            word, "2026-06-01", created_date="2026-06-01", closed_date="2026-06-01", priority=word
        )
        put_rows(
            tenant,
            "tickets",
            [ticket(word, "2026-01-01", "2026-06-01"), closed],
        )
        put_rows(tenant, "contacts", [{"contact_id": word, **_valid()}])
        put_rows(tenant, "time_entries", [{"entry_id": word, **_valid()}])
        log_load(warehouse, tenant, "companies")
        warehouse.insert(
            "load_rejects",
            ["tenant_id", "table_name", "load_id", "value"],
            [[tenant.id], ["companies"], [1], [word]],
        )
    return acme


def _valid():
    return {"effective_date": at("2026-01-01"), "expiry_date": at("2999-01-01"), "is_current": True}


@pytest.fixture
def no_filters(monkeypatch):
    """Layer 2 disabled."""
    monkeypatch.setattr(tenant_reader, "tenant_filters", lambda tenant_id: "{}")


@pytest.fixture(params=[True, False], ids=["with filters", "filters knocked out"])
def filters(request):
    if not request.param:
        request.getfixturevalue("no_filters")


@pytest.mark.usefixtures("filters")
@pytest.mark.parametrize("view", VIEW_NAMES)
def test_views_alone_keep_tenants_apart(both, view):
    more = next((text for end, text in ARGUMENTS.items() if view.endswith(f"_{end}")), "")
    key = next(table.key for table in TABLES.values() if view.startswith(f"{table.name}_"))
    sql = f"SELECT DISTINCT {key} FROM {view}(tenant_id = {{tenant_id:String}}{more})"
    assert TenantReader(both).select(sql).values == [("mine",)]


@pytest.mark.usefixtures("filters")
@pytest.mark.parametrize("name", METRICS)
def test_metrics_count_one_tenants_rows(both, name):
    period = Period(at("2026-06-01").date(), at("2026-06-02").date(), both.zone)
    dimensions = METRICS[name].dimensions[: None if THOROUGH else 2]
    queries = [MetricQuery.named(name, (each,)) for each in dimensions]
    for _, result in run_metrics(both, queries, period):
        parts = [figure for part in result.parts for figure in (part.figure, part.previous)]
        counts = [result.figure, result.previous, *parts, *(figure for _, figure in result.series)]
        if result.metric.aggregate is Aggregate.COUNT:
            assert max(counts) <= 1
        ordered = [label for dimension in result.by for _, label in dimension.labels]
        assert {part.label for part in result.parts} <= {"", *ordered, "mine"}
        assert all(f.load_id == 12 and both.id in f.newest_file for f in result.freshness)


@pytest.fixture(params=["no filters", "no scope"])
def one_layer(request, monkeypatch):
    """One layer knocked out: the filters, or the condition on the tenant in `tenant_rows`."""
    if request.param == "no filters":
        request.getfixturevalue("no_filters")
    else:
        monkeypatch.setattr(sql, "SCOPE", " WHERE true AND (")


@pytest.mark.usefixtures("one_layer")
@pytest.mark.parametrize("name", OF_EACH_SOURCE)
def test_differences_name_one_tenants_records(both, name):
    """Between now and a moment before any row took effect, and one before any was loaded."""
    period = Period(at("2026-06-01").date(), at("2026-06-02").date(), both.zone)
    has_company = "company" in METRICS[name].dimensions
    filters = {"company": ["mine", "~"]} if has_company else {}
    by_effect = differences(both, name, period, Moment(at("2025-12-01")), filters=filters)
    by_load = differences(both, name, period, Moment(at("2026-06-02"), at("1960-01-01")))
    for found in (by_effect, by_load):
        assert {record.key for record in found.records} <= {"mine"}
        assert found.affected == len(found.records) <= len(METRICS[name].tables)


@pytest.mark.usefixtures("filters")
def test_explore_sees_one_tenants_records(both):
    everything = [listing.listing(table) for table in TABLES.values()]
    period = Period(at("2026-06-01").date(), at("2026-06-02").date(), both.zone)
    for metric in METRICS.values():
        of = listing.DrillDown(metric, period)
        everything.append(listing.listing(TABLES[metric.tables[0]], drill_down=of))
    for wanted in everything:
        keys = {row[wanted.table.key] for row in listing.page(both, wanted).rows}
        assert keys <= {"mine"}
        if wanted.drill_down and wanted.drill_down.metric.name not in ("backlog", "leader_board"):
            continue  # the others read the same way
        assert listing.count(both, wanted) == len(keys)
        assert len(exported(both, wanted)) == len(keys)
        assert sum(each["records"] for each in listing.sources(both, wanted)) == len(keys)


@pytest.mark.usefixtures("filters")
def test_lists_of_a_page_and_names_of_records_are_one_tenants(both):
    columns = [(TICKETS, "priority"), (CONTACTS, "contact_id")]
    assert [each.count for each in relations.belonging(both, columns, "mine")] == [1, 1]
    assert [each.count for each in relations.belonging(both, columns, "theirs")] == [0, 0]
    assert record_names.titles_of(both, TICKETS, ["mine", "theirs"]) == {"mine": "Ticket mine"}


@pytest.mark.usefixtures("filters")
def test_choices_have_one_tenants_names(both):
    assert choices(both, ())["company"] == [("mine", "mine")]


# --- The query door, over HTTP


@pytest.fixture
def no_scoped_rows(monkeypatch):
    """Layer 1 disabled in the statements that are built: their rows are not limited to a tenant."""
    monkeypatch.setattr(sql, "SCOPE", " WHERE ({tenant_id:String} != '') AND (")
    for module in (names, freshness):
        monkeypatch.setattr(module, "_SQL", module._SQL.replace(SCOPE, sql.SCOPE))
    figures_statement.cache_clear()
    yield
    figures_statement.cache_clear()


@pytest.fixture(params=["both layers", "no_filters", "no_scoped_rows"])
def layers(request):
    if request.param != "both layers":
        request.getfixturevalue(request.param)


# What is asked, and the first metric of one tenant's rows.
OVER_TIME = {"metric": ["tickets_opened", "resolution_p90"], "by": "priority", "buckets": "day"}
DOORS = [
    ({"metric": "tickets_opened"}, 1),
    ({"metric": ["tickets_opened", "tickets_closed"], "by": ["priority", "company"]}, 1),
    (OVER_TIME | {"limit": 1}, 1),
    ({"metric": ["companies_active", "backlog"], "by": "company"}, 1),
    ({"metric": ["tickets_opened", "resolution_median"], "by": "priority", "limit": 1}, 1),
    ({"metric": "tickets_opened", "by": "priority", "priority": ["mine", "theirs"]}, 1),
    ({"metric": "tickets_opened", "by": "priority", "priority!": "mine"}, 0),
    ({"metric": "companies_total", "by": "company", "company": "theirs"}, 0),
]
DAYS = {"start": "2026-05-30", "end": "2026-06-02"}


@pytest.fixture
def query(client, both):
    headers = {"Authorization": f"Bearer {ApiToken.issue(both, 'test')[1]}"}

    def answer(path, **parameters):
        found = client.get(f"/api/v1/tenants/{both.id}/{path}", parameters, headers=headers)
        assert found.status_code == 200, found.content
        return found

    return answer


@pytest.mark.parametrize(("door", "figure"), DOORS, ids=str)
@pytest.mark.usefixtures("layers")
def test_queries_have_one_tenants_rows(query, both, door, figure):
    found = query("query", **DAYS | door).json()
    first = found["metrics"][0]["name"]
    assert found["total"]["figures"][first] == figure
    assert sum(row["figures"][first] for row in found["rows"]) == figure
    assert found["other"] is None
    assert all(row["values"] in ([], ["mine"], ["mine", ""]) for row in found["rows"])
    assert {each["file"] for each in found["freshness"]} <= {"companies-12.parquet"}
    assert "theirs" not in query("query", **DAYS | door, format="csv").getvalue().decode()


@pytest.mark.usefixtures("layers")
def test_values_of_dimensions_are_one_tenants(query):
    for name in DIMENSIONS:
        assert "theirs" not in query(f"dimensions/{name}").content.decode()
    found = query("dimensions/company", q="i").json()  # as in mine and in theirs
    assert [each["value"] for each in found] == ["mine"]


@pytest.mark.usefixtures("layers")
def test_changes_have_one_tenants_rows(query):
    for name in OF_EACH_SOURCE:
        assert "theirs" not in query(f"metrics/{name}/changes", **DAYS).content.decode()


@pytest.mark.usefixtures("no_filters", "no_scoped_rows")
def test_without_both_layers_the_tests_of_queries_would_fail(query):
    found = query("query", metric="tickets_opened", by="priority", **DAYS).json()
    assert {row["values"][0] for row in found["rows"]} >= {"mine", "theirs"}
    assert "theirs" in query("dimensions/company").content.decode()


@pytest.fixture
def no_scope(monkeypatch):
    """Layer 1 disabled."""
    monkeypatch.setattr(tenant_reader, "is_scoped", lambda sql, tables: True)


ATTACKS = [
    "SELECT tenant_id FROM {t}",
    "SELECT tenant_id FROM {t} WHERE tenant_id = {{tenant_id:String}} OR 1 = 1",
    "SELECT tenant_id FROM {t} WHERE tenant_id IN (SELECT tenant_id FROM {t})",
    "SELECT b.tenant_id FROM {t} AS a CROSS JOIN {t} AS b",
    "WITH x AS (SELECT * FROM {t}) SELECT tenant_id FROM x UNION ALL SELECT tenant_id FROM x",
    "SELECT tenant_id FROM avesa.{t}",
    "SELECT tenant_id FROM (SELECT * FROM {t} AS renamed)",
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("table", TABLE_NAMES)
def test_tables_are_read_only_through_tenant_rows(both, table, attack):
    with pytest.raises(RefusedStatement, match="tenant_rows"):
        TenantReader(both).select(attack.format(t=table))


@pytest.mark.parametrize(
    ("where", "more"),
    [
        ("true) OR (true", ""),
        ("company_id = ')') OR (true", ""),
        ("true", " OR true"),
        ("true", " UNION ALL SELECT company_id FROM shared_companies"),
    ],
)
def test_nothing_lifts_the_scope_of_a_tenants_rows(both, where, more):
    rows = tenant_rows("shared_companies", "company_id", where, more)
    with pytest.raises(RefusedStatement, match="tenant_rows"):
        TenantReader(both).select(f"SELECT company_id FROM {rows}")


@pytest.mark.usefixtures("filters")
def test_rows_of_a_tenant(both):
    rows = tenant_rows("shared_companies", "company_id", "name != ')' OR true")
    assert TenantReader(both).select(f"SELECT company_id FROM {rows}").values == [("mine",)]


@pytest.mark.usefixtures("no_scope")
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("table", TABLE_NAMES)
def test_filters_alone_keep_tenants_apart(both, table, attack):
    rows = TenantReader(both).select(attack.format(t=table)).values
    assert {row[0] for row in rows} == {both.id}


@pytest.mark.parametrize("table", TABLES)
def test_filters_hold_inside_views_without_a_tenant(both, table):
    rows = TenantReader(both).select(f"SELECT tenant_id FROM {table}_current").values
    assert rows == [(both.id,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM shared_tickets SETTINGS additional_table_filters = {}",
        "SELECT * FROM (SELECT * FROM shared_tickets settings additional_table_filters={})",
        "SELECT 1; SELECT * FROM shared_tickets",
        "SELECT 1 AS additional_table_filters",
    ],
)
def test_statements_that_could_lift_the_filters_are_refused(both, sql):
    with pytest.raises(RefusedStatement):
        TenantReader(both).select(sql)


@pytest.mark.usefixtures("no_scope")
@pytest.mark.parametrize("sql", ["DROP TABLE shared_tickets", "TRUNCATE TABLE shared_tickets"])
def test_a_reader_cannot_write(both, sql, warehouse):
    with pytest.raises(Exception, match="readonly"):
        TenantReader(both).select(sql)
    assert warehouse.value("SELECT count() > 0 FROM shared_tickets")


@pytest.mark.parametrize(
    "tenant", [None, "acme", Tenant(), Tenant(id="a' OR 1=1 --"), Tenant(id="A")]
)
def test_a_reader_needs_a_valid_tenant(tenant):
    with pytest.raises(RefusedStatement):
        TenantReader(tenant)


def test_a_caller_cannot_bind_another_tenant(both, globex):
    sql = "SELECT tenant_id FROM companies_history(tenant_id = {tenant_id:String})"
    rows = TenantReader(both).select(sql, {"tenant_id": globex.id}).values
    assert rows == [(both.id,)]


# --- Every statement that ships

ALLOWED = re.compile(rf"(?:{'|'.join([*VIEW_NAMES, 'load_log_of', 'load_rejects_of'])})\s*\(")


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.name)
def test_shipped_statements_read_only_the_tenants_views(path):
    text = re.sub(r"--.*", "", path.read_text())
    sources = re.findall(r"\b(?:FROM|JOIN)\s+(\w[\w.]*\s*\(?)", text)
    assert sources
    assert [source for source in sources if not ALLOWED.fullmatch(source)] == []
    calls = re.findall(ALLOWED.pattern + r"\s*tenant_id = \{tenant_id:String\}", text)
    assert len(calls) == len(sources)
    forbidden = (
        r"shared_|_current\b|\bmerge\s*\(|dictGet|joinGet|\bSETTINGS\b|\bs3\(|\bfile\(|remote"
    )
    assert not re.search(forbidden, text)


def test_the_scan_would_find_a_leak():
    assert not ALLOWED.fullmatch("shared_tickets")
    assert not ALLOWED.fullmatch("tickets_current")
    assert ALLOWED.fullmatch("tickets_as_of(")
