"""Compares the warehouse with the catalog and applies the differences.

`plan` only reads. `apply` runs the statements of a plan. Changes that would lose or rewrite data
are refused with an explanation.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.conf import settings

from analytics.warehouse import ddl
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.ddl import ColumnSpec, Placement, TableSpec, ViewSpec
from analytics.warehouse.pool import address


class Action(Enum):
    CREATE = "create"
    ALTER = "alter"
    REPLACE = "replace"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Change:
    """One difference: the object, the reason, and the statement that resolves it, if allowed."""

    action: Action
    name: str
    why: str
    statement: str = ""

    def __str__(self) -> str:
        return f"{self.action.value:8} {self.name}: {self.why}"


class SchemaRefused(Exception):
    """The plan has differences that must be resolved by hand."""


@dataclass(frozen=True)
class _Existing:
    """The rows of system.tables and system.columns for one database, by object name."""

    tables: dict[str, dict[str, Any]]
    columns: dict[str, dict[str, tuple[str, str]]]


def placement() -> Placement:
    return Placement(address().database, settings.CLICKHOUSE_CLUSTER)


def _server() -> WarehouseClient:
    """For statements with qualified names; `default` exists before our database does."""
    return WarehouseClient("default")


def _inspector() -> WarehouseClient:
    """The same for quick reads, with the short timeout."""
    return WarehouseClient("default", seconds=settings.CLICKHOUSE_READ_TIMEOUT)


def plan(at: Placement | None = None) -> list[Change]:
    """The changes to make, in order; empty if the warehouse matches the catalog."""
    at = at or placement()
    existing = _existing(at)
    changes: list[Change] = []
    if existing is None:
        changes.append(
            Change(Action.CREATE, at.database, "the database is missing", ddl.create_database(at))
        )
        existing = _Existing({}, {})
    for table in ddl.table_specs():
        changes += _table_changes(table, existing, at)
    changes += _view_changes(ddl.view_specs(at), existing, at)
    return changes


def apply(changes: Iterable[Change]) -> None:
    """Run the plan. Raises SchemaRefused, before any change, if part of it is refused."""
    changes = list(changes)
    refused = [change for change in changes if change.action is Action.REFUSE]
    if refused:
        raise SchemaRefused("\n".join(map(str, refused)))
    for change in changes:
        _server().run(change.statement)


def _existing(at: Placement) -> _Existing | None:
    """The existing objects; None if the database does not exist."""
    of_database = {"database": at.database}
    if not _inspector().rows(
        "SELECT name FROM system.databases WHERE name = {database:String}", of_database
    ):
        return None
    names = "name, engine, partition_key, sorting_key, as_select"
    rows = _inspector().rows(
        f"SELECT {names} FROM system.tables WHERE database = {{database:String}}",
        of_database,
    )
    columns = _inspector().rows(
        "SELECT table, name, type, default_expression FROM system.columns "
        "WHERE database = {database:String}",
        of_database,
    )
    by_table: dict[str, dict[str, tuple[str, str]]] = {}
    for table, name, kind, default in columns:
        by_table.setdefault(table, {})[name] = (kind, default)
    keys = names.split(", ")
    return _Existing({row[0]: dict(zip(keys, row, strict=True)) for row in rows}, by_table)


def _table_changes(spec: TableSpec, existing: _Existing, at: Placement) -> list[Change]:
    found = existing.tables.get(spec.name)
    if found is None:
        why = "the table is missing"
        return [Change(Action.CREATE, spec.name, why, ddl.create_table(spec, at))]
    changes = [
        _refusal(spec.name, what, found[field], wanted)
        for what, field, wanted in (
            ("engine", "engine", at.engine(spec.engine)),
            ("partition key", "partition_key", spec.partition_by),
            ("sorting key", "sorting_key", spec.sorting_key),
        )
        if found[field] != wanted
    ]
    columns = existing.columns.get(spec.name, {})
    for column in spec.columns:
        changes += _column_changes(spec, column, columns.get(column.name), at)
    undeclared = sorted(columns.keys() - {column.name for column in spec.columns})
    changes += [
        Change(
            Action.REFUSE,
            f"{spec.name}.{name}",
            "the catalog does not declare this column. Declare it, or drop it by hand if "
            "its data is no longer needed.",
        )
        for name in undeclared
    ]
    return changes


def _column_changes(
    spec: TableSpec, column: ColumnSpec, found: tuple[str, str] | None, at: Placement
) -> list[Change]:
    name = f"{spec.name}.{column.name}"
    if found is None:
        if column.name in spec.order_by:
            return [_refusal(name, "key column", "missing", "a new table")]
        statement = ddl.add_column(spec, column, at)
        return [Change(Action.ALTER, name, "the column is missing", statement)]
    changes = []
    if found[0] != column.type:
        changes.append(_refusal(name, "type", found[0], column.type))
    if found[1] != column.default:
        changes.append(_refusal(name, "default", found[1], column.default))
    return changes


def _refusal(name: str, what: str, found: str, wanted: str) -> Change:
    return Change(
        Action.REFUSE,
        name,
        f"its {what} is {found or 'empty'}, but {wanted or 'empty'} is declared. Changing it would "
        "rewrite or lose data. Load into a new database, or migrate it by hand.",
    )


def _view_changes(specs: list[ViewSpec], existing: _Existing, at: Placement) -> list[Change]:
    changes = []
    wanted = _normalized(specs)
    for spec in specs:
        found = existing.tables.get(spec.name)
        if found is None:
            action, why = Action.CREATE, "the view is missing"
        elif found["engine"] != "View":
            changes.append(_refusal(spec.name, "kind", found["engine"], "View"))
            continue
        elif found["as_select"] != wanted[spec.name]:
            action, why = Action.REPLACE, "its definition differs"
        else:
            continue
        changes.append(Change(action, spec.name, why, ddl.create_view(spec, at)))
    return changes


def _normalized(specs: list[ViewSpec]) -> dict[str, str]:
    """Each view's SELECT in the engine's own format, as system.tables shows it."""
    selects = [spec.select for spec in specs]
    texts = _inspector().value(
        "SELECT arrayMap(x -> formatQuerySingleLine(x), {selects:Array(String)})",
        {"selects": selects},
    )
    return {spec.name: text for spec, text in zip(specs, texts, strict=True)}
