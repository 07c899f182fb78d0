"""What columns a file has, and which of them can be read without a detour through text.

The shape comes from the file itself (Parquet footer, CSV header), never from the engine's schema
inference, which looks at one file of many and hides columns behind a cache.
"""

import csv
import io
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.warehouse.catalog import TENANT_COLUMN, Column, Kind, Table

from .discovery import compression_of, format_of
from .lake import Lake, LakeObject

TEXT_LANE = "Nullable(String)"
_BLOCK = 4 << 20


class UnusableFile(Exception):
    """The file cannot be loaded at all; the text says why. `file` where several were at hand."""

    def __init__(self, reason: str, file: "ShapedFile | None" = None) -> None:
        super().__init__(reason)
        self.file = file


@dataclass(frozen=True)
class Shape:
    """How to read a file.

    `lanes`: (source column, ClickHouse type to read it as) of the columns that the catalog knows;
    `unknown`: its other columns; both None-free and empty for JSON lines, whose columns are known
    only once they are read. Files of equal shape are read in one statement.
    """

    format: str
    lanes: tuple[tuple[str, str], ...]
    unknown: tuple[str, ...] = field(default=(), compare=False)  # does not matter for reading

    @property
    def lane_of(self) -> dict[str, str]:
        return dict(self.lanes)


@dataclass(frozen=True)
class ShapedFile:
    """`rows` is what the footer promises, or None for formats that do not tell.

    `columns` are all of the file's, with their types as the file has them; none for JSON lines.
    """

    object: LakeObject
    shape: Shape
    rows: int | None = None
    columns: tuple[tuple[str, str], ...] = ()


def read_shape(lake: Lake, found: LakeObject, table: Table) -> ShapedFile:
    """The shape of one file. Raises UnusableFile, or LakeError when the lake fails."""
    kind = format_of(found.key)
    if kind == "parquet":
        return _parquet(lake, found, table)
    if kind == "csv":
        return _csv(lake, found, table)
    lake.touch(found)
    return ShapedFile(found, Shape("jsonl", ()))


def _parquet(lake: Lake, found: LakeObject, table: Table) -> ShapedFile:
    with lake.open(found) as file:
        try:
            metadata = pq.read_metadata(file)
            schema = metadata.schema.to_arrow_schema()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UnusableFile(f"Not a readable Parquet file: {error}") from error
    names = _distinct(list(schema.names))
    lanes = []
    for name, column in _known(names, table).items():
        lanes.append((name, _lane(schema.field(name).type, column, name)))
    shape = Shape("parquet", *_finish(names, lanes, table))
    columns = tuple((each.name, str(each.type)) for each in schema)
    return ShapedFile(found, shape, metadata.num_rows, columns)


def _csv(lake: Lake, found: LakeObject, table: Table) -> ShapedFile:
    with lake.open(found) as file:
        try:
            text = io.TextIOWrapper(
                pa.input_stream(file, compression=compression_of(found.key)),
                encoding="utf-8-sig",
                newline="",
            )
            names = _distinct(next(csv.reader(text), []))
        except (pa.ArrowException, OSError, ValueError, csv.Error) as error:
            raise UnusableFile(f"Not a readable CSV file: {error}") from error
    _check_quotes(lake, found)
    lanes = [(name, TEXT_LANE) for name in _known(names, table)]
    shape = Shape("csv", *_finish(names, lanes, table))
    return ShapedFile(found, shape, columns=tuple((name, "text") for name in names))


def _check_quotes(lake: Lake, found: LakeObject) -> None:
    """Refuse a CSV with a quote that nobody closes: readers take all that follows for one value."""
    quotes = 0
    with lake.open(found) as file:
        try:
            stream = pa.input_stream(file, compression=compression_of(found.key))
            while block := stream.read(_BLOCK):
                quotes += block.count(b'"')
        except (pa.ArrowException, OSError) as error:
            raise UnusableFile(f"Not a readable CSV file: {error}") from error
    if quotes % 2:
        raise UnusableFile(
            "It holds an odd number of quotation marks, so one is not closed. Put a value that "
            "holds one into quotes and double it there."
        )


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
    names: list[str], lanes: list[tuple[str, str]], table: Table
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    present = {name for name, _ in lanes}
    key = table.column(table.key)
    accepted = [source.name for source in key.sources]
    if not present.intersection(accepted):
        raise UnusableFile(f"It has no column {' or '.join(accepted)}, which identifies a row.")
    return tuple(sorted(lanes)), tuple(sorted(set(names) - present))


def _lane(arrow: pa.DataType, column: Column | None, name: str) -> str:
    """The type to read a Parquet column as: its own where the footer proves that every value
    fits, else text, which is then cast value by value."""
    if pa.types.is_nested(arrow):
        raise UnusableFile(f"Column {name} holds {arrow}, not single values.")
    if pa.types.is_time(arrow):
        raise UnusableFile(f"Column {name} holds times of day without a date.")
    if column is None or column.kind.is_text:
        return TEXT_LANE
    if _fits(arrow, column.kind):
        return f"Nullable({column.kind.value})"
    return TEXT_LANE


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
