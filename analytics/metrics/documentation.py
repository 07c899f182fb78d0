"""docs/metrics.md, written from the registry."""

from analytics.metrics.dimensions import DIMENSIONS
from analytics.metrics.registry import METRICS, Metric
from analytics.metrics.sources import SOURCES

_HEAD = """# Metrics

Written by `manage.py metric_catalog` from `analytics/metrics/registry.py`; do not edit.

A metric is a measure of a *source* (`analytics/metrics/sources.py`): something that happens, such
as the closing of a ticket, or that is so at an instant, such as an open ticket at the end of a
day. It can be filtered by and broken down by each *dimension* of its source, at most two at a
time. One statement for each source computes the figures of a period and of the period before, the
trend by day, week or month, and the breakdowns of all metrics that a page shows. Days are in the
tenant's time zone. With an as-of date, only versions that had taken effect by the end of that day
count. Medians and percentiles are nearest-rank: always a value that occurred.

## What happened?

Above each dashboard stand up to four sentences about its figures that moved more than usual
(`analytics/metrics/movements.py`). A change is shown if it is larger than

- **three times the usual variation**: the standard deviation that the change would have by chance,
  estimated from the days before the period (at least eight weeks), and
- 5 % of the previous figure, or 1 point of a share.

By chance alone, a figure exceeds three standard deviations about once in 370 times. The variation
is measured in four ways:

- numbers and sums: differences of each day from the same weekday a week before; of numbers at least
  a Poisson process. Days that are not over do not count, and days are compared with the same
  weekdays
- shares and ratios: differences of each day's numerator from the previous period's ratio; of shares
  of records at least a binomial
- medians and percentiles: the logarithm of that of each day, from week to week; of medians its
  median difference, which days with few times hardly move. A 90th percentile
  is taken to be as unsteady over a period as on a day, since a few long times make it
- figures at the end of the period: steps from day to day, or from week to week in long periods,
  added up as a random walk

A figure without enough history, or that never varied, is not judged. Sentences are ordered by the
change relative to its usual variation, twice that for figures of which one direction is better. Of
figures that measure the same, only the first has a sentence.
"""


def catalog() -> str:
    return "\n".join([_HEAD, _sources(), *map(_metric, METRICS.values())])


def _sources() -> str:
    rows = [
        f"| `{source.name}` | {', '.join(event for feed in source.feeds for event in feed.events)} "
        f"| {', '.join(name for name in DIMENSIONS if name in source.dimensions)} |"
        for source in SOURCES.values()
    ]
    return "\n".join(["| source | events | dimensions |", "|---|---|---|", *rows, ""])


def _metric(metric: Metric) -> str:
    measured = "at the end of the period" if metric.is_state else "over the period"
    lines = [
        f"## {metric.title}",
        "",
        f"`{metric.name}`, in {metric.unit}. {metric.description}",
        "",
        f"- Measured {measured}: {metric.aggregate.value}, {metric.places} decimals shown.",
        f"- Based on {' and '.join(metric.tables)}; dimensions: {', '.join(metric.dimensions)}.",
    ]
    if metric.default_dimension:
        lines.append(f"- Broken down by {metric.default_dimension.title.lower()}.")
    return "\n".join([*lines, ""])
