"""Texts never start like a formula where a cell may start; numbers stay numbers."""

import csv
import io
import re
from decimal import Decimal
from time import perf_counter
from zoneinfo import ZoneInfo

import openpyxl
import pytest

from common import spreadsheets

UTC = ZoneInfo("UTC")
FORMULA = re.compile(r"[=+\-@＝＋－＠]")
SIGNS = "=+-@＝＋－＠"


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
    with spreadsheets.xlsx_file(["x"], [[-5, Decimal("-0.5")]], UTC) as file:
        sheet = openpyxl.load_workbook(io.BytesIO(file.read())).active
    assert [cell.value for cell in sheet[2]] == [-5, -0.5]


@pytest.mark.parametrize("text", ["=1", "＝1", "\n=1", " @x", '"-1'])
def test_in_xlsx_such_a_text_is_marked_as_text(text):
    with spreadsheets.xlsx_file(["x"], [[text]], UTC) as file:
        cell = openpyxl.load_workbook(io.BytesIO(file.read())).active["A2"]
    assert (cell.data_type, cell.quotePrefix) == ("s", True)


@pytest.mark.parametrize("part", [";", "\n", " ", '"', '; "'])
def test_the_time_grows_with_the_length_only(part):
    started = perf_counter()
    line_of(part * 100_000)
    assert perf_counter() - started < 2
