"""docs/data-dictionary.md, written from the catalog."""

from analytics.warehouse.catalog import (
    LOG_TABLES,
    SYSTEM_COLUMNS,
    TABLES,
    TENANT_COLUMN,
    Alias,
    Column,
    LogTable,
    Table,
)

_HEAD = """# Data dictionary

Written by `manage.py data_dictionary` from `analytics/warehouse/catalog.py`; do not edit.

Files of a table are stored under `s3://{bucket}/{tenant_id}/canonical/{table}/`, as Parquet, JSON
lines or CSV with a header (also .gz and .zst). Columns that a file does not have are NULL; columns
that are not listed here are not loaded, and the load job lists them. Empty text in a column that
is not text counts as NULL. Times are UTC unless they have an offset. In text, control characters
other than tab and line ends are replaced by U+FFFD; a key that has one makes its row a reject.
"""


def data_dictionary() -> str:
    parts = [_HEAD, *map(_table, TABLES.values()), _system(), *map(_log, LOG_TABLES)]
    return "\n".join(parts)


def _table(table: Table) -> str:
    rows = "\n".join(map(_column, table.columns))
    return f"""## {table.name}

{table.doc} Stored in `{table.shared_name}`; read through `{table.name}_current`,
`{table.name}_as_of(tenant_id, as_of)` and `{table.name}_history(tenant_id)`.
The key is `{table.key}`. A version takes effect at `{table.changed_at}` or, if that is empty, when
its file was last modified.

| column | type | also accepted as | meaning |
|---|---|---|---|
{rows}
"""


def _column(column: Column) -> str:
    names = ", ".join(map(_alias, column.aliases))
    required = " Required." if column.required else ""
    return f"| {column.name} | {column.kind.value} | {names} | {column.doc}{required} |"


def _alias(alias: Alias) -> str:
    if alias.negated:
        return f"not {alias.name}"
    if alias.only_when:
        column, values = alias.only_when
        return f"{alias.name} when {column} is {' or '.join(values)}"
    return alias.name


def _system() -> str:
    rows = "\n".join(
        f"| {column.name} | {column.ddl_type} | {column.doc} |"
        for column in (TENANT_COLUMN, *SYSTEM_COLUMNS)
    )
    return f"""## Columns of every table

| column | type | meaning |
|---|---|---|
{rows}
"""


def _log(log: LogTable) -> str:
    rows = "\n".join(f"| {c.name} | {c.ddl_type} | {c.doc} |" for c in log.columns)
    return f"""## {log.name}

{log.doc}

| column | type | meaning |
|---|---|---|
{rows}
"""
