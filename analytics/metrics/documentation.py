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
