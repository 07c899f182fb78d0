"""The third layer of isolation: the role of the user that reads for tenants.

The role may select from the tables and parameterized views, and nothing else. Its row policies show
only the tenant that a statement names in its `log_comment`, and no row to one that names none.
`plan` compares the server with this and only reads. An administrator creates the user itself, since
its password is no business of AVESA's plans.
"""

from collections.abc import Iterator
from typing import Any

from django.conf import settings

from analytics.warehouse import ddl
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.ddl import Placement
from analytics.warehouse.errors import NotGranted, StatementFailed
from analytics.warehouse.pool import READER, pool, reader_login
from analytics.warehouse.schema import Action, Change, placement
from analytics.warehouse.sql import quote

ROLE = QUOTA = "avesa_reader"
EVERYONE, ONE_TENANT = "avesa_everyone", "avesa_tenant"
# The embedded endpoint puts its own line before the client's comment.
ROW_FILTER = r"tenant_id = (splitByChar('\n', getSetting('log_comment'))[-1])"
QUOTA_SECONDS = 60
QUOTA_LIMITS = {"queries": 30_000, "execution_time": 3_600}
MEMORY = 8 * 1024**3

_NO_USERS = (
    "this server has no users of its own: the embedded endpoint has exactly one. Leave "
    "CLICKHOUSE_READER_URL empty"
)
_NO_RIGHT = (
    "the user in CLICKHOUSE_URL may not manage roles. Grant it what docs/operations.md lists under "
    '"A user that can only read"'
)
HINT = (
    "Create a user that can only read and set CLICKHOUSE_READER_URL (docs/operations.md, "
    '"A user that can only read"); then run: manage.py warehouse_schema apply'
)
_WRITING = ("INSERT", "ALTER", "CREATE TABLE", "DROP TABLE", "TRUNCATE")


def has_users() -> bool:
    """Whether users and roles can be created on the server. False for the embedded endpoint."""
    sql = "SELECT count() FROM system.user_directories WHERE type != 'users_xml'"
    try:
        return bool(_server().value(sql))
    except NotGranted:  # a server with more than one user
        return True


def plan(at: Placement | None = None) -> list[Change]:
    """The changes to make, in order. Empty if the role is as declared, or no reader is set."""
    if not READER.is_set:
        return []
    if not has_users():
        return [Change(Action.REFUSE, ROLE, _NO_USERS)]
    try:
        return list(_changes(at or placement(), READER.address().user))
    except NotGranted as error:
        return [Change(Action.REFUSE, ROLE, f"{_NO_RIGHT}. {error}")]


def what_pages_can_write() -> str:
    """What the user with which pages read can do besides reading; empty if that is nothing.

    Empty, too, on servers without users, and on those that are too old to be asked. Raises
    WarehouseError.
    """
    if not has_users():
        return ""
    database = reader_login().address().database
    try:
        with pool(settings.CLICKHOUSE_READ_TIMEOUT, login=reader_login()).client() as client:
            granted = [
                privilege
                for privilege in _WRITING
                if client.execute(f"CHECK GRANT {privilege} ON {quote(database)}.*")[0][0]
            ]
    except StatementFailed:
        return ""
    if not granted:
        return ""
    user = reader_login().address().user
    return f"Pages read the warehouse as {user}, who may write, too ({', '.join(granted)})."


# --- What is declared


def readable(at: Placement) -> list[str]:
    """The tables and views that the role may read: not those without a tenant, for consoles."""
    views = [view.name for view in ddl.view_specs(at) if "{tenant_id:" in view.select]
    return [*_tables(), *views]


def role_settings() -> dict[str, tuple[int, int | None, int | None]]:
    """Value, minimum and maximum of each setting; without a minimum, it cannot be changed."""
    return {
        # 2, since every statement sets its filters. It cannot be lowered by a statement.
        "readonly": (2, None, None),
        "max_execution_time": (
            settings.CLICKHOUSE_READ_TIMEOUT,
            1,
            max(settings.CLICKHOUSE_READ_TIMEOUT, settings.CLICKHOUSE_LOAD_TIMEOUT),
        ),
        "max_memory_usage": (MEMORY, 1, None),  # 0 would be no limit
    }


def create_role(at: Placement, *, exists: bool = False) -> str:
    verb = "ALTER ROLE" if exists else "CREATE ROLE IF NOT EXISTS"
    assignments = (
        f"{name} = {value} {_limits(low, high)}"
        for name, (value, low, high) in role_settings().items()
    )
    return f"{verb} {quote(ROLE)}{at.on_cluster} SETTINGS {', '.join(assignments)}"


def _limits(low: int | None, high: int | None) -> str:
    if low is None:
        return "CONST"
    return f"MIN {low}" if high is None else f"MIN {low} MAX {high}"


def create_policy(at: Placement, table: str, name: str, *, exists: bool = False) -> str:
    verb = "ALTER ROW POLICY" if exists else "CREATE ROW POLICY IF NOT EXISTS"
    # A policy for some would hide every row from all others on servers that are set up so.
    rule = (
        "USING 1 AS PERMISSIVE TO ALL"
        if name == EVERYONE
        else f"USING {ROW_FILTER} AS RESTRICTIVE TO {quote(ROLE)}"
    )
    return f"{verb} {quote(name)}{at.on_cluster} ON {at.qualified(table)} FOR SELECT {rule}"


def grant_select(at: Placement) -> str:
    objects = ", ".join(f"SELECT ON {at.qualified(name)}" for name in readable(at))
    return f"GRANT{at.on_cluster} {objects} TO {quote(ROLE)} WITH REPLACE OPTION"


def create_quota(at: Placement, *, exists: bool = False) -> str:
    verb = "ALTER QUOTA" if exists else "CREATE QUOTA IF NOT EXISTS"
    limits = ", ".join(f"{name} = {most}" for name, most in QUOTA_LIMITS.items())
    return (
        f"{verb} {quote(QUOTA)}{at.on_cluster} KEYED BY user_name "
        f"FOR INTERVAL {QUOTA_SECONDS} second MAX {limits} TO {quote(ROLE)}"
    )


def grant_role(at: Placement, user: str) -> str:
    return f"GRANT{at.on_cluster} {quote(ROLE)} TO {quote(user)}"


def _tables() -> list[str]:
    return [table.name for table in ddl.table_specs()]


# --- What exists


def _changes(at: Placement, user: str) -> Iterator[Change]:
    yield from _user_changes(at, user)
    yield from _role_changes(at)
    for table in _tables():
        yield from _policy_changes(at, table)
    yield from _grant_changes(at)
    yield from _quota_changes(at)
    if not _rows("SELECT 1 FROM system.role_grants WHERE granted_role_name = {role:String} "
                 "AND user_name = {user:String}", user=user):  # fmt: skip
        yield Change(Action.ALTER, user, f"it does not have {ROLE}", grant_role(at, user))


def _user_changes(at: Placement, user: str) -> Iterator[Change]:
    if not _rows("SELECT 1 FROM system.users WHERE name = {user:String}", user=user):
        why = (
            "the user in CLICKHOUSE_READER_URL is missing. Create it first: CREATE USER "
            f"{quote(user)}{at.on_cluster} IDENTIFIED BY 'the password in CLICKHOUSE_READER_URL'"
        )
        yield Change(Action.REFUSE, user, why)
        return
    others = _rows(
        "SELECT granted_role_name FROM system.role_grants WHERE user_name = {user:String} "
        "AND granted_role_name != {role:String}",
        user=user,
    )
    own = _rows("SELECT access_type FROM system.grants WHERE user_name = {user:String}", user=user)
    if more := ", ".join(sorted({str(row[0]) for row in [*others, *own]})):
        why = f"it may do more than {ROLE} ({more}). Revoke that, or use another user"
        yield Change(Action.REFUSE, user, why)


def _role_changes(at: Placement) -> Iterator[Change]:
    if not _rows("SELECT 1 FROM system.roles WHERE name = {role:String}"):
        yield Change(Action.CREATE, ROLE, "the role is missing", create_role(at))
        return
    found = {
        name: (_number(value), _number(low), _number(high))
        for name, value, low, high in _rows(
            "SELECT setting_name, value, min, max FROM system.settings_profile_elements "
            "WHERE role_name = {role:String}"
        )
    }
    if found != role_settings():
        yield Change(Action.ALTER, ROLE, "its settings differ", create_role(at, exists=True))


def _policy_changes(at: Placement, table: str) -> Iterator[Change]:
    found = {
        name: tuple(map(str, rule))
        for name, *rule in _rows(
            "SELECT short_name, replaceOne(formatQuerySingleLine("
            "concat('SELECT ', ifNull(select_filter, '0'))), 'SELECT ', ''), "
            "is_restrictive, apply_to_all, arrayStringConcat(apply_to_list, ',') "
            "FROM system.row_policies "
            "WHERE database = {database:String} AND table = {table:String}",
            database=at.database,
            table=table,
        )
    }
    wanted = {EVERYONE: ("1", "0", "1", ""), ONE_TENANT: (ROW_FILTER, "1", "0", ROLE)}
    for name, rule in wanted.items():
        label = f"{name} on {table}"
        if name not in found:
            statement = create_policy(at, table, name)
            yield Change(Action.CREATE, label, "the row policy is missing", statement)
        elif found[name] != rule:
            statement = create_policy(at, table, name, exists=True)
            yield Change(Action.ALTER, label, "the row policy differs", statement)


def _grant_changes(at: Placement) -> Iterator[Change]:
    wanted = {("SELECT", at.database, name) for name in readable(at)}
    found = {
        tuple(map(str, row))
        for row in _rows(
            "SELECT access_type, database, if(isNull(column) AND NOT is_partial_revoke "
            "AND NOT grant_option, table, '') FROM system.grants WHERE role_name = {role:String}"
        )
    }
    if found != wanted:
        yield Change(Action.ALTER, ROLE, "its grants differ", grant_select(at))


def _quota_changes(at: Placement) -> Iterator[Change]:
    found = _rows(
        "SELECT arrayStringConcat(quota.apply_to_list, ','), quota.apply_to_all, limits.duration, "
        "limits.max_queries, limits.max_execution_time FROM system.quotas AS quota "
        "LEFT JOIN system.quota_limits AS limits ON limits.quota_name = quota.name "
        "WHERE quota.name = {role:String}"
    )
    wanted = (ROLE, 0, QUOTA_SECONDS, *QUOTA_LIMITS.values())
    if not found:
        yield Change(Action.CREATE, QUOTA, "the quota is missing", create_quota(at))
    elif found != [wanted]:
        yield Change(Action.ALTER, QUOTA, "the quota differs", create_quota(at, exists=True))


def _number(text: Any) -> int | None:
    return None if text is None else int(float(text))


def _rows(sql: str, **params: str) -> list[Any]:
    return _server().rows(sql, {"role": ROLE, **params})


def _server() -> WarehouseClient:
    return WarehouseClient("default", seconds=settings.CLICKHOUSE_READ_TIMEOUT)
