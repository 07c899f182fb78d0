"""Numbers as people read them."""

from decimal import Decimal

from django import template

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
