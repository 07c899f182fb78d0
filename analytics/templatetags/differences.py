"""Formats the differences between two moments of a figure for people."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any
from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format

from analytics.dashboards.scope import Scope
from analytics.metrics import DIMENSIONS, Aggregate, Filter, Metric, value_label
from analytics.metrics.differences import Cause, Differences, Reading, RecordDifference
from analytics.metrics.formats import DASH, duration_text, figure_text
from analytics.metrics.results import Figure, Numbers

register = template.Library()

_HEADINGS = {
    Cause.ENTERED: "Entered",
    Cause.LEFT: "Left",
    Cause.CHANGED: "Changed",
}


@register.filter
def cause(found: Cause) -> str:
    return _HEADINGS[found]


@register.simple_tag
def moment(reading: Reading) -> str:
    """When a figure is from, such as "As of 14 Jun 2026, 07:00, with the data loaded by then"."""
    as_of, loaded_by = reading.moment.as_of, reading.moment.loaded_by
    text = f"As of {_instant(as_of)}" if as_of else "Now"
    if loaded_by:
        text += f", with the data loaded by {_instant(loaded_by)}"
    return text


def _instant(instant: Any) -> str:
    return date_format(timezone.localtime(instant), "j M Y, H:i")


@register.simple_tag
def change_of(found: Differences) -> str:
    """The difference of both figures as shown."""
    if found.change is None:
        return DASH
    return _signed(found.metric, Fraction(found.change), found.metric.places)


@register.simple_tag
def contribution(metric: Metric, part: Fraction | None) -> str:
    """Parts of shares and ratios have a decimal more than the figure."""
    if part is None:
        return DASH
    return _signed(metric, part, metric.places + metric.aggregate.is_quotient)


def _signed(metric: Metric, amount: Fraction, places: int) -> str:
    """With a sign, in the unit of the figure."""
    sign = "+" if amount > 0 else "−" if amount < 0 else ""
    size = abs(amount)
    exact = Decimal(size.numerator) / Decimal(size.denominator)
    if metric.aggregate.is_duration:
        return f"{sign}{duration_text(exact)}"
    unit = {"%": " points", "hours": " h"}.get(metric.unit, "")
    return f"{sign}{exact:,.{places}f}{unit}"


@register.simple_tag
def numbers(metric: Metric, found: Numbers, record: RecordDifference | None = None) -> str:
    """A record's numbers in words: 1, "0 of 1", a difference, or the times that a median ranks."""
    if record is not None and not any(found):
        is_absent = record.cause is (Cause.ENTERED if found is record.before else Cause.LEFT)
        if is_absent:
            return DASH
    if metric.aggregate.is_duration:
        times = found[0]
        if isinstance(times, int):
            return f"{times:,}"
        return ", ".join(duration_text(Decimal(each) / 3_600_000) for each in times) or DASH
    if metric.aggregate.is_quotient:
        return f"{_plain(found[0])} of {_plain(found[1])}"
    if metric.aggregate is Aggregate.DIFFERENCE:
        return f"{_plain(found[0])} − {_plain(found[1])}"
    return figure_text(metric, _as_figure(found[0]))


def _as_figure(number: Any) -> Figure:
    return number if isinstance(number, int | Decimal) else Decimal(number)


def _plain(number: Any) -> str:
    return f"{number:,.2f}" if isinstance(number, Decimal) else f"{number:,}"


@register.simple_tag
def filter_words(filters: Sequence[Filter], names: Mapping[str, str]) -> str:
    """The filters, such as "Priority: High · Board is not: Projects"."""
    return " · ".join(
        f"{DIMENSIONS[each.dimension].title}{' is not' if each.is_excluding else ''}: "
        + ", ".join(value_label(each.dimension, value, names) for value in each.values)
        for each in filters
    )


@register.simple_tag
def why_url(metric: Metric, scope: Scope) -> str:
    """Why the figure as of the scope's date is not the one of today.

    Both cover the same days. A state at the as-of date is compared with that of today.
    """
    if scope.as_of is None:
        return ""
    first, last = scope.period.start, scope.period.last_day
    as_of = scope.as_of.astimezone(scope.tenant.zone).date()
    if metric.is_state and last >= as_of:
        first = last = timezone.localdate()
    query = {"start": f"{first}", "end": f"{last}", **scope.filters, "before": f"{as_of}"}
    address = reverse("figure_why", args=[scope.tenant.id, metric.name])
    return f"{address}?{urlencode(query, doseq=True)}"
