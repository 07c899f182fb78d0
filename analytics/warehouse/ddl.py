"""The statements that create what the catalog declares, for one server or for a cluster."""

from dataclasses import dataclass

from analytics.warehouse.catalog import (
    HISTORY_COLUMNS,
    LINEAGE_COLUMNS,
    LOG_TABLES,
    SYSTEM_COLUMNS,
    TABLES,
    TENANT_COLUMN,
    LogTable,
    SystemColumn,
    Table,
)
from analytics.warehouse.sql import literal, quote

# Lightweight updates need the two block columns. All tables share one codec, since a replaced part
# keeps the codec it was written with.
HISTORY_SETTINGS = {
    "enable_block_number_column": "1",
    "enable_block_offset_column": "1",
    "default_compression_codec": "'ZSTD(1)'",
}


@dataclass(frozen=True)
class ColumnSpec:
    name: str
    type: str
    default: str
    comment: str

    @property
    def ddl(self) -> str:
        default = f" DEFAULT {self.default}" if self.default else ""
        return f"{quote(self.name)} {self.type}{default} COMMENT {literal(self.comment)}"


@dataclass(frozen=True)
class TableSpec:
    """A declared table. `engine` has no arguments; keys are as ClickHouse reports them."""

    name: str
    columns: tuple[ColumnSpec, ...]
    engine: str
    order_by: tuple[str, ...]
    partition_by: str
    settings: dict[str, str]
    comment: str

    @property
    def sorting_key(self) -> str:
        return ", ".join(self.order_by)


@dataclass(frozen=True)
class ViewSpec:
    """A declared view."""

    name: str
    select: str


@dataclass(frozen=True)
class Placement:
    """Where objects are created: the database, and the cluster if there is one."""

    database: str
    cluster: str = ""

    def qualified(self, name: str) -> str:
        return f"{quote(self.database)}.{quote(name)}"

    @property
    def on_cluster(self) -> str:
        return f" ON CLUSTER {quote(self.cluster)}" if self.cluster else ""

    def engine(self, engine: str) -> str:
        return f"Replicated{engine}" if self.cluster else engine


def table_specs() -> list[TableSpec]:
    return [_history_table(table) for table in TABLES.values()] + [
        _log_table(log) for log in LOG_TABLES
    ]


def _history_table(table: Table) -> TableSpec:
    business = (
        ColumnSpec(column.name, column.ddl_type, "", column.doc) for column in table.columns
    )
    return TableSpec(
        name=table.shared_name,
        columns=(_system(TENANT_COLUMN), *business, *map(_system, SYSTEM_COLUMNS)),
        engine="MergeTree",
        order_by=("tenant_id", table.key, "effective_date"),
        partition_by="tenant_id",
        settings=HISTORY_SETTINGS,
        comment=table.doc,
    )


def _log_table(log: LogTable) -> TableSpec:
    return TableSpec(
        name=log.name,
        columns=tuple(map(_system, log.columns)),
        engine="ReplacingMergeTree",
        order_by=log.order_by,
        partition_by="",
        settings={},
        comment=log.doc,
    )


def _system(column: SystemColumn) -> ColumnSpec:
    return ColumnSpec(column.name, column.ddl_type, column.default, column.doc)


def view_specs(placement: Placement) -> list[ViewSpec]:
    views = []
    for table in TABLES.values():
        views += _views_of(table, placement.qualified(table.shared_name))
    for log in LOG_TABLES:
        source = placement.qualified(log.name)
        views.append(
            ViewSpec(
                f"{log.name}_of",
                f"SELECT * FROM {source} FINAL WHERE tenant_id = {{tenant_id:String}}",
            )
        )
    return views


def _views_of(table: Table, source: str) -> list[ViewSpec]:
    """`_current` is for consoles. The others take a tenant and are for the product.

    `_as_of`: versions valid at an instant. `_history`: every version that was ever valid. Metrics
    read the tables themselves, through `tenant_rows`: a view adds 10 ms to a statement.
    """
    tenant = "tenant_id = {tenant_id:String}"
    as_of = "{as_of:DateTime64(3, 'UTC')}"
    names = ", ".join(
        quote(name)
        for name in (
            "tenant_id",
            *table.column_names,
            *(column.name for column in (*HISTORY_COLUMNS, *LINEAGE_COLUMNS)),
        )
    )
    select = f"SELECT {names}, effective_date AS effective_start_date"
    return [
        ViewSpec(f"{table.name}_current", f"{select} FROM {source} WHERE is_current"),
        ViewSpec(
            f"{table.name}_as_of",
            f"{select} FROM {source} "
            f"WHERE {tenant} AND effective_date <= {as_of} AND expiry_date > {as_of}",
        ),
        ViewSpec(
            f"{table.name}_history",
            f"{select} FROM {source} WHERE {tenant} AND effective_date < expiry_date",
        ),
    ]


def create_database(placement: Placement) -> str:
    return f"CREATE DATABASE IF NOT EXISTS {quote(placement.database)}{placement.on_cluster}"


def create_table(spec: TableSpec, placement: Placement) -> str:
    columns = ",\n    ".join(column.ddl for column in spec.columns)
    lines = [
        f"CREATE TABLE IF NOT EXISTS {placement.qualified(spec.name)}{placement.on_cluster}",
        f"(\n    {columns}\n)",
        f"ENGINE = {placement.engine(spec.engine)}",
    ]
    if spec.partition_by:
        lines.append(f"PARTITION BY {spec.partition_by}")
    lines.append(f"ORDER BY ({spec.sorting_key})")
    if spec.settings:
        pairs = ", ".join(f"{name} = {value}" for name, value in spec.settings.items())
        lines.append(f"SETTINGS {pairs}")
    lines.append(f"COMMENT {literal(spec.comment)}")
    return "\n".join(lines)


def add_column(spec: TableSpec, column: ColumnSpec, placement: Placement) -> str:
    after = spec.columns[spec.columns.index(column) - 1].name
    return (
        f"ALTER TABLE {placement.qualified(spec.name)}{placement.on_cluster} "
        f"ADD COLUMN IF NOT EXISTS {column.ddl} AFTER {quote(after)}"
    )


def create_view(spec: ViewSpec, placement: Placement) -> str:
    # OR REPLACE is atomic, so the view is never missing.
    return (
        f"CREATE OR REPLACE VIEW {placement.qualified(spec.name)}{placement.on_cluster} "
        f"AS {spec.select}"
    )
