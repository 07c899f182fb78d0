"""Test tickets: realistic cardinalities, some NULLs, the same on every run."""

import io

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def shuffled_keys(numbers):
    """Keys in random order."""
    return pc.cast(_shuffled(numbers), pa.string())


def rising_keys(numbers):
    """Keys in rising order, as most systems number their tickets."""
    return pc.utf8_lpad(pc.cast(numbers, pa.string()), 10, "0")


def _shuffled(numbers):
    return pc.bit_wise_and(pc.multiply(numbers, 2654435761), (1 << 40) - 1)


def tickets(numbers, keys, *, edition=0):
    """One version of each numbered ticket, as a pyarrow table.

    Edition 0 is always the same. Higher editions differ in status and summary, and take effect
    later.
    """
    from analytics.warehouse.catalog import TABLES, Kind

    table = TABLES["tickets"]
    numbers = pa.array(numbers, pa.int64())
    seed = _shuffled(numbers)
    columns = {
        column.name: _column(column, position, seed, Kind)
        for position, column in enumerate(table.columns)
    }
    columns[table.key] = keys(numbers)
    if edition:
        columns["status"] = pa.array([f"edition {edition}"] * len(numbers))
        columns["summary"] = pa.array([f"summary of edition {edition}"] * len(numbers))
        later = pa.scalar(edition * 60_000 + 40_000_000_000, pa.int64())
        moved = pc.add(pc.cast(columns["updated_at"], pa.int64()), later)
        columns["updated_at"] = pc.cast(moved, pa.timestamp("ms", tz="UTC"))
    return pa.table(columns)


def _column(column, position, seed, kinds):
    mixed = pc.bit_wise_and(pc.multiply(seed, 1_000_003 + 2 * position), (1 << 40) - 1)
    spread = pc.shift_right(mixed, 12)
    null = pc.equal(pc.bit_wise_and(spread, 15), 7)
    match column.kind:
        case kinds.TEXT:
            values = pc.binary_join_element_wise(column.name, pc.cast(mixed, pa.string()), " ")
        case kinds.CATEGORY:
            values = pc.binary_join_element_wise(
                column.name, pc.cast(pc.bit_wise_and(spread, 31), pa.string()), " "
            )
        case kinds.BOOL:
            values = pc.equal(pc.bit_wise_and(spread, 1), 1)
        case kinds.INSTANT:
            values = pc.cast(
                pc.add(1_700_000_000_000, pc.bit_wise_and(spread, (1 << 35) - 1)),
                pa.timestamp("ms", tz="UTC"),
            )
        case _:
            quarters = pc.cast(pc.bit_wise_and(spread, 4095), pa.float64())
            values = pc.cast(pc.divide(quarters, 4.0), pa.decimal128(*column.kind.decimal_size))
    return values if column.name == "updated_at" else pc.if_else(null, None, values)


def put_tickets(tenant, name, data):
    """Store a file of tickets in the tenant's lake; returns (key, bytes)."""
    from loaders.lake.s3 import Lake

    body = io.BytesIO()
    pq.write_table(data, body)
    key = f"{tenant.id}/canonical/tickets/{name}.parquet"
    Lake().put(key, body.getvalue())
    return key, body.tell()


def bare_source(keys):
    """`s3(…)` over these files with the catalog's column types."""
    from django.conf import settings

    from analytics.warehouse.catalog import TABLES
    from analytics.warehouse.sql import literal, quote
    from loaders.lake.s3 import Lake

    structure = ", ".join(
        f"{quote(c.name)} {c.kind.value if c.required else f'Nullable({_plain(c)})'}"
        for c in TABLES["tickets"].columns
    )
    access = f"{literal(settings.LAKE_ACCESS_KEY_ID)}, {literal(settings.LAKE_SECRET_ACCESS_KEY)}"
    return f"s3({literal(Lake().url(keys))}, {access}, 'Parquet', {literal(structure)})"


def bare_insert(keys):
    """A function that inserts these files into a table with the target's key and codec."""
    from analytics.warehouse.catalog import TABLES
    from analytics.warehouse.client import WarehouseClient
    from analytics.warehouse.sql import quote

    table = TABLES["tickets"]
    columns = ", ".join(f"{quote(c.name)} {c.ddl_type}" for c in table.columns)
    source = bare_source(keys)

    def insert():
        WarehouseClient().run("DROP TABLE IF EXISTS bare SYNC")
        WarehouseClient().run(
            f"CREATE TABLE bare ({columns}) ENGINE = MergeTree ORDER BY {quote(table.key)} "
            "SETTINGS default_compression_codec = 'ZSTD(1)'"
        )
        WarehouseClient().run(f"INSERT INTO bare SELECT * FROM {source}")

    return insert


def bare_read(keys):
    """A function that reads every column of these files and discards them."""
    from analytics.warehouse.client import WarehouseClient

    source = bare_source(keys)
    return lambda: WarehouseClient().value(f"SELECT count() FROM {source} WHERE NOT ignore(*)")


def _plain(column):
    return "String" if column.kind.is_text else column.kind.value
