"""A full refresh without changes, against a raw read of its files."""

from statistics import median

from benchmarks.loading import only_new_files, put_base, run_load
from benchmarks.report import Figure, Section
from benchmarks.stack import timed
from benchmarks.tickets import bare_insert, bare_read, put_tickets, shuffled_keys, tickets

ROWS, FILES, ROUNDS = 1_000_000, 10, 5
BAR = 1.3


def measure():
    from loaders.models import LoadJob
    from tenants.models import Tenant

    only_new_files()
    tenant = Tenant.objects.create(id="bench", name="Bench")
    keys = put_base(tenant, ROWS, shuffled_keys, FILES)
    run_load(tenant)
    read, insert = bare_read(keys), bare_insert(keys)
    read(), insert()

    def refresh():
        job = run_load(tenant, kind=LoadJob.Kind.REFRESH)
        assert (job.rows_unchanged, job.keys_closed) == (ROWS, 0)

    pairs = [(timed(read)[0], timed(refresh)[0]) for _ in range(ROUNDS)]
    ratio = median(ours / bare for bare, ours in pairs)
    renamed = _same_rows_in_new_files(tenant)
    inserted = timed(insert)[0]
    return Section(
        "full-refresh",
        f"Full refresh of {ROWS:,} tickets in {FILES} files in which nothing changed, through the "
        f"load job, against reading all columns of the files; median of {ROUNDS} rounds",
        [
            Figure("raw read of the files", f"{median(b for b, _ in pairs) * 1000:.0f} ms"),
            Figure("full refresh", f"{median(o for _, o in pairs) * 1000:.0f} ms"),
            Figure("**full refresh / raw read**", f"**{ratio:.2f}** (bar: ≤ {BAR})"),
            Figure(
                "the same rows delivered in new files, / bare insert of them (1 round)",
                f"{renamed / inserted:.2f}",
            ),
        ],
        passed=ratio <= BAR,
    )


def _same_rows_in_new_files(tenant):
    """Deliver the same rows in new files, so that all of them are staged and compared."""
    from loaders.models import LoadJob

    cut = ROWS // FILES
    for n in range(FILES):
        data = tickets(range(n * cut, (n + 1) * cut), shuffled_keys)
        put_tickets(tenant, f"again-{n}", data.select(sorted(data.column_names)))
    seconds, job = timed(lambda: run_load(tenant, kind=LoadJob.Kind.REFRESH))
    assert job.rows_changed == 0
    return seconds
