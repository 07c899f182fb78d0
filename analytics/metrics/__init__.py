"""Metrics: named figures, each one statement in a `.sql` file beside this one.

`registry` declares them and `run_metric` computes one for a tenant, a period and an as-of date.
"""

from .registry import METRICS, Metric
from .run import Freshness, MetricResult, freshness_of, run_metric

__all__ = ["METRICS", "Freshness", "Metric", "MetricResult", "freshness_of", "run_metric"]
