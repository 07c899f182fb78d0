"""Makes files of a statement's rows, in processes of their own (`export_process.py`)."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

from django.conf import settings

from analytics.warehouse.errors import StatementFailed
from analytics.warehouse.pool import reader_login
from analytics.warehouse.turns import Turns
from common.renderers import MAX_PROCESSES, MAX_WAIT, Renderers, RenderingFailed

FILE = "table"
KINDS = ("csv", "xlsx")

_processes = Renderers("analytics.warehouse.export_process")
_turns = Turns(MAX_PROCESSES, seconds=MAX_WAIT)


class ExportRefused(ValueError):
    """The table does not fit into a file of this kind. The text explains what to do."""


def table_file(
    tenant: str,
    statement: tuple[str, Mapping[str, Any], Mapping[str, Any]],
    heading: Sequence[str],
    kind: str,
    zone: ZoneInfo,
) -> IO[bytes]:
    """A temporary file with the rows of (sql, parameters, settings), at its beginning.

    Nothing is left of it when it is closed. Raises ExportRefused, WarehouseError.
    """
    at = asdict(reader_login().address())
    with _turns.turn(tenant), tempfile.TemporaryDirectory(prefix="avesa-export-") as folder:
        try:
            [refusal] = _processes.render(
                "table_file",
                seconds=settings.EXPORT_SECONDS,
                address=at,
                timeouts=(settings.CLICKHOUSE_CONNECT_TIMEOUT, settings.EXPORT_SECONDS),
                statement=statement,
                heading=heading,
                kind=kind,
                zone=zone.key,
                folder=folder,
                max_bytes=settings.EXPORT_MEGABYTES << 20,
            )
        except RenderingFailed as error:
            raise StatementFailed(f"The export failed. {error}") from error
        if refusal:
            raise ExportRefused(refusal.decode())
        return (Path(folder) / FILE).open("rb")
