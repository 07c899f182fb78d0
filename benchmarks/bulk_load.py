"""Bulk load of a million tickets against a plain INSERT … SELECT FROM s3()."""

from statistics import median

from benchmarks.report import Figure, Section
from benchmarks.stack import timed
from benchmarks.tickets import bare_insert, put_tickets, shuffled_keys, tickets

ROWS, FILES, ROUNDS = 1_000_000, 10, 5
TARGET = 0.6


def measure():
    from analytics.warehouse.catalog import TABLES
    from loaders.jobs import queue, worker
    from loaders.models import LoadJob
    from tenants.models import Tenant

    table = TABLES["tickets"]
    tenant = Tenant.objects.create(id="bench", name="Bench")
    size, keys = 0, []
    for number in range(FILES):
        part = tickets(range(number * ROWS // FILES, (number + 1) * ROWS // FILES), shuffled_keys)
        key, bytes_put = put_tickets(tenant, f"part-{number}", part)
        keys.append(key)
        size += bytes_put

    def load():
        job = queue.request_load(tenant, table, LoadJob.Kind.BULK)
        assert worker.run(job.pk) == LoadJob.State.SUCCEEDED, LoadJob.objects.get(pk=job.pk).error

    bare = bare_insert(keys)
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
