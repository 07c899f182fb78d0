"""Files as batches of text columns, read by the worker with bounded memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from loaders.lake.s3 import Lake, LakeObject
from loaders.staging import csv_records, limits
from loaders.staging.csv_records import MalformedCsv, Record
from loaders.staging.file_schema import SourceFile, UnusableFile, unpacked
from loaders.staging.limits import LimitExceeded, Readable
from loaders.staging.parquet_pages import UnreadablePage, memory_to_read

# A value of a text column: bytes where a file may hold what is not text.
Text = str | bytes | None

BATCH_ROWS = 20_000
_BLOCK = 4 << 20
_BATCH_CHARACTERS = 16 << 20
_PARQUET_BUFFER = 1 << 20  # of each column


@dataclass(frozen=True)
class TextBatch:
    """Rows of one file: text columns, which may hold any bytes, and per row its number from 0.

    Broken rows have no columns, but a reason and their text; both are '' for the others.
    """

    columns: list[list[Text]]
    numbers: list[int]
    reasons: list[str]
    broken: list[Text]

    @property
    def rows(self) -> int:
        return len(self.numbers)

    def numbered_from(self, first: int) -> "TextBatch":
        """The same rows, as the following ones of a file."""
        return replace(self, numbers=[first + number for number in self.numbers])

    def columns_for(self, found: LakeObject) -> list[Sequence[Any]]:
        """The columns as the raw table takes them."""
        return [
            *self.columns,
            [found.path] * self.rows,
            self.numbers,
            [found.last_modified] * self.rows,
            self.reasons,
            self.broken,
        ]


def text_batches(lake: Lake, file: SourceFile, names: Sequence[str]) -> Iterator[TextBatch]:
    """The columns `names` of one file, as text in the forms that the engine's own reader gives.

    Raises UnusableFile when the file cannot be read to its end.
    """
    reader = {"parquet": _parquet, "csv": _csv, "jsonl": _lines}[file.schema.format]
    try:
        yield from reader(lake, file, list(names))
    except (MalformedCsv, LimitExceeded, UnreadablePage) as error:
        raise UnusableFile(str(error), file) from error
    except (pa.ArrowException, OSError, EOFError) as error:
        raise UnusableFile(f"It cannot be read: {error}", file) from error
    except UnusableFile as error:
        error.file = file
        raise


def _parquet(lake: Lake, file: SourceFile, names: list[str]) -> Iterator[TextBatch]:
    with lake.open(file.object) as raw:
        metadata = pq.read_metadata(raw)
        limits.check_pages(memory_to_read(raw, metadata, names))
        types = metadata.schema.to_arrow_schema()
        # Equal texts stay one until they are sent: a page may hold one long text a million times.
        texts = [name for name in names if _is_text(types.field(name).type)]
        source = pq.ParquetFile(
            raw, pre_buffer=False, buffer_size=_PARQUET_BUFFER, read_dictionary=texts
        )
        first = 0
        for batch in source.iter_batches(_rows_at_once(types, names), columns=names):
            for part in _small_parts(batch):
                columns = [as_text(part.column(name)) for name in names]
                yield _batch(columns, first, part.num_rows)
                first += part.num_rows


def _rows_at_once(types: pa.Schema, names: list[str]) -> int:
    """How many rows to read, so that values of a fixed width take little memory."""
    kinds = [types.field(name).type for name in names]
    widths = [each.byte_width for each in kinds if pa.types.is_fixed_size_binary(each)]
    return int(min([BATCH_ROWS, *(1 + _BATCH_CHARACTERS // (1 + width) for width in widths)]))


def _small_parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in parts of which the texts take little memory, unless single ones are long."""
    size = sum(
        pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0
        for column in batch.columns
        if isinstance(column, pa.DictionaryArray) and _is_text(column.type.value_type)
    )
    rows = max(1, batch.num_rows // (1 + size // _BATCH_CHARACTERS))
    for begin in range(0, batch.num_rows, rows):
        yield batch.slice(begin, rows)


def _lines(lake: Lake, file: SourceFile, names: list[str]) -> Iterator[TextBatch]:
    with unpacked(lake, file.object) as stream:
        numbered = enumerate(_split_lines(stream))
        while chunk := _chunk(numbered):
            rows: list[tuple[int, Text]] = [each for each in chunk if each[1].strip()]
            columns = [[line for _, line in rows]]
            empty: list[Text] = [""] * len(rows)
            yield TextBatch(columns, [number for number, _ in rows], [""] * len(rows), empty)


def _chunk(lines: Iterator[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """The next lines, few enough to fit into memory however long they are."""
    chunk: list[tuple[int, bytes]] = []
    size = 0
    for number, line in lines:
        chunk.append((number, line))
        size += len(line)
        if len(chunk) >= BATCH_ROWS or size >= _BATCH_CHARACTERS:
            break
    return chunk


def _split_lines(stream: Readable) -> Iterator[bytes]:
    rest = b""
    while block := stream.read(_BLOCK):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            limits.check_line(len(line))
            yield line
        limits.check_line(len(rest))
    if rest:
        yield rest


def _csv(lake: Lake, file: SourceFile, names: list[str]) -> Iterator[TextBatch]:
    header = [name for name, _ in file.columns]
    positions = [header.index(name) for name in names]
    first = 0
    with unpacked(lake, file.object) as stream:
        for segment in csv_records.segments(stream):
            if isinstance(segment, bytes):
                batches = _plain_csv(segment, header, names)
            else:
                batches = _any_csv(segment, positions)
            for batch in batches:
                yield batch.numbered_from(first)
                first += batch.rows


def _plain_csv(segment: bytes, header: list[str], names: list[str]) -> Iterator[TextBatch]:
    rows = pacsv.read_csv(
        pa.BufferReader(segment),
        pacsv.ReadOptions(use_threads=False, column_names=header, block_size=len(segment) + 1),
        pacsv.ParseOptions(newlines_in_values=True),
        pacsv.ConvertOptions(
            include_columns=names,
            column_types=dict.fromkeys(names, pa.binary()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=["", "\\N"],
        ),
    )
    for begin in range(0, rows.num_rows, BATCH_ROWS):
        part = rows.slice(begin, BATCH_ROWS)
        yield _batch([part.column(name).to_pylist() for name in names], 0, part.num_rows)


def _any_csv(segment: list[Record], positions: list[int]) -> Iterator[TextBatch]:
    for begin in range(0, len(segment), BATCH_ROWS):
        chunk = segment[begin : begin + BATCH_ROWS]
        columns: list[list[Text]] = [
            [None if record.reason else record.fields[position] for record in chunk]
            for position in positions
        ]
        yield TextBatch(
            columns,
            list(range(len(chunk))),
            [record.reason for record in chunk],
            [record.text for record in chunk],
        )


def _batch(columns: list[list[Text]], first: int, count: int) -> TextBatch:
    """`count` whole rows, numbered from `first` on."""
    return TextBatch(columns, list(range(first, first + count)), [""] * count, [""] * count)


def as_text(column: pa.Array) -> list[Text]:
    """A column as ClickHouse would read it into a String."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return as_text(column.dictionary_decode())
    if isinstance(column, pa.ExtensionArray):
        return _extension_text(column)
    if pa.types.is_timestamp(kind) and kind.tz:
        column = column.cast(pa.timestamp(kind.unit, tz="UTC")).cast(pa.timestamp(kind.unit))
    elif pa.types.is_floating(kind):
        shortest = pc.cast(column, pa.string()).to_pylist()
        return [None if text is None else _float_text(text) for text in shortest]
    elif pa.types.is_decimal(kind):
        return [None if value is None else _decimal_text(value) for value in column.to_pylist()]
    elif _holds_bytes(kind):
        texts: list[Text] = column.cast(pa.large_binary()).to_pylist()
        return texts
    texts = pc.cast(column, pa.string()).to_pylist()
    return texts


def _extension_text(column: pa.ExtensionArray) -> list[Text]:
    if column.type.extension_name != "arrow.uuid":
        return as_text(column.storage)
    return [None if each is None else str(UUID(bytes=each)) for each in column.storage.to_pylist()]


def _holds_bytes(kind: pa.DataType) -> bool:
    return _is_text(kind) or bool(pa.types.is_fixed_size_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    """Binary values, too: a file may declare as text what is not."""
    types = pa.types
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    is_binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    return bool(is_text or is_binary)


def _float_text(text: str) -> str:
    """The shortest digits as ClickHouse writes them: an exponent below 1e-6 and from 1e21 on."""
    number = Decimal(text)
    if not number.is_finite():
        return text
    if not number:
        return "-0" if number.is_signed() else "0"
    if -7 < number.adjusted() < 21:
        return _decimal_text(number)
    sign, digits, _ = number.normalize().as_tuple()
    head, *tail = map(str, digits)
    mantissa = f"{head}.{''.join(tail)}" if tail else head
    return f"{'-' if sign else ''}{mantissa}e{number.adjusted()}"


def _decimal_text(value: object) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
