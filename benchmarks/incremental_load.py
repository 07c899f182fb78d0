"""Batches into a million current tickets, end to end; then reads after 50 loads."""

from statistics import median

from benchmarks.loading import (
    CHANGED,
    NEW,
    SAME,
    only_new_files,
    put_base,
    put_batch,
    run_load,
    tidy,
)
from benchmarks.report import Figure, Section
from benchmarks.stack import timed
from benchmarks.tickets import bare_insert, shuffled_keys

ROWS, LOADS, ROUNDS, READS = 1_000_000, 50, 9, 15
LOAD_BAR, READ_BAR = 4.0, 1.3

READ = """SELECT status, count(), avg(actual_hours) FROM tickets_current
    WHERE tenant_id = 'bench' AND created_date >= '2024-01-01' GROUP BY status"""


def measure():
    from tenants.models import Tenant

    only_new_files()
    tenant = Tenant.objects.create(id="bench", name="Bench")
    put_base(tenant, ROWS, shuffled_keys)
    run_load(tenant)
    pairs, compactions, uncompacted = [], [], 0.0
    for edition in range(1, LOADS + 1):
        key = put_batch(tenant, edition, shuffled_keys, ROWS, spread)
        if edition <= ROUNDS:
            bare = bare_insert([key])
            bare()
            in_bare = timed(bare)[0]
        in_load, job = timed(lambda: run_load(tenant))
        if edition <= ROUNDS:
            pairs.append((in_bare, in_load))
        if edition == LOADS:
            uncompacted = _read()
        compactions.append(timed(lambda job=job: tidy(tenant, job))[0])
    compacted = _read()
    _optimize()
    fresh = _read()
    ratio = median(ours / bare for bare, ours in pairs)
    reads = compacted / fresh
    return Section(
        "incremental-load",
        f"A batch of {SAME + CHANGED + NEW:,} tickets ({CHANGED:,} changed, {NEW:,} new) into "
        f"{ROWS:,} current ones, evenly spread, through the load job, against a bare typed insert "
        f"of the same file; median of {ROUNDS} rounds, each after its bare insert, with compaction "
        f"in between. Then reads of `tickets_current` after {LOADS} loads, median of {READS}",
        [
            Figure("bare insert of the batch", f"{median(b for b, _ in pairs) * 1000:.0f} ms"),
            Figure("load job, from request to end", f"{median(o for _, o in pairs) * 1000:.0f} ms"),
            Figure("**load job / bare**", f"**{ratio:.1f}** (bar: ≤ {LOAD_BAR:.0f})"),
            Figure("lowest and highest round", _spread([o / b for b, o in pairs])),
            Figure("compaction after a load, in a separate task", f"{median(compactions):.1f} s"),
            Figure(
                f"**read after {LOADS} loads / freshly optimized**",
                f"**{reads:.2f}** (bar: ≤ {READ_BAR})",
            ),
            Figure("the same before the last compaction", f"{uncompacted / fresh:.1f}"),
        ],
        passed=ratio <= LOAD_BAR and reads <= READ_BAR,
    )


def spread(edition, count):
    first = edition * count % (ROWS - count)
    return range(first, first + count)


def _read():
    from analytics.warehouse.client import WarehouseClient

    return median(timed(lambda: WarehouseClient().rows(READ))[0] for _ in range(READS))


def _optimize():
    from analytics.warehouse.client import WarehouseClient

    WarehouseClient().run("OPTIMIZE TABLE shared_tickets PARTITION 'bench' FINAL")


def _spread(ratios):
    return f"{min(ratios):.1f} to {max(ratios):.1f}"
