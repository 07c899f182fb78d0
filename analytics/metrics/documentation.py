"""docs/metrics.md, written from the registry."""

from analytics.metrics.registry import METRICS, Aggregate, Metric

_HEAD = """# Metrics

Written by `manage.py metric_catalog` from `analytics/metrics/registry.py`; do not edit.

Each metric has one file of facts, `analytics/metrics/<name>.sql`. One statement computes from
it the figure of a period and of the period before, the trend by day, week or month, and the
breakdown. Days are in the tenant's time zone. With an as-of date, only versions that had taken
effect by the end of that day count. Medians and percentiles are nearest-rank: always a value that
occurred.
"""
_AGGREGATES = {
    Aggregate.COUNT: "number of facts",
    Aggregate.SUM: "sum",
    Aggregate.SHARE: "share, in percent",
    Aggregate.RATIO: "ratio",
    Aggregate.MEDIAN: "median",
    Aggregate.P90: "90th percentile",
}


def catalog() -> str:
    return "\n".join([_HEAD, *map(_metric, METRICS.values())])


def _metric(metric: Metric) -> str:
    measured = "at the end of the period" if metric.is_state else "over the period"
    lines = [
        f"## {metric.title}",
        "",
        f"`{metric.name}`, in {metric.unit}. {metric.description}",
        "",
        f"- Measured {measured}: {_AGGREGATES[metric.aggregate]}, {metric.places} decimals shown.",
        f"- Based on {' and '.join(metric.tables)}; filters: {', '.join(metric.filters)}.",
    ]
    if metric.breakdown:
        lines.append(f"- Broken down by {metric.breakdown.lower()}.")
    return "\n".join([*lines, ""])
