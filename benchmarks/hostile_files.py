"""Peak memory of a worker and of the warehouse, for files that are small but costly to read."""

import gzip
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.loading import peak_memory
from benchmarks.report import Figure, Section

BAR = 2_600  # MB, of the warehouse over what it held before
BAR_WORKER = 700  # MB
MB = 1 << 20

_WORKER = """
import sys
import django
django.setup()
from benchmarks.loading import peak_memory
from loaders.jobs import worker
print(worker.run(int(sys.argv[1])), peak_memory())
"""


def measure():
    figures, passed = [], True
    for name, (what, make, expected) in FILES.items():
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        worker, warehouse, seconds, outcome, size = _attack(name, make)
        passed = passed and outcome.startswith(expected)
        passed = passed and worker <= BAR_WORKER and warehouse <= BAR
        figures.append(
            Figure(
                f"{what} ({size})",
                f"worker {worker:,.0f} MB, warehouse + {warehouse:,.0f} MB, {seconds:.1f} s: "
                f"{outcome}",
            )
        )
    return Section(
        "hostile-files",
        "Peak resident memory of a worker process that runs one load of a file next to a good one, "
        "and by how much the embedded warehouse's exceeded what it had before",
        figures,
        passed=passed,
    )


def _attack(name, make):
    """(peak MB of the worker, MB that the warehouse took, seconds, outcome, size of the file)."""
    from analytics.warehouse.catalog import TABLES
    from loaders.jobs import queue, worker
    from loaders.lake.s3 import Lake
    from loaders.models import LoadJob
    from tenants.models import Tenant

    tenant = Tenant.objects.create(id=f"bench-{name.replace('_', '-')}", name="Bench")
    place = f"{tenant.id}/canonical/companies/"
    Lake().put(f"{place}base.csv", b"id,name\n0,base\n")
    first = queue.request_load(tenant, TABLES["companies"])
    assert worker.run(first.pk) == LoadJob.State.SUCCEEDED
    ending, body = make()
    Lake().put(f"{place}good.csv", b"id,name\ngood,good\n")
    Lake().put(f"{place}hostile.{ending}", body)
    endpoint = int(os.environ["BENCH_ENDPOINT_PID"])
    before = _forget_peak(endpoint)
    job = queue.request_load(tenant, TABLES["companies"])
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, str(job.pk)], check=True, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    peak = peak_memory(endpoint)
    job.refresh_from_db()
    file = job.files.filter(key__contains="hostile").first()
    outcome = "loaded" if file and not file.error else f"{job.state}: {job.error[:200]}"
    if file and file.error:
        outcome = f"quarantined ({file.error[:160]})"
    print(name, outcome, len(str(job.columns)), "bytes of columns on the job", flush=True)
    size = f"{len(body) / 1000:,.0f} kB"
    return float(done.stdout.split()[-1]), peak - before, seconds, outcome, size


def _forget_peak(process_id):
    """Begin to measure the peak anew; returns the present size in MB."""
    Path(f"/proc/{process_id}/clear_refs").write_text("5")
    return peak_memory(process_id)


def _zst(parts):
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        for part in parts:
            stream.write(part)
    return packed.getvalue().to_pybytes()


def _parquet(table, **options):
    body = io.BytesIO()
    pq.write_table(table, body, compression="zstd", **options)
    return "parquet", body.getvalue()


def _long_header():
    return "csv.zst", _zst([b"id,name,", *[b"x" * MB] * 1024, b"\n1,a\n"])


def _commas():
    return "csv.zst", _zst([b"id,name", *[b"," * MB] * 15, b"\n1,a\n"])


def _short_lines():
    return "csv.zst", _zst([b"id,name\n", *[b"a\n" * (MB // 2)] * 80])


def _many_columns():
    names = ",".join(f"column_{number:06}" for number in range(300_000))
    return "csv", f"id,{names}\n1{',' * 300_000}\n".encode()


def _long_line():
    member = gzip.compress(b"x" * (256 * MB), 9)
    opening, end = gzip.compress(b'{"id": "1", "name": "'), gzip.compress(b'"}\n')
    return "json.gz", opening + member * 16 + end


def _many_rows():
    rows = 1_500_000
    text = pa.array(["x" * 1000] * rows)
    table = pa.table({"id": pa.array(range(rows)), "name": text, "status": text, "city": text})
    return _parquet(
        table,
        use_dictionary=["name", "status", "city"],
        column_encoding={"id": "DELTA_BINARY_PACKED"},
    )


def _repeated_cell():
    rows = 100_000
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * (8 * MB)])
    return _parquet(pa.table({"id": pa.array(range(rows)), "name": cells}))


def _large_page():
    return _parquet(pa.table({"id": ["1"], "name": ["x" * (1000 * MB)]}), use_dictionary=False)


def _repetitive():
    filler = b",".join([b"the same text again " * 40] * 2)
    lines = b"".join(b"%07d,%s\n" % (number, filler) for number in range(1000))
    head = b"id,name,city\n"
    return "csv.zst", _zst([head, *(lines.replace(b"0000", b"%04d" % n, 1) for n in range(600))])


# What it is, how it is made, and how it must end.
FILES = {
    "long_header": ("`.csv.zst` with a header line of 1 GB", _long_header, "quarantined"),
    "commas": ("`.csv.zst` with 15 million empty column names", _commas, "quarantined"),
    "short_lines": ("`.csv.zst` of 42 million lines of one letter", _short_lines, "quarantined"),
    "many_columns": ("`.csv` with 300,000 columns", _many_columns, "quarantined"),
    "long_line": ("`.json.gz` with one line of 4 GB", _long_line, "quarantined"),
    "many_rows": ("Parquet of 1.5 million rows of 3 kB", _many_rows, "loaded"),
    "repeated_cell": ("Parquet of 100,000 times the same 8 MB", _repeated_cell, "quarantined"),
    "large_page": ("Parquet with one cell of 1 GB", _large_page, "quarantined"),
    "repetitive": ("`.csv.zst` of 600,000 true rows, 1 GB", _repetitive, "loaded"),
}
