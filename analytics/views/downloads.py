"""Downloads of tables and files. A file is complete before its first byte is sent."""

from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any
from zoneinfo import ZoneInfo

from django.http import FileResponse, HttpResponse
from django.http.response import HttpResponseBase

from common.renderers import RenderingFailed
from common.spreadsheets import Sheet, csv_lines, xlsx_file

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "xlsx": XLSX}


def csv_download(
    label: str,
    heading: Sequence[str],
    rows: Iterable[Sequence[Any]],
    zone: ZoneInfo,
) -> HttpResponse:
    """A few `rows` as CSV."""
    content = b"".join(csv_lines(heading, rows, zone))
    return download(content, CONTENT_TYPES["csv"], f"{label}.csv")


def workbook_download(label: str, sheets: Sequence[Sheet], zone: ZoneInfo) -> HttpResponseBase:
    """A few rows in named sheets, as XLSX."""
    return file_download(xlsx_file(sheets, zone), f"{label}.xlsx")


def file_download(file: IO[bytes], name: str) -> HttpResponseBase:
    """A csv or xlsx file. The server sends it, and no thread waits for a slow reader."""
    kind = name.rpartition(".")[2]
    return FileResponse(file, as_attachment=True, filename=name, content_type=CONTENT_TYPES[kind])


def download(content: bytes, content_type: str, name: str) -> HttpResponse:
    response = HttpResponse(content, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def rendered_download(make: Callable[[], bytes], content_type: str, name: str) -> HttpResponse:
    """What `make` renders, or an error message."""
    try:
        return download(make(), content_type, name)
    except RenderingFailed as error:
        return HttpResponse(f"{error}\n", content_type="text/plain", status=503)


def bad_download(field: str, message: str) -> HttpResponse:
    """An error message instead of a file."""
    return HttpResponse(f"{field}: {message}\n", content_type="text/plain", status=400)
