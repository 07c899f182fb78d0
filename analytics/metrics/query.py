"""Queries: several metrics at once, by dimensions or over time.

`Query.of` checks everything that is named against the layer; `rows.py` computes the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analytics.metrics.dimensions import DIMENSIONS, Filters, parse_filters
from analytics.metrics.registry import METRICS, Metric
from analytics.metrics.results import MAX_DIMENSIONS
from analytics.metrics.statement import By
from analytics.periods import Period

MAX_METRICS = 10
MAX_ROWS = 1_000
DEFAULT_ROWS = 100
MAX_BUCKETS = 400
MAX_CELLS = 5_000  # buckets by rows
LABEL = "label"
DOWN = "-"


class QueryError(ValueError):
    """An invalid query. `field` is the invalid parameter, `message` what would be valid."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True)
class Query:
    """What is asked. `order` is the name of one of the metrics or LABEL.

    `limit`: after that many rows, all others are one. `over_time`: with a series of each row.
    `compare`: with the previous period, and the rows that only it has.
    """

    metrics: tuple[Metric, ...]
    by: By
    period: Period
    order: str
    is_descending: bool
    limit: int
    over_time: bool = False
    compare: bool = False

    @classmethod
    def of(
        cls,
        metrics: Sequence[str],
        by: Sequence[str],
        period: Period,
        filters: Filters,
        *,
        sort: str = "",
        limit: int | None = None,
        over_time: bool = False,
        compare: bool = False,
    ) -> "Query":
        """The query for these names. Raises QueryError."""
        if compare and over_time:
            raise QueryError("compare", "Use it without buckets, or query the period before, too.")
        found = _metrics(metrics)
        dimensions = _by(found, by, over_time)
        _check_filters(found, filters)
        order, is_descending = _order(found, dimensions, sort)
        buckets = _buckets(period) if over_time else 1
        return cls(
            found,
            dimensions,
            period,
            order,
            is_descending,
            _limit(limit, buckets),
            over_time,
            compare,
        )

    @property
    def is_ordered(self) -> bool:
        """Whether its rows are all values of a fixed list, which has an order."""
        return _is_ordered(self.by)


def _is_ordered(by: By) -> bool:
    return len(by) == 1 and DIMENSIONS[by[0]].is_ordered


def _metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    names = list(dict.fromkeys(names))
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        problem = f"There is no metric {unknown[0]!r}." if unknown else "Name at least one metric."
        raise QueryError("metric", f"{problem} Use one of {', '.join(METRICS)}.")
    if len(names) > MAX_METRICS:
        raise QueryError("metric", f"Use at most {MAX_METRICS} metrics.")
    return tuple(METRICS[name] for name in names)


def _by(metrics: Sequence[Metric], names: Sequence[str], over_time: bool) -> By:
    if len(set(names)) != len(names) or len(names) > MAX_DIMENSIONS:
        raise QueryError("by", f"Use at most {MAX_DIMENSIONS} different dimensions.")
    if over_time and len(names) > 1:
        raise QueryError("by", "Use at most one dimension over time.")
    for name in names:
        _check_dimension(metrics, name, "by")
    return tuple(names)


def _check_dimension(metrics: Sequence[Metric], name: str, field: str) -> None:
    for metric in metrics:
        if name not in metric.dimensions:
            shared = [n for n in DIMENSIONS if all(n in each.dimensions for each in metrics)]
            valid = f"Use one of {', '.join(shared)}." if shared else "These metrics share none."
            raise QueryError(field, f"{metric.title} has no dimension {name!r}. {valid}")


def _check_filters(metrics: Sequence[Metric], filters: Filters) -> None:
    for each in parse_filters(filters):
        _check_dimension(metrics, each.dimension, each.name)


def _order(metrics: Sequence[Metric], by: By, sort: str) -> tuple[str, bool]:
    """What rows are ordered by, and whether it is descending."""
    first = metrics[0].name
    if not sort:
        return (LABEL, False) if _is_ordered(by) else (first, True)
    name = sort.removeprefix(DOWN)
    valid = [LABEL, *(metric.name for metric in metrics)]
    if name not in valid:
        raise QueryError(
            "sort", f"Use one of {', '.join(valid)}, or {DOWN}{first} for the largest first."
        )
    return name, sort.startswith(DOWN)


def _buckets(period: Period) -> int:
    count = sum(1 for _ in period.buckets())
    if count > MAX_BUCKETS:
        raise QueryError(
            "buckets",
            f"These are {count:,} buckets. Use at most {MAX_BUCKETS}: week or month, or a shorter "
            "period.",
        )
    return count


def _limit(limit: int | None, buckets: int) -> int:
    most = min(MAX_ROWS, MAX_CELLS // buckets)
    if limit is None:
        return min(DEFAULT_ROWS, most)
    if not 1 <= limit <= most:
        over = f" with {buckets} buckets" if buckets > 1 else ""
        raise QueryError("limit", f"Use a number from 1 to {most:,}{over}.")
    return limit
