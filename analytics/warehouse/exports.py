"""Makes files of a statement's rows, in processes of their own (`export_process.py`)."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

from django.conf import settings

from analytics.warehouse.errors import StatementFailed
from analytics.warehouse.pool import reader_login
from analytics.warehouse.turns import Turns
from common.heartbeat import beating
from common.renderers import MAX_PROCESSES, MAX_WAIT, Renderers, RenderingFailed
from common.spreadsheets import Sheet

FILE, PROGRESS, STOP = "table", "progress", "stop"
STOPPED = b"stopped"
WATCH_SECONDS = 2.0
KINDS = ("csv", "xlsx")

_processes = Renderers("analytics.warehouse.export_process")
_jobs = Renderers("analytics.warehouse.export_process")
_turns = Turns(MAX_PROCESSES, seconds=MAX_WAIT)


class ExportRefused(ValueError):
    """The table does not fit into a file of this kind. The text explains what to do."""


class ExportStopped(Exception):
    """Whoever watches the job has stopped it."""


# Called with the number of rows so far; returns whether to go on.
Watch = Callable[[int], bool]


def limits(*, is_job: bool) -> tuple[int, int]:
    """The seconds and the megabytes that one file may take."""
    if is_job:
        return settings.DOWNLOAD_SECONDS, settings.DOWNLOAD_MEGABYTES
    return settings.EXPORT_SECONDS, settings.EXPORT_MEGABYTES


@contextmanager
def watching(folder: Path, watch: Watch | None) -> Iterator[None]:
    """Tell `watch` of the progress that the process writes, and the process to stop."""
    if watch is None:
        yield
        return

    def look() -> None:
        progress = folder / PROGRESS
        if not watch(int(progress.read_text()) if progress.exists() else 0):
            (folder / STOP).touch()

    with beating(look, WATCH_SECONDS):
        yield


def table_file(
    tenant: str,
    statement: tuple[str, Mapping[str, Any], Mapping[str, Any]],
    sheet: Sheet,
    kind: str,
    zone: ZoneInfo,
    watch: Watch | None = None,
) -> IO[bytes]:
    """A temporary file with the rows of (sql, parameters, settings), at its beginning.

    `sheet` has the columns, and for XLSX the title. With `watch`, it is a job: it may take longer,
    reports its progress and can be stopped. Nothing is left of the file when it is closed. Raises
    ExportRefused, ExportStopped, WarehouseError.
    """
    at = asdict(reader_login().address())
    seconds, megabytes = limits(is_job=watch is not None)
    turn = nullcontext() if watch else _turns.turn(tenant)  # jobs take turns by their rows
    with turn, tempfile.TemporaryDirectory(prefix="avesa-export-") as folder:
        try:
            with watching(Path(folder), watch):
                [refusal] = (_jobs if watch else _processes).render(
                    "table_file",
                    seconds=seconds,
                    address=at,
                    timeouts=(settings.CLICKHOUSE_CONNECT_TIMEOUT, seconds),
                    statement=statement,
                    sheet=asdict(sheet),
                    kind=kind,
                    zone=zone.key,
                    folder=folder,
                    max_bytes=megabytes << 20,
                )
        except RenderingFailed as error:
            raise StatementFailed(f"The export failed. {error}") from error
        if refusal == STOPPED:
            raise ExportStopped
        if refusal:
            raise ExportRefused(refusal.decode())
        return (Path(folder) / FILE).open("rb")
