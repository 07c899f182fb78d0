"""Downloads of tables and files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any
from zoneinfo import ZoneInfo

from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from common.renderers import RenderingFailed
from common.spreadsheets import TooManyRows, csv_lines, xlsx_file

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
CHUNK = 64 * 1024


def table_download(
    kind: str,
    label: str,
    heading: Sequence[str],
    rows: Iterable[Sequence[Any]],
    zone: ZoneInfo,
) -> HttpResponseBase:
    """`rows` as csv or xlsx. Raises Http404 for any other kind."""
    if kind == "csv":
        response = StreamingHttpResponse(
            csv_lines(heading, rows, zone), content_type="text/csv; charset=utf-8"
        )
        response["Content-Disposition"] = f'attachment; filename="{label}.csv"'
        return response
    if kind != "xlsx":
        raise Http404
    try:
        file = xlsx_file(heading, rows, zone)
    except TooManyRows as error:
        return bad_download("kind", str(error))
    response = StreamingHttpResponse(_chunks(file), content_type=XLSX)
    response["Content-Disposition"] = f'attachment; filename="{label}.xlsx"'
    return response


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk


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
