"""How much memory a Parquet file takes to read, by its pages rather than by what its footer claims.

A page is unpacked as a whole, and a reader holds one of each column at a time. Only the header of
the page itself states how large it is: https://parquet.apache.org/docs/file-format/data-pages/
Headers are structs in Thrift's compact protocol.
"""

from collections.abc import Collection
from io import SEEK_SET
from typing import Any, BinaryIO

_HEADER_BYTES = 64 << 10  # enough for any but absurd statistics in it
_UNPACKED, _PACKED = 2, 3  # fields of a page header


class UnreadablePage(ValueError):
    """What should be the header of a page is none."""


def memory_to_read(file: BinaryIO, metadata: Any, columns: Collection[str]) -> int:
    """The bytes of the largest pages, unpacked, one of each of `columns`."""
    largest = dict.fromkeys(columns, 0)
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            if chunk.path_in_schema in largest and chunk.num_values:
                size = _largest_page(file, chunk)
                largest[chunk.path_in_schema] = max(largest[chunk.path_in_schema], size)
    return sum(largest.values())


def _largest_page(file: BinaryIO, chunk: Any) -> int:
    position = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
    end = position + chunk.total_compressed_size
    largest = 0
    while position < end:
        file.seek(position, SEEK_SET)
        fields, length = _struct(file.read(_HEADER_BYTES), 0)
        packed, unpacked = fields.get(_PACKED, -1), fields.get(_UNPACKED, -1)
        if packed < 0 or unpacked < 0:
            raise UnreadablePage("It has a page without a size.")
        largest = max(largest, unpacked)
        position += length + packed
    return largest


# --- Thrift's compact protocol

# Kinds of values.
_TRUTHS, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _LISTS, _STRUCT = (
    {1, 2},
    3,
    {4, 5, 6},
    7,
    8,
    {9, 10},
    12,
)
_MAX_DEPTH = 8


def _struct(data: bytes, position: int, depth: int = 0) -> tuple[dict[int, int], int]:
    """(the integers among the fields of the struct that begins at `position`, where it ends)."""
    if depth > _MAX_DEPTH:
        raise UnreadablePage("The header of a page is nested too deeply.")
    fields: dict[int, int] = {}
    number = 0
    while (head := _byte(data, position)) != 0:
        position += 1
        kind, step = head & 15, head >> 4
        if step:
            number += step
        else:
            number, position = _integer(data, position)
        if kind in _INTEGERS:
            fields[number], position = _integer(data, position)
        elif kind not in _TRUTHS:
            position = _skipped(data, position, kind, depth)
    return fields, position + 1


def _skipped(data: bytes, position: int, kind: int, depth: int) -> int:
    """Where the value ends that begins at `position`."""
    if kind in _TRUTHS or kind == _BYTE:  # in a list, a truth value takes a byte
        return position + 1
    if kind in _INTEGERS:
        return _varint(data, position)[1]
    if kind == _DOUBLE:
        return position + 8
    if kind == _BINARY:
        length, position = _varint(data, position)
        return position + length
    if kind in _LISTS:
        return _after_list(data, position, depth)
    if kind == _STRUCT:
        return _struct(data, position, depth + 1)[1]
    raise UnreadablePage("The header of a page cannot be read.")


def _after_list(data: bytes, position: int, depth: int) -> int:
    head, position = _byte(data, position), position + 1
    count = head >> 4
    if count == 15:
        count, position = _varint(data, position)
    for _ in range(count):
        if position >= len(data):
            raise UnreadablePage("The header of a page is cut off.")
        position = _skipped(data, position, head & 15, depth + 1)
    return position


def _integer(data: bytes, position: int) -> tuple[int, int]:
    value, position = _varint(data, position)
    return (value >> 1) ^ -(value & 1), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = _byte(data, position)
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position
        if shift > 63:
            raise UnreadablePage("The header of a page has an endless number.")


def _byte(data: bytes, position: int) -> int:
    try:
        return data[position]
    except IndexError:
        raise UnreadablePage("The header of a page is cut off.") from None
