"""The schema command on the real engine, with one database per test."""

import itertools

import pytest
from django.core.management import CommandError, call_command

from analytics.warehouse import catalog, ddl, schema
from analytics.warehouse.catalog import Alias, Column, Kind
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.schema import Action, SchemaRefused

_numbers = itertools.count(1)


@pytest.fixture
def database(endpoint, settings):
    """The name of a database that does not exist yet; settings point to it."""
    name = f"schema_{next(_numbers)}"
    settings.CLICKHOUSE_URL = f"clickhouse://default@127.0.0.1:{endpoint.port}/{name}"
    return name


@pytest.fixture
def applied(database):
    schema.apply(schema.plan())
    return WarehouseClient()


def test_the_second_plan_is_empty(database):
    first = schema.plan()
    assert {change.action for change in first} == {Action.CREATE}
    schema.apply(first)
    assert schema.plan() == []


def test_applying_a_plan_twice_changes_nothing(database):
    first = schema.plan()
    schema.apply(first)
    schema.apply(first)
    assert schema.plan() == []


def test_the_views_of_the_specification_are_there(applied):
    for name in ("companies", "contacts", "tickets", "time_entries"):
        columns = [row[0] for row in applied.rows(f"DESCRIBE {name}_current")]
        assert "effective_start_date" in columns
        assert applied.rows(f"SELECT count() FROM {name}_as_of(tenant_id='x', as_of='2026-01-01')")


def test_a_missing_column_is_added_with_its_views(applied, monkeypatch):
    applied.run("INSERT INTO shared_companies (tenant_id, company_id) VALUES ('acme', '1')")
    companies = catalog.TABLES["companies"]
    grown = catalog.Table(
        companies.name,
        companies.key,
        companies.changed_at,
        (*companies.columns, Column("nickname", Kind.TEXT, "Nickname.", (Alias("nick"),))),
        companies.doc,
    )
    monkeypatch.setitem(catalog.TABLES, "companies", grown)
    changes = schema.plan()
    assert [(c.action, c.name) for c in changes] == [
        (Action.ALTER, "shared_companies.nickname"),
        (Action.REPLACE, "companies_current"),
        (Action.REPLACE, "companies_as_of"),
        (Action.REPLACE, "companies_history"),
    ]
    schema.apply(changes)
    assert schema.plan() == []
    assert applied.rows("SELECT nickname FROM shared_companies") == [(None,)]


@pytest.mark.parametrize(
    ("statement", "object_name", "word"),
    [
        (
            "ALTER TABLE shared_tickets MODIFY COLUMN summary LowCardinality(Nullable(String))",
            "shared_tickets.summary",
            "type",
        ),
        ("ALTER TABLE shared_tickets ADD COLUMN mystery String", "shared_tickets.mystery", "drop"),
        (
            "ALTER TABLE shared_tickets MODIFY COLUMN expiry_date REMOVE DEFAULT",
            "shared_tickets.expiry_date",
            "default",
        ),
    ],
)
def test_differences_that_would_lose_data_are_refused_and_explained(
    applied, statement, object_name, word
):
    applied.run(statement)
    (change,) = schema.plan()
    assert (change.action, change.name, change.statement) == (Action.REFUSE, object_name, "")
    assert word in change.why
    with pytest.raises(SchemaRefused, match=object_name):
        schema.apply([change])


def test_another_engine_or_key_is_refused(applied):
    applied.run("DROP TABLE load_log")
    applied.run(
        "CREATE TABLE load_log (tenant_id LowCardinality(String)) ENGINE = MergeTree "
        "ORDER BY tuple()"
    )
    refused = [change for change in schema.plan() if change.action is Action.REFUSE]
    assert any("engine" in change.why for change in refused)
    assert any("sorting key" in change.why for change in refused)


def test_nothing_is_done_when_a_part_is_refused(applied):
    applied.run("ALTER TABLE shared_tickets ADD COLUMN mystery String")
    applied.run("DROP VIEW tickets_current")
    with pytest.raises(SchemaRefused):
        schema.apply(schema.plan())
    assert not applied.rows(
        "SELECT 1 FROM system.tables WHERE database = currentDatabase() "
        "AND name = 'tickets_current'"
    )


def test_a_changed_view_is_repaired_and_an_unknown_one_is_kept(applied):
    applied.run("CREATE OR REPLACE VIEW tickets_current AS SELECT 1 AS x")
    applied.run("CREATE VIEW stray AS SELECT 1 AS x")
    assert [(c.action, c.name) for c in schema.plan()] == [
        (Action.REPLACE, "tickets_current"),
    ]
    schema.apply(schema.plan())
    assert schema.plan() == []
    assert applied.rows("SELECT x FROM stray") == [(1,)]


def test_check_exits_non_zero_on_drift_and_shows_it(applied, capsys):
    call_command("warehouse_schema", "check")
    applied.run("DROP VIEW tickets_current")
    with pytest.raises(CommandError, match="Differences: 1"):
        call_command("warehouse_schema", "check")
    assert "tickets_current" in capsys.readouterr().out


def test_apply_shows_its_plan_and_plan_only_shows(database, capsys):
    call_command("warehouse_schema", "plan")
    assert "CREATE DATABASE" in capsys.readouterr().out
    assert schema.plan()
    call_command("warehouse_schema", "apply")
    out = capsys.readouterr().out
    assert out.index("CREATE DATABASE") < out.index("Changes applied")
    assert schema.plan() == []


def test_the_engine_parses_the_cluster_statements(warehouse):
    at = ddl.Placement("avesa", "prod")
    table = ddl.table_specs()[0]
    statements = [
        ddl.create_database(at),
        *(ddl.create_table(spec, at) for spec in ddl.table_specs()),
        *(ddl.create_view(spec, at) for spec in ddl.view_specs(at)),
        ddl.add_column(table, table.columns[1], at),
    ]
    for statement in statements:
        assert "ON CLUSTER `prod`" in statement
        assert warehouse.rows(f"EXPLAIN AST {statement}")
    assert "ReplicatedMergeTree" in statements[1]
    assert any("ReplicatedReplacingMergeTree" in statement for statement in statements)
