"""Where a staging statement reads files of one schema from.

`EngineSource`: ClickHouse reads S3 itself. `WorkerSource`: the worker reads S3 and streams text
columns into a raw table; for warehouses that cannot reach S3, and for damaged CSV files, whose bad
rows it can tell apart. Both offer the same relation: the source's known columns (or `line` for JSON
lines), `_path`, `_row_number` (from 0), `_time`, and `broken` ('' or why the row cannot be parsed)
with `broken_text`, which is the whole line of JSON lines.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from django.conf import settings

from analytics.warehouse.catalog import TENANT_COLUMN, Table
from analytics.warehouse.client import WarehouseClient, memory_limit
from analytics.warehouse.sql import literal, quote
from loaders.lake.s3 import Lake
from loaders.staging import limits
from loaders.staging.casting import NOT_UTF8, raw_name, readable
from loaders.staging.file_schema import TEXT_TYPE, FileSchema, SourceFile
from loaders.staging.progress import Progress
from loaders.staging.streaming import text_batches

_ENGINE_FORMATS = {"parquet": "Parquet", "csv": "CSVWithNames", "jsonl": "LineAsString"}
_NOT_JSON = "not a JSON object"
# One statement reads so many files at most: bounds its text, and what a damaged file costs.
FILES_PER_STATEMENT = 200
NAMES_PER_STATEMENT = 100_000

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


def read_limits() -> dict[str, Any]:
    """Settings of a statement that reads files: less memory than others, since it streams them.

    A quarter of it is for what the Parquet reader decodes ahead, by what the footer claims.
    """
    found: dict[str, Any] = memory_limit(settings.CLICKHOUSE_FILE_MEMORY_MB)
    if found:
        found["input_format_parquet_memory_high_watermark"] = found["max_memory_usage"] // 4
    return found


# Settings with which a statement reads its files slowly, in as little memory as it can.
THRIFTY = {
    "max_threads": 1,
    "max_insert_threads": 1,
    "max_block_size": 1024,
    "input_format_parallel_parsing": 0,
    "input_format_parquet_max_block_size": 1024,
    "min_insert_block_size_rows": 100_000,
    "min_insert_block_size_bytes": 32 << 20,
}


@dataclass(frozen=True)
class Relation:
    """SQL text to select from, and the schema in which its columns come.

    `lines` is where JSON lines come from, each as `line`.
    """

    sql: str
    schema: FileSchema
    lines: str = ""


class Source(Protocol):
    def relation(
        self, table: Table, files: Sequence[SourceFile]
    ) -> AbstractContextManager[Relation]:
        """The rows of `files`, which share a schema, for as long as the context lasts."""


class EngineSource:
    """The warehouse reads the objects itself, through s3()."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    @contextmanager
    def relation(self, table: Table, files: Sequence[SourceFile]) -> Iterator[Relation]:
        schema = files[0].schema
        keys = [file.object.key for file in files]
        function = s3_function(self._lake, keys, _ENGINE_FORMATS[schema.format], _structure(schema))
        yield Relation(raw_columns(table, schema, function), schema, function)


class WorkerSource:
    """The worker streams the objects into a table of text columns, dropped afterwards.

    `progress` gets a step for each batch. `streamed` holds how many rows each file has that was
    read to its end, by path.
    """

    def __init__(self, lake: Lake, raw_table: str, progress: Progress) -> None:
        self._lake = lake
        self._raw_table = raw_table
        self._progress = progress
        self.streamed: dict[str, int] = {}

    @contextmanager
    def relation(self, table: Table, files: Sequence[SourceFile]) -> Iterator[Relation]:
        schema = files[0].schema
        client = WarehouseClient()
        names = ["line"] if schema.format == "jsonl" else [name for name, _ in schema.read_types]
        read_type = "String" if schema.format == "jsonl" else TEXT_TYPE
        columns = [f"{quote(name)} {read_type}" for name in names]
        client.run(f"DROP TABLE IF EXISTS {self._raw_table}")
        client.run(
            f"CREATE TABLE {self._raw_table} ({', '.join(columns)}, _path LowCardinality(String), "
            "_row_number UInt64, _time DateTime64(3, 'UTC'), "
            "_reason LowCardinality(String), _broken String) "
            "ENGINE = MergeTree ORDER BY tuple()"
        )
        try:
            for file in files:
                rows = 0
                for batch in text_batches(self._lake, file, names):
                    self._progress.step(f"Streaming {len(files)} {schema.format} files")
                    client.insert(
                        self._raw_table,
                        [*names, "_path", "_row_number", "_time", "_reason", "_broken"],
                        batch.columns_for(file.object),
                    )
                    rows += batch.rows
                self.streamed[file.object.path] = rows
            text_schema = FileSchema(
                schema.format, tuple((name, TEXT_TYPE) for name, _ in schema.read_types)
            )
            relation = raw_columns(table, text_schema, self._raw_table, "_reason", "_broken")
            yield Relation(relation, text_schema, self._raw_table)
        finally:
            client.run(f"DROP TABLE IF EXISTS {self._raw_table}")


class Sources:
    """Both ways to read files: which one suits a file, and which files one statement can read."""

    def __init__(self, lake: Lake, raw_table: str, progress: Progress) -> None:
        self._engine = EngineSource(lake)
        self._worker = WorkerSource(lake, raw_table, progress)

    @property
    def streamed(self) -> dict[str, int]:
        """How many rows the files have that the worker read to their end, by path."""
        return self._worker.streamed

    def groups(
        self,
        files: Iterable[SourceFile],
        by_worker: Container[str] = (),
        alone: Container[str] = (),
    ) -> list[tuple[list[SourceFile], Source]]:
        """(files that one statement can read, what reads them).

        They have the same schema, are read the same way, and are not too many. The worker reads
        those whose key is in `by_worker`; those in `alone` form groups of their own.
        """
        alike: dict[tuple[FileSchema, bool, str], list[SourceFile]] = {}
        for file in files:
            key = file.object.key
            is_engine = suits_engine(file) and key not in by_worker
            alike.setdefault((file.schema, is_engine, key if key in alone else ""), []).append(file)
        return [
            (part, self._engine if is_engine else self._worker)
            for (_, is_engine, _), group in alike.items()
            for part in _parts(group)
        ]


def suits_engine(file: SourceFile) -> bool:
    return settings.LOAD_TRANSPORT == "engine" and file.is_plain


def _parts(group: list[SourceFile]) -> Iterator[list[SourceFile]]:
    """`group` cut into what one statement can name: so many files, with names so long."""
    part: list[SourceFile] = []
    length = 0
    for file in group:
        longest = len(file.object.key.encode()) * 3  # each byte may be %-encoded
        if part and (len(part) == FILES_PER_STATEMENT or length + longest > NAMES_PER_STATEMENT):
            yield part
            part, length = [], 0
        part.append(file)
        length += longest
    yield part


def s3_function(lake: Lake, keys: list[str], *arguments: str) -> str:
    """A call of s3() that reads these keys; the arguments are its format and structure."""
    everything = [lake.url(keys), *(lake.credentials or ()), *arguments]
    return f"s3({', '.join(map(literal, everything))})"


def _structure(schema: FileSchema) -> str:
    if schema.format == "jsonl":
        return "line String"
    return ", ".join(f"{quote(name)} {read_type}" for name, read_type in schema.read_types)


def raw_columns(
    table: Table, schema: FileSchema, relation: str, reason: str = "''", text: str = "''"
) -> str:
    """A subquery over `relation` that offers the columns the casts expect.

    `reason` and `text` say why a row is broken, and what it holds.
    """
    if schema.format == "jsonl":
        return _json_columns(table, schema, relation)
    columns = ", ".join(f"{quote(name)} AS {raw_name(name)}" for name, _ in schema.read_types)
    columns += f", {_POSITION}, {text} AS broken_text, {reason} AS broken"
    return f"(SELECT {columns} FROM {relation})"


def with_columns(
    table: Table, relation: Relation, names: Container[str], *, has_many_digits: bool
) -> Relation:
    """JSON lines of which these are all fields: the statement reads no others.

    Most of what a small file costs is the engine's analysis of the statement.
    """
    known = [name for name in readable(table, relation.schema) if name in names]
    schema = FileSchema(relation.schema.format, tuple((name, TEXT_TYPE) for name in known))
    sql = _json_columns(table, schema, relation.lines, has_many_digits=has_many_digits)
    return Relation(sql, schema, relation.lines)


def with_keys_alone(table: Table, relation: Relation) -> Relation:
    """The same rows for statements that need only their keys, and whose rows they are."""
    if relation.schema.format != "jsonl":
        return relation
    names = [TENANT_COLUMN.name, *(source.name for source in table.column(table.key).sources)]
    return with_columns(table, relation, names, has_many_digits=False)


def _json_columns(
    table: Table, schema: FileSchema, relation: str, *, has_many_digits: bool = True
) -> str:
    names = readable(table, schema)
    decimals = {s.name for c in table.columns if c.kind.is_decimal for s in c.sources}
    exact = decimals if has_many_digits else set()
    fields = ", ".join(f"{quote(name)} Nullable(String)" for name in names)
    columns = ", ".join(
        f"{_json_value(name, exact=name in exact)} AS {raw_name(name)}" for name in names
    )
    return (
        f"(SELECT {columns}, {_POSITION}, line AS broken_text, "
        f"multiIf(NOT isValidUTF8(line), {literal(NOT_UTF8)}, JSONType(line) != 'Object', "
        f"{literal(_NOT_JSON)}, '') AS broken "
        f"FROM (SELECT line, {_POSITION}, {_HAS_MANY_DIGITS} AS has_many_digits, "
        f"JSONExtract(line, {literal(f'Tuple({fields})')}) AS fields "
        f"FROM {relation} WHERE {_NOT_BLANK}))"
    )


_POSITION = "_path, _row_number, _time"
# No pattern matches bytes that are not UTF-8.
_NOT_BLANK = "(NOT isValidUTF8(line) OR match(line, '[^[:space:]]'))"
# The engine reads JSON numbers as doubles, which 15 digits survive.
_HAS_MANY_DIGITS = "match(line, '[0-9][0-9.]{15}')"


def json_lines(relation: Relation) -> str:
    """SELECT path, rows, names of the fields, whether a number has many digits, and the bytes of
    the longest line, by file. There are no more and no longer names than show that they are too
    many or too long.
    """
    names = f"arrayMap(name -> left(name, {limits.NAME_CHARACTERS + 1}), JSONExtractKeys(line))"
    fields = f"groupUniqArrayArray({settings.LOAD_MAX_COLUMNS + 1})({names})"
    return (
        f"SELECT _path, count(), arraySort({fields}), max({_HAS_MANY_DIGITS}), max(length(line)) "
        f"FROM {relation.lines} WHERE {_NOT_BLANK} GROUP BY _path"
    )


def _json_value(name: str, *, exact: bool) -> str:
    """A field as text. An amount of many digits is taken from the line itself."""
    value = f"tupleElement(fields, {literal(name)})"
    if not exact:
        return value
    digits = _exact_digits(name, value)
    return f"if(has_many_digits, {digits}, {value})"


def _exact_digits(name: str, value: str) -> str:
    """The digits of the number `value`, as they stand behind the field's name in the line.

    The line is cut at each place where the name stands. Of those that are not inside of another
    object, the one that is the same number counts.
    """
    cut = rf'"{name}"[ \t\r\n]*:[ \t\r\n]*'
    pieces = f"splitByRegexp({literal(cut)}, line)"
    # Brackets in texts do not count; no text goes on from one piece to the next.
    bare = r"""replaceRegexpAll(piece, '"([^"\\\\]|\\\\.)*"', '')"""
    opened = " - ".join(
        f"(countSubstrings({bare}, {literal(left)}) + countSubstrings({bare}, {literal(right)}))"
        for left, right in ("{[", "}]")
    )
    depths = f"arrayPopBack(arrayCumSum(piece -> toInt64({opened}), {pieces}))"
    numbers = f"arrayPopFront(arrayMap(piece -> extract(piece, '^-?[0-9][0-9.eE+-]*'), {pieces}))"
    found = (
        f"arrayFirst((digits, depth) -> depth = 1 AND toFloat64OrNull(digits) = "
        f"toFloat64OrNull({value}), {numbers}, {depths})"
    )
    return f"coalesce(nullIf({found}, ''), {value})"
