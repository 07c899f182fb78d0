"""Reads a file of the sample lake back, using nothing of the generator but the table's columns.

Whatever the format and the column names, rows come out alike: canonical names, Decimal for money
and hours, aware datetimes, None for nothing.
"""

import csv
import gzip
import io
import json
from datetime import datetime
from decimal import Decimal

import pyarrow.parquet as pq

from avesa_site.demo.sample_lake import LakeFile
from avesa_site.demo.sample_lake.rows import TABLES, Kind, Table

TABLES_BY_NAME = {table.name: table for table in TABLES}


def table_of(lake_file: LakeFile) -> Table:
    return TABLES_BY_NAME[lake_file.key.split("/")[2]]


def raw_rows(lake_file: LakeFile) -> list[dict]:
    body, key = lake_file.body, lake_file.key
    if key.endswith(".parquet"):
        return pq.read_table(io.BytesIO(body)).to_pylist()
    if key.endswith(".gz"):
        body, key = gzip.decompress(body), key.removesuffix(".gz")
    text = io.StringIO(body.decode("utf-8"), newline="")
    if key.endswith(".jsonl"):
        return [json.loads(line) for line in text]
    return list(csv.DictReader(text))


def read_rows(lake_file: LakeFile) -> list[dict]:
    columns = table_of(lake_file).columns
    rows = raw_rows(lake_file)
    aliased = any(column.alias != column.name and column.alias in rows[0] for column in columns)
    if not aliased:
        return [{c.name: typed(c.kind, row[c.name]) for c in columns} for row in rows]
    return [
        {c.name: turned(typed(c.kind, row[c.alias]), c.alias_negated) for c in columns}
        for row in rows
    ]


def turned(value, negated):
    return not value if negated and value is not None else value


def typed(kind: Kind, value):
    if value is None or value == "":
        return None
    if kind is Kind.FLAG:
        return value if isinstance(value, bool) else {"true": True, "false": False}[value]
    if kind is Kind.COUNT:
        return int(value)
    if kind in (Kind.MONEY, Kind.HOURS):
        return (
            value if isinstance(value, Decimal) else Decimal(str(value)).quantize(Decimal("0.01"))
        )
    if kind is Kind.MOMENT:
        return value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return value
