"""Files as batches of text columns, read by the worker with bounded memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from .discovery import compression_of
from .lake import Lake, LakeObject
from .shapes import ShapedFile, UnusableFile

BATCH_ROWS = 20_000
_CSV_BLOCK = 4 << 20
_BATCH_CHARACTERS = 16 << 20


@dataclass(frozen=True)
class TextBatch:
    """Rows of one file: text columns, and per row its number from 0 and '' or the broken line."""

    columns: list[list[str | None]]
    numbers: list[int]
    broken: list[str]

    def columns_for(self, found: LakeObject) -> list[Sequence[Any]]:
        """The columns as the raw table takes them."""
        count = len(self.numbers)
        return [
            *self.columns,
            [found.path] * count,
            self.numbers,
            [found.last_modified] * count,
            self.broken,
        ]


def text_batches(lake: Lake, file: ShapedFile, names: Sequence[str]) -> Iterator[TextBatch]:
    """The columns `names` of one file, as text in the forms that the engine's own reader gives.

    Raises UnusableFile when the file cannot be read to its end.
    """
    reader = {"parquet": _parquet, "csv": _csv, "jsonl": _lines}[file.shape.format]
    try:
        yield from reader(lake, file.object, list(names))
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        raise UnusableFile(f"It cannot be read: {error}", file) from error


def _parquet(lake: Lake, found: LakeObject, names: list[str]) -> Iterator[TextBatch]:
    with lake.open(found) as raw:
        file = pq.ParquetFile(raw, pre_buffer=True)
        first = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=names):
            columns = [as_text(batch.column(name)) for name in names]
            yield TextBatch(columns, *_numbered(first, batch.num_rows))
            first += batch.num_rows


def _lines(lake: Lake, found: LakeObject, names: list[str]) -> Iterator[TextBatch]:
    with lake.open(found) as raw:
        lines = pa.input_stream(raw, compression=compression_of(found.key))
        decoded = iter(_decoded_lines(lines))
        first = 0
        while chunk := _chunk(decoded):
            yield TextBatch([chunk], *_numbered(first, len(chunk)))
            first += len(chunk)


def _chunk(lines: Iterator[str]) -> list[str | None]:
    """The next lines, few enough to fit into memory however long they are."""
    chunk: list[str | None] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line)
        if len(chunk) >= BATCH_ROWS or size >= _BATCH_CHARACTERS:
            break
    return chunk


def _decoded_lines(stream: pa.NativeFile) -> Iterator[str]:
    rest = b""
    while block := stream.read(_CSV_BLOCK):
        *whole, rest = (rest + block).split(b"\n")
        yield from map(_decoded, whole)
    if rest:
        yield _decoded(rest)


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        # No JSON begins like this, so that the line is rejected, as the engine rejects it.
        return "\ufffd" + line.decode(errors="replace")


def _csv(lake: Lake, found: LakeObject, names: list[str]) -> Iterator[TextBatch]:
    broken: list[tuple[int, str]] = []

    def note(row: pacsv.InvalidRow) -> str:
        # With one thread the number is known: counted from 1, the header being row 1.
        broken.append((row.number - 2, row.text))
        return "skip"

    with lake.open(found) as raw:
        stream = pa.input_stream(raw, compression=compression_of(found.key))
        with (
            _nothing_if_empty(),
            pacsv.open_csv(
                stream,
                pacsv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK),
                pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
                pacsv.ConvertOptions(
                    include_columns=names,
                    column_types=dict.fromkeys(names, pa.string()),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    null_values=["", "\\N"],
                ),
            ) as batches,
        ):
            first = 0
            for batch in batches:
                skipped = {number for number, _ in broken}
                numbers = _numbers_without(skipped, first, batch.num_rows)
                columns = [batch.column(name).to_pylist() for name in names]
                yield TextBatch(columns, numbers, [""] * batch.num_rows)
                first = numbers[-1] + 1 if numbers else first
    if broken:
        empty: list[list[str | None]] = [[None] * len(broken) for _ in names]
        yield TextBatch(empty, [number for number, _ in broken], [text for _, text in broken])


@contextmanager
def _nothing_if_empty() -> Iterator[None]:
    """A header without a line end after it is a file without rows, not a damaged one."""
    try:
        yield
    except pa.ArrowInvalid as error:
        if "Empty CSV file" not in str(error):
            raise


def _numbered(first: int, count: int) -> tuple[list[int], list[str]]:
    return list(range(first, first + count)), [""] * count


def _numbers_without(skipped: set[int], first: int, count: int) -> list[int]:
    """`count` consecutive row numbers from `first` on, leaving out those that were skipped."""
    numbers: list[int] = []
    number = first
    while len(numbers) < count:
        if number not in skipped:
            numbers.append(number)
        number += 1
    return numbers


def as_text(column: pa.Array) -> list[str | None]:
    """A column as ClickHouse would read it into a String."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz:
        column = column.cast(pa.timestamp(kind.unit, tz="UTC")).cast(pa.timestamp(kind.unit))
    elif pa.types.is_floating(kind):
        shortest = pc.cast(column, pa.string()).to_pylist()
        return [None if text is None else _float_text(text) for text in shortest]
    elif pa.types.is_decimal(kind):
        return [None if value is None else _decimal_text(value) for value in column.to_pylist()]
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        column = column.cast(pa.binary())
        return [None if v is None else v.decode(errors="replace") for v in column.to_pylist()]
    texts: list[str | None] = pc.cast(column, pa.string()).to_pylist()
    return texts


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
