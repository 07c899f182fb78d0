"""The user that reads for tenants: the engine parses every statement, and what the embedded engine
can hold of the role is set up in its users file and used through the product's own reader."""

import pytest
from django.core.cache import cache
from django.core.checks import run_checks
from django.core.management import CommandError, call_command

from analytics.metrics import METRICS, run_metric
from analytics.periods import Period
from analytics.tests.test_isolation import ATTACKS, TABLE_NAMES, both  # noqa: F401
from analytics.tests.versions import at
from analytics.warehouse import ddl, pool, reader_role, schema, tenant_reader
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.embedded.process import EmbeddedClickHouse
from analytics.warehouse.errors import AuthenticationFailed, WarehouseError
from analytics.warehouse.reader_role import ROLE
from analytics.warehouse.schema import Action
from analytics.warehouse.tenant_reader import TenantReader
from avesa_site.doctor import checks as doctor
from common.spreadsheets import Column, Sheet
from loaders.models import LoadJob
from loaders.tests.histories import deliver, history, remove, row

AT = ddl.Placement("avesa")
CONFIG = "<clickhouse><users_config>{users}</users_config></clickhouse>"


def statements(where):
    tables = [table.name for table in ddl.table_specs()]
    return [
        *(reader_role.create_role(where, exists=exists) for exists in (False, True)),
        *(reader_role.create_quota(where, exists=exists) for exists in (False, True)),
        *(
            reader_role.create_policy(where, table, name, exists=exists)
            for table in tables
            for name in (reader_role.EVERYONE, reader_role.ONE_TENANT)
            for exists in (False, True)
        ),
        reader_role.grant_select(where),
        reader_role.grant_role(where, "pages of avesa"),
    ]


@pytest.mark.parametrize("cluster", ["", "prod"])
def test_the_engine_parses_every_statement(warehouse, cluster):
    for statement in statements(ddl.Placement("avesa", cluster)):
        assert warehouse.rows(f"EXPLAIN AST {statement}")
        assert ("ON CLUSTER `prod`" in statement) == bool(cluster)


def test_each_table_has_policies_and_views_without_a_tenant_are_not_granted():
    text = "\n".join(statements(AT))
    for name in TABLE_NAMES:
        assert f"`{reader_role.ONE_TENANT}` ON `avesa`.`{name}`" in text
        assert f"SELECT ON `avesa`.`{name}`" in text
    assert "tickets_as_of" in text
    assert "_current`" not in text


def test_without_a_reader_nothing_is_planned(warehouse):
    assert reader_role.plan() == []
    call_command("warehouse_schema", "check")


def test_the_embedded_endpoint_refuses_a_reader_clearly(warehouse, settings, capsys):
    settings.CLICKHOUSE_READER_URL = settings.CLICKHOUSE_URL.replace("default@", "pages@")
    (change,) = reader_role.plan()
    assert change.action is Action.REFUSE
    with pytest.raises(CommandError, match="Nothing was changed"):
        call_command("warehouse_schema", "apply")
    assert "exactly one" in capsys.readouterr().out


def test_a_reader_that_is_refused_names_its_own_setting(tmp_path, settings, acme):
    with EmbeddedClickHouse(tmp_path, password="right") as process:
        settings.CLICKHOUSE_URL = f"clickhouse://default:right@127.0.0.1:{process.port}/default"
        settings.CLICKHOUSE_READER_URL = settings.CLICKHOUSE_URL.replace("right", "wrong")
        assert WarehouseClient().rows("SELECT 1") == [(1,)]
        with pytest.raises(AuthenticationFailed, match="CLICKHOUSE_READER_URL"):
            TenantReader(acme).select("SELECT 1")


# --- On the engine, with the role in its users file


@pytest.fixture
def start(tmp_path, settings):
    """Start an endpoint whose only user has the given rights; on the same data each time."""
    running = []

    def start(users=""):
        for process in running:
            process.stop()
        pool.close_all()
        running.clear()
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        if users:
            (folder / "users.xml").write_text(users)
            (folder / "config.xml").write_text(CONFIG.format(users=folder / "users.xml"))
        running.append(EmbeddedClickHouse(folder))
        settings.CLICKHOUSE_URL = f"clickhouse://default@127.0.0.1:{running[0].port}/avesa"
        return WarehouseClient()

    yield start
    pool.close_all()
    for process in running:
        process.stop()


@pytest.fixture
def warehouse(request, start):
    """AVESA's schema on an endpoint of this test's own; else the shared one."""
    if "as_reader" not in request.fixturenames:
        return request.getfixturevalue("shared_warehouse")
    client = start()
    schema.apply(schema.plan())
    return client


@pytest.fixture
def shared_warehouse(endpoint, _schema, settings):
    settings.CLICKHOUSE_URL = f"clickhouse://default@127.0.0.1:{endpoint.port}/avesa"
    return WarehouseClient()


@pytest.fixture
def figures_as_owner(both):  # noqa: F811
    return figures_of(both)


@pytest.fixture
def as_reader(both, figures_as_owner, start):  # noqa: F811
    """Both tenants' rows, and from now on the user has what the role has."""
    start(users_file())
    cache.clear()
    return both


def figures_of(tenant):
    period = Period(at("2026-06-01").date(), at("2026-06-02").date(), tenant.zone)
    return {name: run_metric(tenant, name, period).figure for name in METRICS}


def users_file(rule=reader_role.ROW_FILTER, *, is_limited=True):
    """The role's grants, settings and row filters for the one user of the engine."""
    grant = reader_role.grant_select(AT).removesuffix(f" TO `{ROLE}` WITH REPLACE OPTION")
    values = "".join(
        f"<{name}>{value}</{name}>" for name, (value, _, _) in reader_role.role_settings().items()
    )
    limits = "".join(
        f"<{name}>{'<const/>' if low is None else f'<min>{low}</min>'}</{name}>"
        for name, (_, low, _) in reader_role.role_settings().items()
    )
    filters = "".join(f"<{name}><filter>{rule}</filter></{name}>" for name in TABLE_NAMES)
    if not is_limited:
        values = limits = ""
        grant = "GRANT ALL ON *.*"
    return f"""<clickhouse>
        <profiles><default>{values}<constraints>{limits}</constraints></default></profiles>
        <quotas><default></default></quotas>
        <users><default>
            <password></password><networks><ip>::/0</ip></networks>
            <profile>default</profile><quota>default</quota>
            <grants><query>{grant}</query></grants>
            <databases><avesa>{filters}</avesa></databases>
        </default></users>
    </clickhouse>"""


def test_the_role_is_enough_for_every_metric(as_reader, figures_as_owner):
    assert figures_of(as_reader) == figures_as_owner
    assert len(set(figures_as_owner.values())) > 1
    assert TenantReader(as_reader).select(
        "SELECT value FROM load_rejects_of(tenant_id = {tenant_id:String})"
    ).values == [("mine",)]
    sql = "SELECT DISTINCT ticket_id FROM tickets_history(tenant_id = {tenant_id:String})"
    sheet = Sheet("Tickets", [Column("ticket_id")], ())
    with TenantReader(as_reader).table_file(sql, {}, sheet, "csv") as file:
        assert file.read().decode("utf-8-sig").split() == ["ticket_id", "mine"]


def test_row_policies_alone_keep_tenants_apart(as_reader, monkeypatch):
    """Layers 1 and 2 disabled: statements that read the tables directly, without filters."""
    monkeypatch.setattr(tenant_reader, "is_scoped", lambda sql, tables: True)
    monkeypatch.setattr(tenant_reader, "tenant_filters", lambda tenant_id: "{}")
    for table in TABLE_NAMES:
        for attack in ATTACKS:
            rows = TenantReader(as_reader).select(attack.format(t=table)).values
            assert {row[0] for row in rows} == {as_reader.id}, attack
    rows = TenantReader(as_reader).select("SELECT tenant_id FROM shared_tickets").values
    assert len(rows) == 2


def test_a_statement_that_names_no_tenant_sees_no_rows(as_reader):
    for table in TABLE_NAMES:
        assert WarehouseClient().rows(f"SELECT * FROM {table}") == []
        assert WarehouseClient().value(f"SELECT count() FROM {table}") == 0
    assert WarehouseClient().rows("SELECT tenant_id FROM merge('avesa', '^shared_')") == []


FORBIDDEN = [
    "INSERT INTO shared_tickets (tenant_id, ticket_id) VALUES ('x', '1')",
    "INSERT INTO shared_tickets (tenant_id, ticket_id) SELECT 'x', '1'",
    "ALTER TABLE shared_tickets DROP PARTITION 'x'",
    "TRUNCATE TABLE shared_tickets",
    "DROP VIEW tickets_as_of",
    "CREATE TABLE mine (x UInt8) ENGINE = Memory",
    "OPTIMIZE TABLE shared_tickets",
    "SELECT * FROM tickets_current",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
]


def test_the_role_can_do_nothing_else(as_reader):
    for sql in FORBIDDEN:
        with pytest.raises(WarehouseError, match=r"ACCESS_DENIED|READONLY|privileges"):
            WarehouseClient().run(sql, readonly=2)
    for change in ("readonly = 0", "max_memory_usage = 0", "max_execution_time = 0"):
        with pytest.raises(WarehouseError, match=r"READONLY|CONSTRAINT|should"):
            WarehouseClient().run(f"SELECT 1 SETTINGS {change}")


def test_pages_that_could_write_are_reported(as_reader, monkeypatch, start):
    monkeypatch.setattr(reader_role, "has_users", lambda: True)
    assert reader_role.what_pages_can_write() == ""
    assert not any(each.id == "avesa.W003" for each in run_checks())
    start(users_file(is_limited=False))
    assert "default, who may write, too (INSERT, ALTER" in reader_role.what_pages_can_write()
    (warning,) = (each for each in run_checks() if each.id == "avesa.W003")
    assert "CLICKHOUSE_READER_URL" in warning.hint
    found = {each.part: each for each in doctor.examine([])}
    assert not found["warehouse for pages"].is_ok


def test_loads_work_on_tables_with_policies_for_everyone(start, acme, lake):
    start()
    schema.apply(schema.plan())
    start(users_file(rule="1", is_limited=False))
    for name, status in (("a.jsonl", "A"), ("b.jsonl", "B")):
        deliver(lake, acme, name, row(status, 1 if status == "A" else 2))
    assert history(acme) == [("A", 1, 2), ("B", 2, None)]
    remove(lake, acme, "a.jsonl")
    remove(lake, acme, "b.jsonl")
    deliver(lake, acme, "c.jsonl", row("C", 3), kind=LoadJob.Kind.REFRESH)
    deliver(lake, acme, "d.jsonl", row("D", 4), kind=LoadJob.Kind.BULK)
    assert [status for status, _, _ in history(acme)] == ["C", "D"]


# --- What the plan compares with


OWNER = """<default>
    <password></password><networks><ip>::/0</ip></networks>
    <profile>default</profile><quota>default</quota><access_management>1</access_management>
</default>"""


@pytest.fixture
def server(start, settings, monkeypatch):
    """Start an endpoint with the given users besides the owner, and take it for a server."""
    monkeypatch.setattr(reader_role, "has_users", lambda: True)

    def server(users="", roles="", quotas=""):
        start(f"""<clickhouse>
            <profiles><default></default></profiles>
            <quotas><default></default>{quotas}</quotas>
            <roles>{roles}</roles>
            <users>{OWNER}{users}</users>
        </clickhouse>""")
        settings.CLICKHOUSE_READER_URL = settings.CLICKHOUSE_URL.replace("default@", "pages@")

    return server


def user(grants):
    lines = "".join(f"<query>{grant}</query>" for grant in grants)
    return f"<pages><password></password><grants>{lines}</grants></pages>"


def test_everything_is_planned_on_an_empty_server(server):
    server(
        users=user([]).replace(
            "<grants></grants>", "<grants><query>REVOKE ALL ON *.*</query></grants>"
        )
    )
    changes = reader_role.plan()
    assert [change.action for change in changes if change.name == "pages"] == [Action.ALTER]
    planned = [change.statement for change in changes]
    assert planned == [
        reader_role.create_role(AT),
        *(
            reader_role.create_policy(AT, table, name)
            for table in TABLE_NAMES
            for name in (reader_role.EVERYONE, reader_role.ONE_TENANT)
        ),
        reader_role.grant_select(AT),
        reader_role.create_quota(AT),
        reader_role.grant_role(AT, "pages"),
    ]


def test_a_missing_user_is_explained(server):
    server()
    (first, *_) = reader_role.plan()
    assert first.action is Action.REFUSE
    assert "CREATE USER `pages` IDENTIFIED BY" in first.why


def test_a_user_who_may_do_more_is_refused(server):
    server(users=user(["GRANT INSERT ON avesa.*", "GRANT SELECT ON avesa.tickets_current"]))
    (first, *_) = reader_role.plan()
    assert first.action is Action.REFUSE
    assert "INSERT, SELECT" in first.why


def test_what_matches_is_not_planned_again(server):
    grant = reader_role.grant_select(AT).removesuffix(f" TO `{ROLE}` WITH REPLACE OPTION")
    limits = "".join(f"<{name}>{most}</{name}>" for name, most in reader_role.QUOTA_LIMITS.items())
    server(
        users=user([f"GRANT {ROLE}"]),
        roles=f"<{ROLE}><grants><query>{grant}</query></grants></{ROLE}>",
        quotas=f"<{ROLE}><interval><duration>{reader_role.QUOTA_SECONDS}</duration>{limits}"
        f"</interval></{ROLE}>",
    )
    labels = [str(change) for change in reader_role.plan() if " on " not in change.name]
    # A users file can neither limit a role's settings nor give a role a quota.
    assert labels == [
        f"alter    {ROLE}: its settings differ",
        f"alter    {ROLE}: the quota differs",
    ]
