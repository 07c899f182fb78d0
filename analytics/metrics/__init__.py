"""Metrics: named figures, each resting on the facts of one `.sql` file beside this one.

`registry` declares them and `run_metric` computes one for a tenant, a period, an as-of date and
filters.
"""

from analytics.metrics.cache import NotCached
from analytics.metrics.freshness import Freshness, freshness_of
from analytics.metrics.registry import FILTERS, METRICS, Aggregate, Metric
from analytics.metrics.run import Figure, MetricResult, Part, run_metric

__all__ = [
    "FILTERS",
    "METRICS",
    "Aggregate",
    "Figure",
    "Freshness",
    "Metric",
    "MetricResult",
    "NotCached",
    "Part",
    "freshness_of",
    "run_metric",
]
