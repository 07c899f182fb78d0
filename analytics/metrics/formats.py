"""Figures as texts for people: the same on pages, in charts, mails and documents."""

from decimal import Decimal

from analytics.metrics.registry import Metric
from analytics.metrics.results import Figure, rounded

DASH = "–"
MINUTES_BELOW, DAYS_FROM = 1, 48  # hours


def figure_text(metric: Metric, value: Figure) -> str:
    """A metric's figure, with its unit if it needs one; a dash for None."""
    if value is None:
        return DASH
    if metric.aggregate.is_duration:
        return duration_text(Decimal(value))
    if metric.unit == "revenue":
        return short(Decimal(value))
    return f"{rounded(Decimal(value), metric.places):,}{unit_suffix(metric)}"


def unit_suffix(metric: Metric) -> str:
    """What follows a number of the metric, on axes too: a unit that people write."""
    return {"%": " %", "hours": " h"}.get(metric.unit, "")


def duration_text(hours: Decimal) -> str:
    if abs(hours) < MINUTES_BELOW:
        return f"{hours * 60:,.0f} min"
    if abs(hours) >= DAYS_FROM:
        return f"{hours / 24:,.1f} days"
    return f"{hours:,.1f} h"


def short(value: Decimal) -> str:
    """A short form for small spaces: 1188304587 as 1.19 bn; small numbers in full."""
    for size, unit in ((10**9, "bn"), (10**6, "m")):
        if abs(value) >= size:
            return f"{value / size:,.2f} {unit}"
    return f"{value:,.0f}"
