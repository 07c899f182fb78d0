"""Where a staging statement reads files of one shape from.

`EngineSource`: ClickHouse reads S3 itself. `WorkerSource`: the worker reads S3 and streams text
columns into a raw table; for warehouses that cannot reach S3, and for damaged CSV files, whose bad
rows it can tell apart. Both offer the same relation: the source's known columns (or `line` for JSON
lines), `_path`, `_row_number` (from 0), `_time`, and `broken` ('' or why the row cannot be parsed)
with `broken_text`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from analytics.warehouse.catalog import Table
from analytics.warehouse.writer import Writer, literal, quote

from .casting import raw_name, readable
from .lake import Lake
from .shapes import TEXT_LANE, Shape, ShapedFile
from .streaming import text_batches

_ENGINE_FORMATS = {"parquet": "Parquet", "csv": "CSVWithNames", "jsonl": "LineAsString"}
_NOT_JSON = "not a JSON object"

READ_SETTINGS = {
    "use_hive_partitioning": 0,  # a folder named like a column is no column
    "input_format_parquet_allow_missing_columns": 1,
    "input_format_parquet_use_native_reader_v3": 1,
    "input_format_csv_allow_cr_end_of_line": 1,
    "input_format_csv_trim_whitespaces": 0,
    "s3_skip_empty_files": 0,
    "use_cache_for_count_from_files": 0,
    "schema_inference_use_cache_for_s3": 0,
}


@dataclass(frozen=True)
class Relation:
    """SQL text to select from, and the shape in which its columns come."""

    sql: str
    shape: Shape


class Source(Protocol):
    def relation(
        self, table: Table, files: Sequence[ShapedFile]
    ) -> AbstractContextManager[Relation]:
        """The rows of `files`, which share a shape, for as long as the context lasts."""


class EngineSource:
    """The warehouse reads the objects itself, through s3()."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    @contextmanager
    def relation(self, table: Table, files: Sequence[ShapedFile]) -> Iterator[Relation]:
        shape = files[0].shape
        keys = [file.object.key for file in files]
        function = s3_function(self._lake, keys, _ENGINE_FORMATS[shape.format], _structure(shape))
        yield Relation(raw_columns(table, shape, function), shape)


class WorkerSource:
    """The worker streams the objects into a table of text columns, dropped afterwards.

    `progress` is told of each batch, and ends the load by raising if it is not wanted any more.
    """

    def __init__(self, lake: Lake, raw_table: str, progress: Callable[[str], None]) -> None:
        self._lake = lake
        self._raw_table = raw_table
        self._progress = progress

    @contextmanager
    def relation(self, table: Table, files: Sequence[ShapedFile]) -> Iterator[Relation]:
        shape = files[0].shape
        writer = Writer()
        names = ["line"] if shape.format == "jsonl" else [name for name, _ in shape.lanes]
        lane = "String" if shape.format == "jsonl" else TEXT_LANE
        columns = [f"{quote(name)} {lane}" for name in names]
        writer.run(f"DROP TABLE IF EXISTS {self._raw_table}")
        writer.run(
            f"CREATE TABLE {self._raw_table} ({', '.join(columns)}, _path LowCardinality(String), "
            "_row_number UInt64, _time DateTime64(3, 'UTC'), _broken String) "
            "ENGINE = MergeTree ORDER BY tuple()"
        )
        try:
            for file in files:
                for batch in text_batches(self._lake, file, names):
                    self._progress(f"Streaming {len(files)} {shape.format} files")
                    writer.insert(
                        self._raw_table,
                        [*names, "_path", "_row_number", "_time", "_broken"],
                        batch.columns_for(file.object),
                    )
            text_shape = Shape(shape.format, tuple((name, TEXT_LANE) for name, _ in shape.lanes))
            yield Relation(raw_columns(table, text_shape, self._raw_table, "_broken"), text_shape)
        finally:
            writer.run(f"DROP TABLE IF EXISTS {self._raw_table}")


def s3_function(lake: Lake, keys: list[str], *arguments: str) -> str:
    """A call of s3() that reads these keys; the arguments are its format and structure."""
    everything = [lake.url(keys), *(lake.credentials or ()), *arguments]
    return f"s3({', '.join(map(literal, everything))})"


def _structure(shape: Shape) -> str:
    if shape.format == "jsonl":
        return "line String"
    return ", ".join(f"{quote(name)} {lane}" for name, lane in shape.lanes)


def raw_columns(table: Table, shape: Shape, relation: str, broken: str = "''") -> str:
    """A subquery over `relation` that offers the columns the casts expect."""
    position = "_path, _row_number, _time"
    if shape.format == "jsonl":
        names = readable(table, shape)
        exact = {s.name for c in table.columns if c.kind.is_decimal for s in c.sources}
        fields = ", ".join(f"{quote(name)} Nullable(String)" for name in names)
        columns = ", ".join(
            f"{_json_value(name, exact=name in exact)} AS {raw_name(name)}" for name in names
        )
        return (
            f"(SELECT {columns}, {position}, line AS broken_text, "
            f"if(JSONType(line) = 'Object', '', {literal(_NOT_JSON)}) AS broken "
            f"FROM (SELECT line, {position}, JSONExtract(line, {literal(f'Tuple({fields})')}) "
            f"AS fields FROM {relation} WHERE match(line, '[^[:space:]]')))"
        )
    columns = ", ".join(f"{quote(name)} AS {raw_name(name)}" for name, _ in shape.lanes)
    return (
        f"(SELECT {columns}, {position}, {broken} AS broken_text, "
        f"if({broken} = '', '', 'not the number of fields that the header names') AS broken "
        f"FROM {relation})"
    )


def _json_value(name: str, *, exact: bool) -> str:
    """A field as text. The engine reads JSON numbers as doubles, which amounts do not survive, so
    an amount is taken from the line itself where that is the same number."""
    value = f"tupleElement(fields, {literal(name)})"
    if not exact:
        return value
    pattern = f'"{name}"' + r"[ ]*:[ ]*(-?[0-9][0-9.eE+-]*)"
    digits = f"extract(line, {literal(pattern)})"
    return f"if(toFloat64OrNull({digits}) = toFloat64OrNull({value}), {digits}, {value})"
