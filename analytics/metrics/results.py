"""What a metric's query is, and what its result holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from analytics.metrics.dimensions import DIMENSIONS, Dimension, Filter
from analytics.metrics.freshness import Freshness
from analytics.metrics.registry import METRICS, Aggregate, Metric
from analytics.metrics.statement import By
from analytics.periods import Period
from analytics.warehouse.catalog import COMPANIES

Figure = int | Decimal | None
MAX_DIMENSIONS = 2
OTHER = "Other"
_HOUR = Decimal(3_600_000)
# The number of each of a metric's measures, in their order; None where there is nothing to measure.
Numbers = tuple[Any, ...]


@dataclass(frozen=True)
class MetricQuery:
    """A metric and the dimensions that it is broken down by, at most two.

    `over_time`: with the trend of each part.
    """

    metric: Metric
    by: By = ()
    over_time: bool = False

    @classmethod
    def named(cls, name: str, by: Sequence[str] | None = None) -> "MetricQuery":
        """By the metric's own breakdown unless `by` is given. Raises KeyError, ValueError."""
        metric = METRICS[name]
        if by is None:
            by = (metric.breakdown,) if metric.breakdown else ()
        for each in by:
            if each not in metric.dimensions:
                valid = ", ".join(metric.dimensions)
                raise ValueError(f"{metric.title} has no dimension {each!r}. Use one of {valid}.")
        if len(set(by)) != len(by) or len(by) > MAX_DIMENSIONS:
            raise ValueError(f"Use at most {MAX_DIMENSIONS} different dimensions.")
        return cls(metric, tuple(by))

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables behind its figures and labels."""
        names = (COMPANIES.name,) if "company" in self.by else ()
        return tuple(dict.fromkeys((*self.metric.tables, *names)))


@dataclass(frozen=True)
class Part:
    """One row of a breakdown: its values of the dimensions, "" where records have none.

    `series` has a figure for each bucket if the query was over time, else it is empty.
    """

    values: tuple[str, ...]
    labels: tuple[str, ...]
    figure: Figure
    previous: Figure
    numbers: Numbers = ()
    previous_numbers: Numbers = ()
    series: tuple[Figure, ...] = ()

    @property
    def label(self) -> str:
        return " · ".join(self.labels)


@dataclass(frozen=True)
class MetricResult:
    """A metric's figures: for the period, the previous period, each bucket and each part.

    Counts are ints, all else Decimals; None where there is nothing to measure. Durations are in
    hours. `parts` is the breakdown by `by`, in the order of its dimension or else the largest
    first; `is_cut` if it has more rows. `filters` are those that were applied. `freshness` has one
    entry per table that was ever loaded. `milliseconds` is how long the statements took, 0.0 from
    the cache. `series_numbers` has the numbers of each bucket of `series`.
    """

    metric: Metric
    by: tuple[Dimension, ...]
    period: Period
    as_of: datetime
    requested_filters: tuple[Filter, ...]
    filters: tuple[Filter, ...]
    figure: Figure
    previous: Figure
    series: tuple[tuple[Period, Figure], ...]
    parts: tuple[Part, ...]
    is_cut: bool
    freshness: tuple[Freshness, ...]
    milliseconds: float
    numbers: Numbers = ()
    previous_numbers: Numbers = ()
    series_numbers: tuple[Numbers, ...] = ()
    sql: str = ""

    @property
    def was_loaded(self) -> bool:
        """Whether there is anything to show: a load, or rows that were inserted in another way."""
        return bool(self.freshness) or bool(self.figure)

    @property
    def breakdown(self) -> str:
        """The title of what it is broken down by."""
        return " and ".join(dimension.title for dimension in self.by)

    @property
    def change(self) -> Decimal | None:
        """Change from the previous figure, in percent (of shares, in percentage points); None if
        it cannot be computed."""
        if self.figure is None or self.previous is None:
            return None
        difference = Decimal(self.figure - self.previous)
        if self.metric.aggregate is not Aggregate.SHARE:
            if not self.previous:
                return None
            difference = difference * 100 / abs(Decimal(self.previous))
        return difference.quantize(Decimal("0.1"), ROUND_HALF_UP)

    @property
    def is_welcome(self) -> bool | None:
        """Whether the change is an improvement; None without a change or a better direction."""
        if not self.change or not self.metric.good:
            return None
        return (self.change > 0) == (self.metric.good == "up")

    @property
    def ignored_filters(self) -> tuple[str, ...]:
        """The titles of requested filters that the metric does not support."""
        return tuple(
            DIMENSIONS[each.dimension].title.lower()
            for each in self.requested_filters
            if each not in self.filters
        )

    def other(self, shown: int) -> Part | None:
        """All parts but the first `shown` as one, with those that are cut; None if there are no
        more, or for a median."""
        has_more = len(self.parts) > shown or self.is_cut
        if not has_more or self.metric.aggregate.is_duration:
            return None
        return self.without(self.parts[:shown])

    def without(self, parts: Sequence[Part]) -> Part:
        """All but these parts as one, of a metric that is not a median or percentile."""
        numbers = _without(self.numbers, [part.numbers for part in parts])
        before = _without(self.previous_numbers, [part.previous_numbers for part in parts])
        return Part(
            (),
            (OTHER,),
            figure_of(self.metric, numbers),
            figure_of(self.metric, before),
            numbers,
            before,
        )


def _without(total: Numbers, others: Sequence[Numbers]) -> Numbers:
    return tuple(
        None if number is None else number - sum(other[place] or 0 for other in others if other)
        for place, number in enumerate(total)
    )


def figure_of(metric: Metric, numbers: Numbers) -> Figure:
    """The figure that the numbers of a metric's measures make; () stands for no facts."""
    first, second = (*numbers, None, None)[:2]
    match metric.aggregate:
        case Aggregate.COUNT:
            return first or 0
        case Aggregate.DIFFERENCE:
            return (first or 0) - (second or 0)
        case Aggregate.SUM:
            return rounded(first, 2) if isinstance(first, Decimal) else first or 0
        case Aggregate.SHARE | Aggregate.RATIO:
            if not second:
                return None
            factor = 100 if metric.aggregate is Aggregate.SHARE else 1
            return rounded(Decimal(first or 0) * factor / Decimal(second), metric.places)
    return None if first is None else rounded(Decimal(first) / _HOUR, metric.places)


def rounded(exact: Decimal, places: int) -> Decimal:
    """Rounds half up, as people do; formatting alone would round half to even."""
    return exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
