"""What columns a file has, and which of them can be read without a detour through text.

The schema comes from the file itself (Parquet footer, CSV header), never from the engine's schema
inference, which looks at one file of many and hides columns behind a cache.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import SEEK_END
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.warehouse.catalog import TENANT_COLUMN, Column, Kind, Table
from loaders.lake.discovery import compression_of, format_of
from loaders.lake.s3 import Lake, LakeObject
from loaders.staging import csv_records, limits
from loaders.staging.limits import CountedStream, LimitExceeded

TEXT_TYPE = "Nullable(String)"
_INSTANT_TYPE = f"Nullable({Kind.INSTANT.value})"
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400
# The range of instants that is stored (casting.py), in seconds since 1970.
_EARLIEST = int(datetime(1900, 1, 1, tzinfo=UTC).timestamp())
_LATEST = int(datetime(2299, 12, 31, tzinfo=UTC).timestamp())
_BLOCK = 4 << 20
_TRAILER_BYTES = 8
# Nested types are as long as all names in them.
_TYPE_CHARACTERS = 100


class UnusableFile(Exception):
    """The file cannot be loaded at all; the text is why. `file` if several were read."""

    def __init__(self, reason: str, file: "SourceFile | None" = None) -> None:
        super().__init__(reason)
        self.file = file


@dataclass(frozen=True)
class FileSchema:
    """How to read a file.

    `read_types`: (source column, ClickHouse type to read it as) of the columns that the catalog
    knows; `unknown`: its other columns. Both are empty for JSON lines, whose columns are known only
    once they are read: until then they may have any. Files of equal schema are read in one
    statement.
    """

    format: str
    read_types: tuple[tuple[str, str], ...]
    unknown: tuple[str, ...] = field(default=(), compare=False)  # does not matter for reading

    @property
    def read_type_of(self) -> dict[str, str]:
        return dict(self.read_types)

    def may_have(self, column: str) -> bool:
        is_open = self.format == "jsonl" and not self.read_types
        return is_open or column in self.read_type_of


@dataclass(frozen=True)
class SourceFile:
    """`rows` is how many the footer promises, or a look at a whole CSV file found; else None.

    `columns` are all of the file's, with their types as the file has them; none for JSON lines.
    `weight`: about how many bytes its rows take when they are expanded.
    `is_plain` is false for a CSV file with broken records, or with records that readers cut
    differently: only the worker reads it.
    """

    object: LakeObject
    schema: FileSchema
    rows: int | None = None
    columns: tuple[tuple[str, str], ...] = ()
    is_plain: bool = True
    weight: int = 0


def read_schema(lake: Lake, found: LakeObject, table: Table) -> SourceFile:
    """The schema of one file. Raises UnusableFile, or LakeError when the lake fails."""
    kind = format_of(found.key)
    if kind == "parquet":
        return _parquet(lake, found, table)
    if kind == "csv":
        return _csv(lake, found, table)
    lake.touch(found)
    return SourceFile(found, FileSchema("jsonl", ()), weight=found.size)


def _parquet(lake: Lake, found: LakeObject, table: Table) -> SourceFile:
    with lake.open(found) as file:
        try:
            limits.check_footer(_footer_size(file))
            metadata = pq.read_metadata(file)
            limits.check_column_count(metadata.num_columns)
            columns = metadata.schema.to_arrow_schema()
            limits.check_columns(columns.names)
            weight = _weight(metadata)
            limits.check_expansion(found.size, weight)
        except LimitExceeded as error:
            raise UnusableFile(str(error)) from error
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UnusableFile(f"Not a readable Parquet file: {error}") from error
    names = _distinct(list(columns.names))
    read_types = []
    for name, column in _known(names, table).items():
        read_type = _read_type(columns.field(name).type, column, name)
        if read_type == _INSTANT_TYPE and not _are_storable(metadata, columns.field(name)):
            read_type = TEXT_TYPE
        read_types.append((name, read_type))
    schema = FileSchema("parquet", *_finish(names, read_types, table))
    types = tuple((each.name, str(each.type)[:_TYPE_CHARACTERS]) for each in columns)
    return SourceFile(found, schema, metadata.num_rows, types, weight=weight)


def _footer_size(file: BinaryIO) -> int:
    """How large the footer of a Parquet file is; 0 if it is none."""
    file.seek(-min(_TRAILER_BYTES, file.seek(0, SEEK_END)), SEEK_END)
    trailer = file.read(_TRAILER_BYTES)
    return int.from_bytes(trailer[:4], "little") if trailer.endswith(b"PAR1") else 0


def _weight(metadata: Any) -> int:
    """By the larger of the sizes that the footer states for the file and for its row groups."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    rows = max(metadata.num_rows, sum(group.num_rows for group in groups))
    return limits.weight(sum(group.total_byte_size for group in groups), rows)


def _are_storable(metadata: Any, column: pa.Field) -> bool:
    """Whether the footer proves that all instants of a column are in the range that is stored.

    Those before 1970 must not have digits beyond milliseconds either: the engine rounds them up.
    """
    per_second = _PER_SECOND.get(getattr(column.type, "unit", ""), 0)  # 0: days
    least = _EARLIEST if per_second <= _PER_SECOND["ms"] else 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        chunks = map(group.column, range(group.num_columns))
        found = next(chunk for chunk in chunks if chunk.path_in_schema == column.name).statistics
        if found is None or not found.has_null_count:
            return False
        if found.null_count == group.num_rows:
            continue
        if not found.has_min_max or not isinstance(found.min_raw, int):
            return False
        seconds = [
            each // per_second if per_second else each * _DAY
            for each in (found.min_raw, found.max_raw)
        ]
        if seconds[0] < least or seconds[1] >= _LATEST:
            return False
    return True


def _csv(lake: Lake, found: LakeObject, table: Table) -> SourceFile:
    with unpacked(lake, found) as stream:
        try:
            scan = csv_records.scan(stream)
        except csv_records.MalformedCsv as error:
            raise UnusableFile(str(error)) from error
        weight = stream.weight
    names = _distinct(scan.header)
    read_types = [(name, TEXT_TYPE) for name in _known(names, table)]
    schema = FileSchema("csv", *_finish(names, read_types, table))
    columns = tuple((name, "text") for name in names)
    return SourceFile(found, schema, scan.rows, columns, is_plain=scan.is_plain, weight=weight)


@contextmanager
def unpacked(lake: Lake, found: LakeObject) -> Iterator[CountedStream]:
    """The file's text. Reading it to its end proves that a compressed file is whole.

    Raises UnusableFile if it is not, or if a limit is exceeded, LakeError when the lake fails.
    """
    compression = compression_of(found.key)
    with lake.open(found) as raw:
        try:
            stream = pa.input_stream(raw, compression=compression)
            yield CountedStream(stream, found.size if compression else None)
        except LimitExceeded as error:
            raise UnusableFile(str(error)) from error
        except (pa.ArrowException, OSError, EOFError) as error:
            raise UnusableFile(f"It cannot be read to its end: {error}") from error


def weigh_lines(lake: Lake, file: SourceFile) -> SourceFile:
    """Read compressed JSON lines to their end; the file with its weight.

    Raises UnusableFile if it was cut off, which the engine does not always see, or if it or one of
    its lines is too long.
    """
    with unpacked(lake, file.object) as stream:
        unfinished = 0
        while block := stream.read(_BLOCK):
            first, last = block.find(b"\n"), block.rfind(b"\n")
            limits.check_line(unfinished + (first if first >= 0 else len(block)))
            unfinished = len(block) - last - 1 if last >= 0 else unfinished + len(block)
        return replace(file, weight=stream.weight)


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise UnusableFile("Two of its columns have the same name.")
    return names


def _known(names: list[str], table: Table) -> dict[str, Column | None]:
    """The columns of a file that the load reads; `tenant_id` is read to be checked."""
    by_source = {s.name: column for column in table.columns for s in column.sources}
    known: dict[str, Column | None] = {}
    for name in names:
        if name in by_source:
            known[name] = by_source[name]
        elif name == TENANT_COLUMN.name:
            known[name] = None
    return known


def _finish(
    names: list[str], read_types: list[tuple[str, str]], table: Table
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    present = {name for name, _ in read_types}
    key = table.column(table.key)
    accepted = [source.name for source in key.sources]
    if not present.intersection(accepted):
        raise UnusableFile(f"It has no column {' or '.join(accepted)}, which identifies a row.")
    return tuple(sorted(read_types)), tuple(sorted(set(names) - present))


def _read_type(arrow: pa.DataType, column: Column | None, name: str) -> str:
    """The type to read a Parquet column as: its own where the footer proves that every value
    fits, else text, which is then cast value by value."""
    if pa.types.is_nested(arrow):
        raise UnusableFile(f"Column {name} holds {arrow}, not single values.")
    if pa.types.is_time(arrow):
        raise UnusableFile(f"Column {name} holds times of day without a date.")
    if column is None or column.kind.is_text:
        return TEXT_TYPE
    if _fits(arrow, column.kind):
        return f"Nullable({column.kind.value})"
    return TEXT_TYPE


def _fits(arrow: pa.DataType, kind: Kind) -> bool:
    match kind:
        case Kind.BOOL:
            fits = pa.types.is_boolean(arrow)
        case Kind.COUNT:
            fits = pa.types.is_integer(arrow) and not pa.types.is_uint64(arrow)
        case Kind.INSTANT:
            fits = pa.types.is_timestamp(arrow) or pa.types.is_date(arrow)
        case Kind.MONEY | Kind.HOURS if pa.types.is_decimal(arrow):
            precision, scale = kind.decimal_size
            fits = arrow.scale <= scale and arrow.precision - arrow.scale <= precision - scale
        case _:
            fits = False
    return bool(fits)
