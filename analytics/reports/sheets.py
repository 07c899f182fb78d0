"""Reports as spreadsheets: one row per value, unrounded."""

from decimal import Decimal
from zoneinfo import ZoneInfo

from analytics.reports.content import RECORD_HEADING, Content
from common.spreadsheets import csv_lines, xlsx_file

VALUE_COLUMNS = ("Value", "Previous period")


def csv(content: Content) -> bytes:
    return b"".join(csv_lines(RECORD_HEADING, _rows(content), ZoneInfo(content.zone)))


def xlsx(content: Content) -> bytes:
    with xlsx_file(RECORD_HEADING, _rows(content), ZoneInfo(content.zone)) as file:
        return file.read()


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
