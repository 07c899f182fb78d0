"""Blocks from the client: the data of an INSERT, and external tables of a query."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from analytics.warehouse.embedded.blocks import Column, copy_block
from analytics.warehouse.embedded.byte_reader import Reader
from analytics.warehouse.embedded.compression import read_frame
from analytics.warehouse.embedded.protocol import ClientPacket
from analytics.warehouse.embedded.server_errors import (
    QUERY_WAS_CANCELLED,
    UNEXPECTED_PACKET,
    ServerError,
)
from analytics.warehouse.embedded.spool import Spool


@dataclass(frozen=True)
class ExternalTable:
    name: str
    columns: tuple[Column, ...]
    spool: Spool


class Incoming:
    """Reads blocks into spool files. If `broken`, the stream can no longer be parsed.

    It stays so until a block has been read to its end.
    """

    def __init__(self, reader: Reader, compressed: bool, directory: Path) -> None:
        self.broken = False
        self._reader = reader
        self._compressed = compressed
        self.directory = directory

    def external_tables(self, files: ExitStack) -> list[ExternalTable]:
        """Tables sent before the query begins; their files are removed when `files` closes."""
        tables: list[ExternalTable] = []
        while True:
            name = self._data_packet()
            spool = files.enter_context(Spool(self.directory))
            columns = self._block(spool)
            spool.seal()
            if not columns:
                return tables
            spool.check()
            tables.append(ExternalTable(name, columns, spool))

    def blocks(self, spool: Spool) -> Iterator[tuple[Column, ...]]:
        """Writes blocks to the spool, one per step; gives the columns of each."""
        self._data_packet()
        while columns := self._block(spool):
            yield columns
            self._data_packet()

    def skip_block(self) -> None:
        """Skips a block of an INSERT that has failed, after its packet number."""
        self._reader.text()
        with Spool(self.directory) as spool:
            self._block(spool)

    def _data_packet(self) -> str:
        """The table name of the next block."""
        kind = self._reader.varint()
        if kind == ClientPacket.CANCEL:
            raise ServerError(QUERY_WAS_CANCELLED, "Query was canceled (QUERY_WAS_CANCELLED)")
        if kind != ClientPacket.DATA:
            self.broken = True
            raise ServerError(
                UNEXPECTED_PACKET, f"Expected data, got {kind} (UNEXPECTED_PACKET_FROM_CLIENT)"
            )
        return self._reader.text()

    def _block(self, spool: Spool) -> tuple[Column, ...]:
        """Writes the next block to the spool; returns its columns, none at the end of the data."""
        reader = self._reader
        if self._compressed:
            reader = Reader(lambda: read_frame(self._reader))
        self.broken = True
        columns, rows = copy_block(reader, spool.write)
        self.broken = False
        spool.rows += rows
        return columns
