"""Metrics: named figures, each computed from the facts of one `.sql` file in this folder.

`registry` declares them; `run_metric` computes one for a tenant, a period, an as-of date and
filters.
"""

from analytics.metrics.cache import CacheMiss
from analytics.metrics.freshness import Freshness, freshness_of
from analytics.metrics.registry import FILTERS, METRICS, Aggregate, Metric
from analytics.metrics.run import Figure, MetricResult, Part, run_metric

__all__ = [
    "FILTERS",
    "METRICS",
    "Aggregate",
    "CacheMiss",
    "Figure",
    "Freshness",
    "Metric",
    "MetricResult",
    "Part",
    "freshness_of",
    "run_metric",
]
