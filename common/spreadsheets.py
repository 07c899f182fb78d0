"""Tables as CSV and XLSX, row by row, safe to open in a spreadsheet.

A CSV file is one table. An XLSX file has named sheets, each with a title above its table, and
numbers and dates with their formats.

Text that starts like a formula could be executed when someone opens the file. In CSV, it is
prefixed with an apostrophe. In XLSX, it is marked as text, which has the same effect. Where
semicolons or tabs separate cells, as in Excel in many languages, a quoted text is split into cells
and lines. So in CSV each part of a text that starts like a formula gets an apostrophe too.
https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import IO, Any
from zoneinfo import ZoneInfo

import xlsxwriter

from common.texts import one_line, printable

MAX_CELL_CHARACTERS = 32_767
TITLE_ROWS = 3  # the title, what it covers, and an empty row above the heading
MAX_SHEET_ROWS = 1_048_576 - TITLE_ROWS - 1  # Excel's limit, without title and heading
# Full-width signs count: some programs read them as the plain ones. Blanks and quotes are skipped.
_FORMULA = r'(?:[^\S\t\r\n]|")*[=+\-@＝＋－＠]'
_FORMULA_START = re.compile(rf"[\t\r\n]|{_FORMULA}")
_FORMULA_PLACES = re.compile(rf"^(?=[\t\r\n]|{_FORMULA})|(?<=[;\t\r\n])(?={_FORMULA})")
_FIRST_SHEET_YEAR = 1900
_MAX_NAME = 31  # characters of a sheet's name
_NOT_IN_NAMES = re.compile(r"[\[\]:*?/\\]")
_MIN_WIDTH, _MAX_WIDTH = 10, 60  # characters
_MEASURED_ROWS = 1000  # the rows that decide how wide a column is

# Number formats of Excel, which shows them with the signs of its own language.
WHOLE, MONEY, PERCENT, HOURS = "#,##0", "#,##0.00", "0.0%", '#,##0.00" h"'
DAY, INSTANT = "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss"


class TooManyRows(ValueError):
    """More rows than a spreadsheet can hold."""


@dataclass(frozen=True)
class Column:
    """`number_format` is that of its numbers; dates and instants have their own."""

    title: str
    number_format: str = ""


@dataclass(frozen=True)
class Cell:
    """A value with a number format of its own, in a column of different numbers."""

    value: Any
    number_format: str


@dataclass(frozen=True)
class Sheet:
    """A table with its title and, in one line, what it covers."""

    name: str
    columns: Sequence[Column]
    rows: Iterable[Sequence[Any]]
    title: str = ""
    about: str = ""


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


# --- XLSX


def xlsx_file(sheets: Sequence[Sheet], zone: ZoneInfo) -> IO[bytes]:
    """A temporary file, at its beginning. Instants are shown in `zone`. Raises TooManyRows."""
    file = tempfile.NamedTemporaryFile(suffix=".xlsx")  # noqa: SIM115 (the caller closes it)
    book = xlsxwriter.Workbook(file, {"constant_memory": True})
    try:
        writer = _Writer(book, zone)
        for sheet, name in zip(sheets, sheet_names([each.name for each in sheets]), strict=True):
            writer.write(sheet, name)
    except BaseException:
        book.close()  # it has temporary files of its own
        file.close()
        raise
    book.close()
    file.seek(0)
    return file


def sheet_names(wanted: Sequence[str]) -> list[str]:
    """Names that Excel accepts: short, without certain signs, and each different."""
    found: list[str] = []
    taken = {"history"}  # Excel has one of its own
    for each in wanted:
        plain = one_line(_NOT_IN_NAMES.sub(" ", each)).strip("' ")[:_MAX_NAME].strip("' ")
        name, number = plain or "Table", 1
        while name.lower() in taken:
            number += 1
            end = f" {number}"
            name = f"{(plain or 'Table')[: _MAX_NAME - len(end)].rstrip()}{end}"
        taken.add(name.lower())
        found.append(name)
    return found


class _Writer:
    """Writes sheets of one workbook, each row once and in order, so that memory stays small."""

    def __init__(self, book: Any, zone: ZoneInfo) -> None:
        self._book = book
        self._zone = zone
        self._formats: dict[tuple[tuple[str, Any], ...], Any] = {}

    def write(self, table: Sheet, name: str) -> None:
        sheet = self._book.add_worksheet(name)
        sheet.freeze_panes(TITLE_ROWS + 1, 0)
        self._text(sheet, 0, 0, table.title or table.name, {"bold": True, "font_size": 14})
        self._text(sheet, 1, 0, table.about, {"font_color": "#5b6675"})
        heading = {"bold": True, "bottom": 1}
        for column, each in enumerate(table.columns):
            self._text(sheet, TITLE_ROWS, column, each.title, heading)
        widths = [len(each.title) for each in table.columns]
        formats = [each.number_format for each in table.columns]
        last = TITLE_ROWS
        for number, row in enumerate(table.rows, 1):
            if number > MAX_SHEET_ROWS:
                raise TooManyRows(f"A spreadsheet holds {MAX_SHEET_ROWS:,} rows. Use CSV.")
            last = TITLE_ROWS + number
            is_measured = number <= _MEASURED_ROWS
            for column, value in enumerate(row):
                self._cell(sheet, last, column, value, formats[column])
                if is_measured:
                    widths[column] = max(widths[column], _width(value))
        for column, width in enumerate(widths):
            sheet.set_column(column, column, min(max(width + 2, _MIN_WIDTH), _MAX_WIDTH))
        if table.columns:
            sheet.autofilter(TITLE_ROWS, 0, last, len(table.columns) - 1)

    def _cell(self, sheet: Any, row: int, column: int, value: Any, number_format: str) -> None:
        if isinstance(value, Cell):
            value, number_format = value.value, value.number_format
        match value:
            case None:
                return
            case bool():
                sheet.write_boolean(row, column, value)
            case int() | Decimal():
                shown = self._format({"num_format": number_format}) if number_format else None
                sheet.write_number(row, column, value, shown)
            case datetime() if value.year >= _FIRST_SHEET_YEAR:
                local = value.astimezone(self._zone).replace(tzinfo=None)
                sheet.write_datetime(row, column, local, self._format({"num_format": INSTANT}))
            case date() if value.year >= _FIRST_SHEET_YEAR:
                sheet.write_datetime(row, column, value, self._format({"num_format": DAY}))
            case _:
                self._text(sheet, row, column, str(value), {})

    def _text(
        self, sheet: Any, row: int, column: int, content: str, look: Mapping[str, Any]
    ) -> None:
        text = printable(content)[:MAX_CELL_CHARACTERS]
        if _FORMULA_START.match(text):
            look = {**look, "quote_prefix": True}
        sheet.write_string(row, column, text, self._format(look) if look else None)

    def _format(self, look: Mapping[str, Any]) -> Any:
        """A workbook has each format once."""
        key = tuple(sorted(look.items()))
        if key not in self._formats:
            self._formats[key] = self._book.add_format(dict(look))
        return self._formats[key]


def _width(value: Any) -> int:
    """About how many characters a cell shows."""
    match value:
        case Cell():
            return _width(value.value)
        case datetime():
            return len(INSTANT)
        case int() | Decimal():
            return len(f"{value:,}") + 2
    return len(str(value)) if value is not None else 0
