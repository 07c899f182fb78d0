"""Numbers as people read them."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()


@register.filter
def figure(value: Decimal | int | None, places: int = 0) -> str:
    """1234.5 as 1,234.5 with `places` decimals; a dash for nothing."""
    if value is None:
        return "–"
    return f"{value:,.{places}f}"


@register.filter
def short(value: Decimal | None) -> str:
    """1188304587 as 1.19 bn, for where there is little room; small numbers in full."""
    if value is None:
        return "–"
    for size, unit in ((10**9, "bn"), (10**6, "m")):
        if abs(value) >= size:
            return f"{value / size:,.2f} {unit}"
    return f"{value:,.0f}"


@register.simple_tag
def days_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> SafeString:
    """A table whose rows are days. In Python, since templates take ten times as long for it."""
    heads = format_html_join("", '<th scope="col">{}</th>', ((column,) for column in columns))
    body = format_html_join("\n", "<tr>{}</tr>", ((_day_row(row),) for row in rows))
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", heads, body)


def _day_row(row: Sequence[Any]) -> SafeString:
    day: date = row[0]
    cells = format_html_join("", "<td>{}</td>", (("–" if v is None else v,) for v in row[1:]))
    return format_html('<th scope="row">{}</th>{}', f"{day:%a}, {day.day} {day:%b %Y}", cells)
