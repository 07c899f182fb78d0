"""Reports as spreadsheets: exact values, in CSV one row for each, in XLSX a sheet for each tile."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from analytics.reports import documents
from analytics.reports.content import RECORD_HEADING, Content, TileContent
from analytics.views.source_lines import PRODUCT
from analytics.views.workbooks import PREVIOUS, number_format, sheet_figure
from common.spreadsheets import Cell, Column, Sheet, csv_lines, xlsx_file

VALUE_COLUMNS = ("Value", PREVIOUS)
Record = dict[str, str | None]


def csv(content: Content) -> bytes:
    return b"".join(csv_lines(RECORD_HEADING, _rows(content), ZoneInfo(content.zone)))


def _rows(content: Content) -> list[list[str | Decimal | None]]:
    """The records, with figures as numbers."""
    numeric = [RECORD_HEADING.index(name) for name in VALUE_COLUMNS]
    return [
        [
            Decimal(cell) if column in numeric and cell is not None else cell
            for column, cell in enumerate(record)
        ]
        for tile in content.tiles
        for record in tile.records
    ]


def xlsx(content: Content) -> bytes:
    """The sheet "Total" with the figures, then one for each chart and breakdown."""
    figures = [each for each in content.tiles if each.type == "figure"]
    others = [each for each in content.tiles if each.type != "figure" and each.records]
    sheets = [_total(content, figures)] if figures else []
    for tile in others:
        sheets.append(_over_time(content, tile) if tile.type == "chart" else _parts(content, tile))
    sheets = sheets or [_total(content, [])]  # a workbook needs a sheet
    with xlsx_file(sheets, ZoneInfo(content.zone)) as file:
        return file.read()


def _total(content: Content, tiles: Sequence[TileContent]) -> Sheet:
    columns = [Column(each) for each in ("Figure", "Unit", "Days", "Filters", "Value", PREVIOUS)]
    rows = [
        [each["Figure"], each["Unit"], tile.period, tile.filters, *_values(each)]
        for tile in tiles
        for each in _records(tile)
    ]
    return Sheet("Total", columns, rows, content.report, _about(content, content))


def _over_time(content: Content, tile: TileContent) -> Sheet:
    """A row for each bucket, a column for each figure."""
    days: dict[tuple[date, date], list[Any]] = {}
    names: dict[str, Column] = {}
    for each in _records(tile):
        bucket = _day(each["First day"]), _day(each["Last day"])
        days.setdefault(bucket, []).append(_values(each)[0])
        name = f"{each['Figure']} ({each['Unit']})"
        names.setdefault(name, Column(name))
    columns = [Column("First day"), Column("Last day"), *names.values()]
    rows = [[*bucket, *values] for bucket, values in days.items()]
    return Sheet(tile.title, columns, rows, tile.title, _about(content, tile))


def _parts(content: Content, tile: TileContent) -> Sheet:
    unit = next(iter(_records(tile)))["Unit"]
    columns = [Column("Label"), Column(f"Value ({unit})"), Column(PREVIOUS)]
    rows = [[each["Label"], *_values(each)] for each in _records(tile)]
    return Sheet(tile.title, columns, rows, tile.title, _about(content, tile))


def _records(tile: TileContent) -> list[Record]:
    return [dict(zip(RECORD_HEADING, each, strict=True)) for each in tile.records]


def _values(record: Record) -> list[Cell | None]:
    """The value and the previous one as numbers, with as many places as they have."""
    unit = record["Unit"] or ""
    found: list[Cell | None] = []
    for name in VALUE_COLUMNS:
        text = record[name]
        figure = None if text is None else Decimal(text)
        places = len(text.partition(".")[2]) if text else 0
        shown = Cell(sheet_figure(unit, figure), number_format(unit, places))
        found.append(None if figure is None else shown)
    return found


def _day(text: str | None) -> date:
    return date.fromisoformat(text or "")


def _about(content: Content, shown: Content | TileContent) -> str:
    texts = [
        PRODUCT,
        content.tenant,
        shown.period,
        shown.filters,
        documents.as_of_text(content),
        documents.freshness_text(content),
    ]
    return " · ".join(filter(None, texts))
