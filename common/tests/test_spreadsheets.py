"""Texts never start like a formula where a cell may start; numbers stay numbers."""

import csv
import io
import re
from datetime import date
from decimal import Decimal
from time import perf_counter
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import spreadsheets

UTC = ZoneInfo("UTC")
FORMULA = re.compile(r"[=+\-@＝＋－＠]")
SIGNS = "=+-@＝＋－＠"


FIRST_ROW = spreadsheets.TITLE_ROWS + 2


def book_of(heading, rows, name="x", **texts):
    columns = [spreadsheets.Column(each) for each in heading]
    return spreadsheets.xlsx_file([spreadsheets.Sheet(name, columns, rows, **texts)], UTC)


def line_of(*row):
    _, line = spreadsheets.csv_lines(["x"], [row], UTC)
    return line.decode()


def cells_by(separator, line):
    """The cells that a program sees which splits at `separator` and does not know our quotes."""
    cells = re.split(rf"[{separator}\r\n]", line)
    return [cell.strip().strip('"').strip() for cell in cells]


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize(
    "before",
    ["", "\t", "\r", "\n", "\r\n", " ", '"', ' "" ', "a;", "a; ", "a\n", "a\t", 'a;"', ";;"],
)
def test_no_part_of_a_text_starts_like_a_formula(before, sign):
    line = line_of(f"{before}{sign}1+1;", "end")
    ((text, _),) = csv.reader(io.StringIO(line, newline=""))
    assert not FORMULA.match(text.strip())
    assert text.replace("'", "") == f"{before}{sign}1+1;"
    for separator in (";", "\t"):
        assert [cell for cell in cells_by(separator, line) if FORMULA.match(cell)] == []


@pytest.mark.parametrize(
    "text", ["a-b", "a=b; c", "x@y.example", "1;2", "a\nb", 'say "no"', "ok;'=1", "'=1"]
)
def test_other_texts_are_not_changed(text):
    assert next(csv.reader(io.StringIO(line_of(text), newline=""))) == [text]


def test_numbers_stay_numbers():
    assert line_of(-5, Decimal("-0.50"), -1.5, None, True) == "-5,-0.50,-1.5,,yes\r\n"
    with book_of(["x", "y"], [[-5, Decimal("-0.5")]]) as file:
        sheet = openpyxl.load_workbook(io.BytesIO(file.read())).active
    assert [cell.value for cell in sheet[FIRST_ROW]] == [-5, -0.5]


@pytest.mark.parametrize("text", ["=1", "＝1", "\n=1", " @x", '"-1'])
def test_in_xlsx_such_a_text_is_marked_as_text(text):
    with book_of([text], [[text]], name="x", title=text, about=text) as file:
        sheet = openpyxl.load_workbook(io.BytesIO(file.read())).active
    cells = [sheet["A1"], sheet["A2"], sheet["A4"], sheet["A5"]]
    assert {(cell.data_type, cell.quotePrefix) for cell in cells} == {("s", True)}


@given(st.lists(st.text(max_size=40), max_size=12))
def test_names_of_sheets_are_what_excel_accepts(wanted):
    names = spreadsheets.sheet_names(wanted)
    assert len({name.lower() for name in names}) == len(names) == len(wanted)
    for name in names:
        assert 0 < len(name) <= 31
        assert not set(name) & set("[]:*?/\\")
        assert not name.startswith("'")
        assert not name.endswith("'")
        assert name.lower() != "history"


def test_a_sheet_has_a_title_a_frozen_heading_real_dates_and_formats():
    columns = [spreadsheets.Column("Day"), spreadsheets.Column("SLA met", spreadsheets.PERCENT)]
    rows = [[date(2026, 3, 1), Decimal("0.934")], [date(2026, 3, 2), None]]
    sheets = [spreadsheets.Sheet("By day", columns, rows, "SLA met", "Acme · March")]
    with spreadsheets.xlsx_file([*sheets, *sheets], UTC) as file:
        book = openpyxl.load_workbook(io.BytesIO(file.read()))
    assert book.sheetnames == ["By day", "By day 2"]
    sheet = book["By day 2"]
    assert (sheet["A1"].value, sheet["A2"].value) == ("SLA met", "Acme · March")
    assert [cell.value for cell in sheet[4]] == ["Day", "SLA met"]
    assert (sheet["A5"].value.date(), sheet["A5"].number_format) == (rows[0][0], "yyyy-mm-dd")
    assert (sheet["B5"].value, sheet["B5"].number_format) == (0.934, "0.0%")
    assert sheet["B6"].value is None
    assert sheet.freeze_panes == "A5"
    assert sheet.column_dimensions["A"].width > 10


@pytest.mark.parametrize("part", [";", "\n", " ", '"', '; "'])
def test_the_time_grows_with_the_length_only(part):
    started = perf_counter()
    line_of(part * 100_000)
    assert perf_counter() - started < 2
