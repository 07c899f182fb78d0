"""Peak memory of a worker and of the warehouse, for loads of increasing size."""

import os
import subprocess
import sys

from benchmarks.loading import (
    CHANGED,
    NEW,
    SAME,
    only_new_files,
    peak_memory,
    put_base,
    put_batch,
    tidy,
)
from benchmarks.report import Figure, Section
from benchmarks.tickets import shuffled_keys

SIZES = (100_000, 1_000_000, 5_000_000)
BAR = 1.2  # of the worker's peak, from the smallest load to the largest

_WORKER = """
import sys
import django
django.setup()
from benchmarks.loading import only_new_files, peak_memory
from loaders.jobs import worker
only_new_files()
print(worker.run(int(sys.argv[1])), peak_memory())
"""


def measure():
    from tenants.models import Tenant

    only_new_files()
    endpoint = int(os.environ["BENCH_ENDPOINT_PID"])
    figures, peaks = [], []
    for size in SIZES:
        tenant = Tenant.objects.create(id=f"bench-{size}", name="Bench")
        put_base(tenant, size, shuffled_keys)
        first, _ = _load(tenant)
        whole = peak_memory(endpoint)
        put_batch(tenant, 1, shuffled_keys, size, lambda edition, count: range(count))
        batch, job = _load(tenant)
        tidy(tenant, job)
        peaks.append(max(first, batch))
        figures.append(
            Figure(
                f"{size:,} tickets: worker in the first load, with a batch; warehouse by then",
                f"{first:.0f} MB, {batch:.0f} MB; {whole:,.0f} MB",
            )
        )
    ratio = max(peaks) / peaks[0]
    return Section(
        "memory",
        f"Peak resident memory of a worker process that runs one load, first of all tickets in 10 "
        f"files, then of a batch of {SAME + CHANGED + NEW:,}, and of the embedded warehouse over "
        "the whole run (it has caches, and spills large sorts to disk)",
        [
            *figures,
            Figure("**worker, largest / smallest**", f"**{ratio:.2f}** (bar: ≤ {BAR})"),
        ],
        passed=ratio <= BAR,
    )


def _load(tenant):
    """(peak MB of a process that runs one load of the tenant, the job)."""
    from analytics.warehouse.catalog import TABLES
    from loaders.jobs import queue
    from loaders.models import LoadJob

    job = queue.request_load(tenant, TABLES["tickets"])
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, str(job.pk)], check=True, capture_output=True, text=True
    )
    job.refresh_from_db()
    assert job.state == LoadJob.State.SUCCEEDED, job.error
    return float(done.stdout.split()[-1]), job
