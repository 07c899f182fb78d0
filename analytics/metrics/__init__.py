"""Metrics: named figures, each a measure of a source, by any of its dimensions.

`dimensions` and `sources` declare what can be measured, `registry` the metrics; `run_metric`
computes one for a tenant, a period, an as-of date and filters.
"""

from analytics.metrics.dimensions import (
    DIMENSIONS,
    Dimension,
    Filter,
    parse_filters,
    value_label,
)
from analytics.metrics.freshness import Freshness, freshness_of
from analytics.metrics.registry import METRICS, Aggregate, Metric
from analytics.metrics.results import Figure, MetricQuery, MetricResult, Part
from analytics.metrics.run import all_results, records_query, run_metric, run_metrics

__all__ = [
    "DIMENSIONS",
    "METRICS",
    "Aggregate",
    "Dimension",
    "Figure",
    "Filter",
    "Freshness",
    "Metric",
    "MetricQuery",
    "MetricResult",
    "Part",
    "all_results",
    "freshness_of",
    "parse_filters",
    "records_query",
    "run_metric",
    "run_metrics",
    "value_label",
]
