"""Encode rows as one file: Parquet, JSON lines or CSV, the latter two optionally gzipped."""

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avesa_site.demo.sample_lake.rows import Column, Kind, Row, Table, Value

PARQUET_TYPES = {
    Kind.TEXT: pa.string(),
    Kind.FLAG: pa.bool_(),
    Kind.COUNT: pa.int64(),
    Kind.MONEY: pa.decimal128(18, 2),
    Kind.HOURS: pa.decimal128(10, 2),
    Kind.MOMENT: pa.timestamp("ms", tz="UTC"),
}


def encode(table: Table, rows: Sequence[Row], suffix: str, *, aliased: bool) -> bytes:
    """Write the rows in the format given by the file name's suffix."""
    names = [column.alias if aliased else column.name for column in table.columns]
    columns = [
        _values(column, values, aliased=aliased)
        for column, values in zip(table.columns, zip(*rows, strict=True), strict=True)
    ]
    if suffix == ".parquet":
        return _parquet(table, names, columns)
    body = _csv if suffix.startswith(".csv") else _json_lines
    text = body(table, names, columns).encode()
    return gzip.compress(text, mtime=0) if suffix.endswith(".gz") else text


def _values(column: Column, values: Sequence[Value], *, aliased: bool) -> Sequence[Value]:
    if aliased and column.alias_negated:
        return [None if value is None else not value for value in values]
    return values


def _parquet(table: Table, names: list[str], columns: list[Sequence[Value]]) -> bytes:
    arrays = [
        pa.array(values, PARQUET_TYPES[column.kind])
        for column, values in zip(table.columns, columns, strict=True)
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays, names=names), sink, compression="zstd")
    body: bytes = sink.getvalue().to_pybytes()
    return body


def _json_lines(table: Table, names: list[str], columns: list[Sequence[Value]]) -> str:
    shown = [
        _shown(column.kind, _JSON, values)
        for column, values in zip(table.columns, columns, strict=True)
    ]
    dump = json.JSONEncoder(ensure_ascii=False).encode
    return "".join(
        dump(dict(zip(names, row, strict=True))) + "\n" for row in zip(*shown, strict=True)
    )


def _csv(table: Table, names: list[str], columns: list[Sequence[Value]]) -> str:
    shown = [
        _shown(column.kind, _CSV, values)
        for column, values in zip(table.columns, columns, strict=True)
    ]
    text = StringIO(newline="")
    # With CRLF, as RFC 4180 has it, the writer also quotes text that holds a lone CR.
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(names)
    writer.writerows(zip(*shown, strict=True))
    return text.getvalue()


Show = Callable[[Any], object]


def _shown(kind: Kind, shows: dict[Kind, Show], values: Sequence[Value]) -> list[object]:
    show = shows.get(kind)
    if show is None:
        return list(values)
    return [None if value is None else show(value) for value in values]


def _iso(moment: int) -> str:
    seconds, milliseconds = divmod(moment, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


# Money with more than 15 digits would lose precision as a JSON number; hours never do.
_JSON: dict[Kind, Show] = {Kind.MOMENT: _iso, Kind.MONEY: str, Kind.HOURS: float}
_CSV: dict[Kind, Show] = {
    Kind.MOMENT: _iso,
    Kind.FLAG: lambda value: "true" if value else "false",
    Kind.MONEY: str,
    Kind.HOURS: str,
}
