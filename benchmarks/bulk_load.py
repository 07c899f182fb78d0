"""Bulk load of a million tickets against a bare INSERT … SELECT FROM s3() of the same columns."""

import io
from statistics import median

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .report import Figure, Section
from .stack import timed

ROWS, FILES, ROUNDS = 1_000_000, 10, 5
TARGET = 0.6


def measure():
    from analytics.warehouse.catalog import TABLES
    from loaders import jobs, runs
    from loaders.models import LoadJob
    from tenants.models import Tenant

    table = TABLES["tickets"]
    tenant = Tenant.objects.create(id="bench", name="Bench")
    size = _fill_lake(table, tenant)

    def load():
        job = jobs.request_load(tenant, table)
        assert runs.run(job.pk) == LoadJob.State.SUCCEEDED, LoadJob.objects.get(pk=job.pk).error

    bare = _bare_insert(table, tenant)
    bare(), load()
    pairs = [(timed(bare)[0], timed(load)[0]) for _ in range(ROUNDS)]
    ratio = median(b / ours for b, ours in pairs)
    return Section(
        "bulk-load",
        f"Bulk load of {ROWS:,} tickets, {len(table.columns)} columns, {FILES} Parquet files "
        f"({size / 1e6:.0f} MB) on loopback S3, through the load job; median of {ROUNDS} rounds, "
        "each after the bare insert",
        [
            Figure("bare `INSERT INTO t SELECT … FROM s3()`", _rate(b for b, _ in pairs)),
            Figure("load job, from claim to visible", _rate(ours for _, ours in pairs)),
            Figure("**load job / bare, rows per second**", f"**{ratio:.2f}** (bar: ≥ {TARGET})"),
            Figure("lowest and highest round", _spread(b / ours for b, ours in pairs)),
        ],
        passed=ratio >= TARGET,
    )


def _rate(seconds):
    return f"{ROWS / median(seconds):,.0f} rows/s"


def _spread(ratios):
    ratios = list(ratios)
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def _fill_lake(table, tenant):
    from loaders.lake import Lake

    size = 0
    for number in range(FILES):
        body = io.BytesIO()
        pq.write_table(_tickets(table, number * ROWS // FILES, ROWS // FILES), body)
        Lake().put(f"{tenant.id}/canonical/{table.name}/part-{number}.parquet", body.getvalue())
        size += body.tell()
    return size


def _tickets(table, first, count):
    """`count` tickets: keys in random order, realistic cardinalities, a tenth of NULLs."""
    from analytics.warehouse.catalog import Kind

    numbers = pa.array(range(first, first + count), pa.int64())
    shuffled = pc.bit_wise_and(pc.multiply(numbers, 2654435761), (1 << 40) - 1)
    columns = {}
    for position, column in enumerate(table.columns):
        columns[column.name] = _column(column, position, shuffled, Kind)
    columns[table.key] = pc.cast(shuffled, pa.string())
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


def _bare_insert(table, tenant):
    """The same columns, typed, into a table with the target's keys and codec; nothing else."""
    from django.conf import settings

    from analytics.warehouse.writer import Writer, literal, quote
    from loaders.lake import Lake

    columns = ", ".join(f"{quote(c.name)} {c.ddl_type}" for c in table.columns)
    structure = ", ".join(
        f"{quote(c.name)} {c.kind.value if c.required else f'Nullable({_plain(c)})'}"
        for c in table.columns
    )
    url = Lake().url(
        [f"{tenant.id}/canonical/{table.name}/part-{number}.parquet" for number in range(FILES)]
    )
    keys = f"{literal(settings.LAKE_ACCESS_KEY_ID)}, {literal(settings.LAKE_SECRET_ACCESS_KEY)}"
    source = f"s3({literal(url)}, {keys}, 'Parquet', {literal(structure)})"

    def insert():
        Writer().run("DROP TABLE IF EXISTS bare SYNC")
        Writer().run(
            f"CREATE TABLE bare ({columns}) ENGINE = MergeTree ORDER BY {quote(table.key)} "
            "SETTINGS default_compression_codec = 'ZSTD(1)'"
        )
        Writer().run(f"INSERT INTO bare SELECT * FROM {source}")

    return insert


def _plain(column):
    return "String" if column.kind.is_text else column.kind.value
