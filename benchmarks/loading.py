"""Helpers of the load benchmarks: running jobs, batches and memory."""

import os
import re
from pathlib import Path

import pyarrow as pa

from benchmarks.tickets import put_tickets, tickets

SAME, CHANGED, NEW = 39_000, 10_000, 1_000


def run_load(tenant, **options):
    """Request a load of the tenant's tickets and run it; returns the job."""
    from analytics.warehouse.catalog import TABLES
    from loaders.jobs import queue, worker
    from loaders.models import LoadJob

    job = queue.request_load(tenant, TABLES["tickets"], **options)
    state = worker.run(job.pk)
    job.refresh_from_db()
    assert state == LoadJob.State.SUCCEEDED, job.error
    return job


def tidy(tenant, job):
    """Run the compaction that follows a load in a separate task."""
    from analytics.warehouse.catalog import TABLES
    from loaders.history import compaction

    return compaction.tidy(tenant, TABLES["tickets"], job.pk)


def put_base(tenant, rows, keys, files=10):
    """A tenant's first files; returns their keys in the lake."""
    cut = rows // files
    return [
        put_tickets(tenant, f"base-{n}", tickets(range(n * cut, (n + 1) * cut), keys))[0]
        for n in range(files)
    ]


def put_batch(tenant, edition, keys, of_rows, known):
    """A file with 39,000 unchanged, 10,000 changed and 1,000 new tickets.

    `known(edition, count)` returns the numbers of the known tickets; the first of them changed.
    """
    numbers = known(edition, CHANGED + SAME)
    fresh = range(of_rows + (edition - 1) * NEW, of_rows + edition * NEW)
    parts = [
        tickets(numbers[:CHANGED], keys, edition=edition),
        tickets(numbers[CHANGED:], keys),
        tickets(fresh, keys),
    ]
    return put_tickets(tenant, f"batch-{edition}", pa.concat_tables(parts))[0]


def only_new_files():
    """Let loads read only new files, without the overlap."""
    from django.conf import settings

    settings.LOAD_OVERLAP_MINUTES = 0


def peak_memory(process_id=None):
    """Peak memory of a process, in MB."""
    status = Path(f"/proc/{process_id or os.getpid()}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
