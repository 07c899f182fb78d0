"""Blocks on the wire, in a Native file, and in the engine's `Buffers` output.

All three contain the same column bytes in different framing, so columns are copied, not decoded.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from analytics.warehouse.embedded.byte_reader import Reader
from analytics.warehouse.embedded.column_types import layout
from analytics.warehouse.embedded.protocol import string, varint

# Field 1 (overflows) = 0, field 2 (bucket) = -1, end.
_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_DEFAULT_SERIALIZATION = b"\0"
_PAIR = struct.Struct("<QQ")
_SIZE = struct.Struct("<Q")


@dataclass(frozen=True)
class Column:
    name: str
    type: str


@dataclass(frozen=True)
class Block:
    """`data` has the bytes of each column; it is empty if there are no rows."""

    columns: tuple[Column, ...]
    rows: int
    data: tuple[bytes, ...]

    def encode(self) -> bytes:
        parts = [_BLOCK_INFO, varint(len(self.columns)), varint(self.rows)]
        for position, column in enumerate(self.columns):
            parts += [string(column.name), string(column.type), _DEFAULT_SERIALIZATION]
            if self.rows:
                parts.append(self.data[position])
        return b"".join(parts)


EMPTY = Block((), 0, ())


def header(columns: tuple[Column, ...]) -> Block:
    return Block(columns, 0, ())


def from_buffers(columns: tuple[Column, ...], output: bytes) -> Iterator[Block]:
    """Blocks of the engine's `Buffers` output: counts, then size and bytes of each column."""
    at = 0
    while at < len(output):
        count, rows = _PAIR.unpack_from(output, at)
        at += _PAIR.size
        data = []
        for _ in range(count):
            (size,) = _SIZE.unpack_from(output, at)
            at += _SIZE.size
            data.append(output[at : at + size])
            at += size
        yield Block(columns, rows, tuple(data))


def from_native(output: bytes) -> Iterator[Block]:
    """Blocks of a whole `FORMAT Native` output."""
    reader = Reader.of(output)
    while reader.more():
        yield _read_native(reader)


def copy_block(reader: Reader, write: Callable[[bytes], object]) -> tuple[tuple[Column, ...], int]:
    """Skips a client's block and writes it in the format of a Native file.

    Returns the columns and the number of rows. A block without rows writes nothing. A block that
    cannot be understood raises ServerError; the rest of the stream is then unusable.
    """
    _skip_block_info(reader)
    count, rows = reader.varint(), reader.varint()
    if rows:
        write(varint(count) + varint(rows))
    columns = tuple(_copy_column(reader, rows, write) for _ in range(count))
    return columns, rows


def _copy_column(reader: Reader, rows: int, write: Callable[[bytes], object]) -> Column:
    column = Column(reader.text(), reader.text())
    reader.skip(1)  # custom serialization, which clients of the announced revision do not use
    if rows:
        write(string(column.name) + string(column.type))
        with reader.copying_to(write):
            _skip_values(reader, column, rows)
    return column


def _skip_values(reader: Reader, column: Column, rows: int) -> None:
    layout(column.type).read_prefix(reader).skip_rows(reader, rows)


def _skip_block_info(reader: Reader) -> None:
    while field := reader.varint():
        reader.skip(1 if field == 1 else 4)


def _read_native(reader: Reader) -> Block:
    count, rows = reader.varint(), reader.varint()
    columns, data = [], []
    for _ in range(count):
        column = Column(reader.text(), reader.text())
        pieces: list[bytes] = []
        if rows:
            with reader.copying_to(pieces.append):
                _skip_values(reader, column, rows)
        columns.append(column)
        data.append(b"".join(pieces))
    return Block(tuple(columns), rows, tuple(data))
