"""Helpers that write files into a test's lake."""

import gzip
import io
import json
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from loaders.lake.s3 import _RangeReader, lake_errors


def key(tenant, table, name):
    return f"{tenant.id}/canonical/{table}/{name}"


def put_parquet(lake, tenant, table, name, rows, schema=None):
    """Store `rows` (dicts, or a pyarrow table) as a Parquet object; returns its path."""
    data = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema)
    body = io.BytesIO()
    pq.write_table(data, body)
    return put_bytes(lake, tenant, table, name, body.getvalue())


def put_jsonl(lake, tenant, table, name, rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return put_text(lake, tenant, table, name, "\n".join(lines) + "\n")


def put_text(lake, tenant, table, name, text):
    body = text.encode()
    return put_bytes(
        lake, tenant, table, name, gzip.compress(body, mtime=0) if name.endswith(".gz") else body
    )


def put_bytes(lake, tenant, table, name, body):
    lake.put(key(tenant, table, name), body)
    return f"{lake.bucket}/{key(tenant, table, name)}"


def zst(data):
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(data)
    return packed.getvalue().to_pybytes()


@contextmanager
def refused(monkeypatch, *names, code="AccessDenied"):
    """S3 denies access to the files with these names."""
    read = _RangeReader.readinto

    def readinto(self, buffer):
        with lake_errors(self._found.bucket, self._found.key):
            if self._found.key.endswith(names):
                error = self._lake.client.exceptions.ClientError
                raise error({"Error": {"Code": code}}, "GetObject")
        return read(self, buffer)

    with monkeypatch.context() as patch:
        patch.setattr(_RangeReader, "readinto", readinto)
        yield
