"""Tables as CSV and XLSX, row by row, safe to open in a spreadsheet.

Text that starts like a formula could be executed when someone opens the file. In CSV, it is
prefixed with an apostrophe. In XLSX, it is marked as text, which has the same effect. Where
semicolons or tabs separate cells, as in Excel in many languages, a quoted text is split into cells
and lines. So in CSV each part of a text that starts like a formula gets an apostrophe too.
https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import IO, Any
from zoneinfo import ZoneInfo

import xlsxwriter

from common.texts import printable

MAX_SHEET_ROWS = 1_048_575  # Excel's limit, without the heading
MAX_CELL_CHARACTERS = 32_767
# Full-width signs count: some programs read them as the plain ones. Blanks and quotes are skipped.
_FORMULA = r'(?:[^\S\t\r\n]|")*[=+\-@＝＋－＠]'
_FORMULA_START = re.compile(rf"[\t\r\n]|{_FORMULA}")
_FORMULA_PLACES = re.compile(rf"^(?=[\t\r\n]|{_FORMULA})|(?<=[;\t\r\n])(?={_FORMULA})")
_FIRST_SHEET_YEAR = 1900


class TooManyRows(ValueError):
    """More rows than a spreadsheet can hold."""


def csv_lines(
    heading: Sequence[str], rows: Iterable[Sequence[Any]], zone: ZoneInfo
) -> Iterator[bytes]:
    """UTF-8 with a byte order mark, so that Excel recognizes it; times carry `zone`'s offset."""
    writer = csv.writer(_Line())
    yield b"\xef\xbb\xbf" + writer.writerow(heading).encode()
    for row in rows:
        line = writer.writerow([_csv_cell(value, zone) for value in row])
        yield line.encode()


class _Line:
    """A file that hands each line back instead of keeping it."""

    def write(self, text: str) -> str:
        return text


def _csv_cell(value: Any, zone: ZoneInfo) -> Any:
    match value:
        case str():
            return _FORMULA_PLACES.sub("'", value)
        case datetime():
            return value.astimezone(zone).isoformat()
        case bool():
            return "yes" if value else "no"
    return value


def xlsx_file(heading: Sequence[str], rows: Iterable[Sequence[Any]], zone: ZoneInfo) -> IO[bytes]:
    """A temporary file, at its beginning. Instants are shown in `zone`. Raises TooManyRows."""
    file = tempfile.NamedTemporaryFile(suffix=".xlsx")  # noqa: SIM115 (the caller closes it)
    options = {"constant_memory": True, "default_date_format": "yyyy-mm-dd"}
    book = xlsxwriter.Workbook(file, options)
    sheet = book.add_worksheet()
    sheet.freeze_panes(1, 0)
    bold = book.add_format({"bold": True})
    formats = {
        "text": book.add_format({"quote_prefix": True}),
        "instant": book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
    }
    for column, title in enumerate(heading):
        sheet.write_string(0, column, title, bold)
    try:
        for number, row in enumerate(rows, 1):
            if number > MAX_SHEET_ROWS:
                raise TooManyRows(f"A spreadsheet holds {MAX_SHEET_ROWS:,} rows. Use CSV.")
            for column, value in enumerate(row):
                _write_cell(sheet, number, column, value, formats, zone)
    except BaseException:
        book.close()  # it has temporary files of its own
        file.close()
        raise
    book.close()
    file.seek(0)
    return file


def _write_cell(
    sheet: Any, row: int, column: int, value: Any, formats: dict[str, Any], zone: ZoneInfo
) -> None:
    match value:
        case None:
            return
        case bool():
            sheet.write_boolean(row, column, value)
        case int() | Decimal():
            sheet.write_number(row, column, value)
        case datetime() if value.year >= _FIRST_SHEET_YEAR:
            local = value.astimezone(zone).replace(tzinfo=None)
            sheet.write_datetime(row, column, local, formats["instant"])
        case date() if value.year >= _FIRST_SHEET_YEAR:
            sheet.write_datetime(row, column, value)
        case _:
            text = printable(str(value))[:MAX_CELL_CHARACTERS]
            is_risky = _FORMULA_START.match(text)
            sheet.write_string(row, column, text, formats["text"] if is_risky else None)
