"""Compressed frames: a checksum, a header and up to 1 MiB of block data."""

import struct

import zstd
from clickhouse_cityhash.cityhash import CityHash128
from lz4 import block as lz4

from analytics.warehouse.embedded.byte_reader import Reader
from analytics.warehouse.embedded.server_errors import (
    CANNOT_DECOMPRESS,
    CHECKSUM_DOESNT_MATCH,
    UNKNOWN_COMPRESSION_METHOD,
    ServerError,
)

LZ4 = 0x82
ZSTD = 0x90
NONE = 0x02
_FRAME = 1 << 20
_MAX_FRAME = 1 << 30  # bytes of a frame, and of its data
_HEADER = struct.Struct("<BII")  # method, size with this header, size of the data
_CHECKSUM = struct.Struct("<QQ")  # the higher half first


def compress(data: bytes, method: int) -> bytes:
    """Block data as frames; `method` is LZ4 or ZSTD."""
    pieces = (data[start : start + _FRAME] for start in range(0, len(data), _FRAME))
    return b"".join(_frame(piece, method) for piece in pieces)


def read_frame(reader: Reader) -> bytes:
    """The data of the next frame; a damaged frame raises ServerError."""
    checksum = reader.read(_CHECKSUM.size)
    header = reader.read(_HEADER.size)
    method, size, data_size = _HEADER.unpack(header)
    if not _HEADER.size < size <= _MAX_FRAME or not 0 < data_size <= _MAX_FRAME:
        raise _damaged("impossible sizes")
    body = reader.read(size - _HEADER.size)
    if _checksum(header + body) != checksum:
        raise ServerError(
            CHECKSUM_DOESNT_MATCH, "A compressed frame is damaged (CHECKSUM_DOESNT_MATCH)"
        )
    try:
        data = _decompress(method, body, data_size)
    except (lz4.LZ4BlockError, zstd.Error, ValueError, MemoryError) as error:
        raise _damaged(str(error)) from None
    if len(data) != data_size:
        raise _damaged("another size than announced")
    return data


def _frame(data: bytes, method: int) -> bytes:
    packed = zstd.compress(data, 1) if method == ZSTD else lz4.compress(data, store_size=False)
    frame: bytes = _HEADER.pack(method, len(packed) + _HEADER.size, len(data)) + packed
    return _checksum(frame) + frame


def _decompress(method: int, body: bytes, size: int) -> bytes:
    if method == LZ4:
        return bytes(lz4.decompress(body, uncompressed_size=size))
    if method == ZSTD:
        return bytes(zstd.decompress(body))
    if method == NONE:
        return body
    raise ServerError(
        UNKNOWN_COMPRESSION_METHOD,
        f"Unknown compression method {method:#x} (UNKNOWN_COMPRESSION_METHOD)",
    )


def _damaged(detail: str) -> ServerError:
    return ServerError(
        CANNOT_DECOMPRESS, f"A compressed frame is damaged: {detail} (CANNOT_DECOMPRESS)"
    )


def _checksum(frame: bytes) -> bytes:
    value: int = CityHash128(frame)
    return _CHECKSUM.pack(value >> 64, value & (1 << 64) - 1)
