"""A process that reads a statement's rows and writes them as CSV or XLSX, one export at a time.

Decoding and formatting take as long as a hundred pages, so they must not happen in a process that
serves pages. It gets everything with the request: address, statement, settings.
"""

import errno
import os
import resource
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from analytics.warehouse.errors import translate
from analytics.warehouse.pool import WarehouseAddress
from common.renderer_loop import main
from common.spreadsheets import Column, Sheet, TooManyRows, csv_lines, xlsx_file

FILE, PROGRESS, STOP = "table", "progress", "stop"
STOPPED = b"stopped"
ROWS_BETWEEN_REPORTS = 5_000
NICENESS = 15  # mails and documents come before exports


def table_file(
    address: dict[str, Any],
    timeouts: tuple[int, int],
    statement: tuple[str, dict[str, Any], dict[str, Any]],
    sheet: dict[str, Any],
    kind: str,
    zone: str,
    folder: str,
    max_bytes: int,
) -> list[bytes]:
    """Write FILE into `folder`. Returns b"", or why the table is refused."""
    tempfile.tempdir = folder  # of all files: whatever happens, the folder is removed
    _limit_files(max_bytes)
    connect_timeout, read_timeout = timeouts
    client = WarehouseAddress(**address).client(
        read_timeout=read_timeout, connect_timeout=connect_timeout
    )
    sql, parameters, settings = statement
    try:
        found = client.execute_iter(sql, parameters, settings=settings)
        _write(sheet, _counted(found, Path(folder)), kind, ZoneInfo(zone), Path(folder) / FILE)
    except _Stopped:
        return [STOPPED]
    except TooManyRows as error:
        return [str(error).encode()]
    except Exception as error:
        if _is_too_large(error):
            return [
                f"The file would be larger than {max_bytes >> 20} MB. "
                "Choose fewer columns or records.".encode()
            ]
        raise translate(error) from error
    finally:
        client.disconnect()
    return [b""]


class _Stopped(Exception):
    """The process that asked needs no file any more."""


def _counted(rows: Iterable[Sequence[Any]], folder: Path) -> Iterator[Sequence[Any]]:
    """The rows. Now and then their number is written, and a wish to stop is read."""
    for number, row in enumerate(rows):
        if number % ROWS_BETWEEN_REPORTS == 0:
            if (folder / STOP).exists():
                raise _Stopped
            part = folder / f"{PROGRESS}.part"
            part.write_text(f"{number}")
            part.replace(folder / PROGRESS)
        yield row


def _write(
    sheet: dict[str, Any], rows: Iterable[Sequence[Any]], kind: str, zone: ZoneInfo, path: Path
) -> None:
    columns = [Column(**each) for each in sheet["columns"]]
    if kind == "csv":
        with path.open("wb") as file:
            file.writelines(csv_lines([each.title for each in columns], rows, zone))
        return
    with xlsx_file([Sheet(**sheet | {"columns": columns, "rows": rows})], zone) as book:
        os.link(book.name, path)


def _limit_files(size: int) -> None:
    """The system refuses to write more; the signal that it sends is ignored by Python."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))


def _is_too_large(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    main(table_file, niceness=NICENESS)
