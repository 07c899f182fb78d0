"""What happened: which figures moved more than they usually do.

A change is measured against the *usual variation* of the figure: the standard deviation that its
change would have if nothing but chance moved it. It is estimated from the days before the period.

- Numbers and sums: the difference of a day from the same weekday a week before, so that weekends
  are no variation. Numbers vary at least as much as a Poisson process. Days that are not over do
  not count, and each day is compared with the same weekdays of the previous period.
- Shares and ratios: the difference of each day's numerator from the one that the ratio of the
  previous period leads to (linearization). Shares of records vary at least as much as a binomial.
- Medians and percentiles: the logarithms of those of the days, from week to week.
- Figures at the end of the period: their steps from day to day, which add up as a random walk does.

What cannot be judged, since history is too short or nothing ever varied, is no movement.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from math import log, sqrt
from statistics import fmean, median

from analytics.metrics.changes import Reason, explain_change
from analytics.metrics.dimensions import Filters
from analytics.metrics.freshness import Freshness
from analytics.metrics.registry import Aggregate, Metric, Operation
from analytics.metrics.results import MetricQuery, MetricResult, Numbers
from analytics.metrics.run import all_results
from analytics.periods import EARLIEST, Period
from tenants.models import Tenant

# Three standard deviations: chance alone exceeds them once in 370 figures.
MIN_WEIGHT = 3.0
MIN_PERCENT, MIN_POINTS = 5, 1
MAX_MOVEMENTS = 4
THRESHOLD = (
    "Shown: changes larger than three times the usual variation of the figure, and larger than "
    f"{MIN_PERCENT} % (shares: {MIN_POINTS} point)."
)
_WEEK = timedelta(days=7)
_MIN_HISTORY = timedelta(days=56)
_BEFORE_PREVIOUS = timedelta(days=28)
_MIN_PAIRS = 6
_MINUTE = Decimal(1) / 60
_NORMAL_MEDIAN = 0.6745  # of the absolute values of a normal distribution, in deviations
_MAX_INSTANTS = 100  # of states: each costs as much as a figure
_GOOD_OR_BAD = 2  # a figure that has a better direction is as important as two that have none


@dataclass(frozen=True)
class Movement:
    """A figure that moved. `weight`: its change relative to its usual variation."""

    result: MetricResult
    weight: float
    reason: Reason | None = None

    @property
    def rank(self) -> float:
        return self.weight * (_GOOD_OR_BAD if self.result.metric.good else 1)


def largest_movements(
    tenant: Tenant,
    metrics: Iterable[Metric],
    period: Period,
    as_of: datetime | None,
    filters: Filters,
    freshness: Sequence[Freshness],
) -> list[Movement]:
    """The movements above the threshold, the weightiest first, without their reasons; at most
    MAX_MOVEMENTS, and one of metrics that measure the same. Raises WarehouseError."""
    queries = [MetricQuery(metric) for metric in dict.fromkeys(metrics)]
    shown = all_results(tenant, queries, period, as_of, filters, freshness)
    judged: dict[MetricQuery, MetricResult] = {}
    for is_state in (False, True):
        window = _window(period, is_state=is_state)
        if window.previous.start < EARLIEST:
            return []
        those = [query for query in queries if query.metric.is_state is is_state]
        judged |= all_results(tenant, those, window, as_of, filters, freshness)
    found = [Movement(shown[query], weight_of(shown[query], judged[query])) for query in queries]
    found = [each for each in found if is_movement(each)]
    found.sort(key=lambda each: -each.rank)
    by_fact: dict[tuple[str, str], Movement] = {}
    for each in found:
        first = each.result.metric.measures[0]
        by_fact.setdefault((first.source_name, first.value_name), each)
    return list(by_fact.values())[:MAX_MOVEMENTS]


def explained(
    tenant: Tenant,
    movement: Movement,
    period: Period,
    as_of: datetime | None,
    filters: Filters,
    freshness: Sequence[Freshness],
) -> Movement:
    """The same with its reason, as the page of the figure gives it. Raises WarehouseError."""
    metric = movement.result.metric
    query = MetricQuery(metric, metric.usual_breakdown)
    result, reason = explain_change(tenant, query, period, as_of, filters, freshness)
    return Movement(result, movement.weight, reason)


def _window(period: Period, *, is_state: bool) -> Period:
    """The period and the days before it that tell what is usual."""
    start = min(period.previous.start - _BEFORE_PREVIOUS, period.start - _MIN_HISTORY)
    is_long = (period.end - start).days > _MAX_INSTANTS
    unit = "week" if is_state and is_long else "day"
    return Period(start, period.end, period.zone, unit=unit)


def is_movement(movement: Movement) -> bool:
    result = movement.result
    if movement.weight <= MIN_WEIGHT or result.figure is None or result.previous is None:
        return False
    is_share = result.metric.aggregate is Aggregate.SHARE
    return result.change is None or abs(result.change) >= (MIN_POINTS if is_share else MIN_PERCENT)


# --- Weights


def weight_of(result: MetricResult, history: MetricResult) -> float:
    """The change of a figure relative to its usual variation; 0.0 if it cannot be judged.

    `history`: the same metric from well before the previous period up to the end of the period, by
    day, or a state by week.
    """
    metric, before = result.metric, result.period.previous
    known = _known(history)
    if not known or known[0].bucket.start > before.start:
        return 0.0
    if metric.is_state:
        return _of_state(result, known)
    days = [
        each for each in known if each.bucket.ends_at <= history.as_of + timedelta(milliseconds=1)
    ]
    usual = [each for each in days if each.bucket.start < result.period.start]
    then = [each for each in usual if before.start <= each.bucket.start < before.end]
    now = [each for each in days if each.bucket.start >= result.period.start]
    if not then or not now:
        return 0.0
    if metric.aggregate.is_duration:
        return _of_median(result, usual, then, now)
    if metric.aggregate.is_quotient:
        return _of_quotient(result, usual, then, now)
    return _of_sum(result, usual, then, now)


@dataclass(frozen=True)
class _Bucket:
    bucket: Period
    numbers: Numbers
    figure: float | None


def _known(history: MetricResult) -> list[_Bucket]:
    """The buckets from the first one with any fact on."""
    found = [
        _Bucket(bucket, numbers, None if figure is None else float(figure))
        for (bucket, figure), numbers in zip(history.series, history.series_numbers, strict=True)
    ]
    first = next((n for n, each in enumerate(found) if any(each.numbers)), len(found))
    return found[first:]


def _of_sum(
    result: MetricResult,
    usual: Sequence[_Bucket],
    then: Sequence[_Bucket],
    now: Sequence[_Bucket],
) -> float:
    pairs = _weekly_pairs({each.bucket.start: each.figure for each in usual})
    if len(pairs) < _MIN_PAIRS:
        return 0.0
    noise = fmean((one - other) ** 2 for one, other in pairs) / 2
    if result.metric.aggregate in (Aggregate.COUNT, Aggregate.DIFFERENCE):
        noise = max(noise, fmean(sum(n or 0 for n in each.numbers) for each in (*then, *now)))
    by_weekday, all_days = _by_weekday(then), [each.figure or 0.0 for each in then]
    change = variance = 0.0
    for weekday, figures in _by_weekday(now).items():
        usually = by_weekday.get(weekday, all_days)
        change += sum(figures) - len(figures) * fmean(usually)
        variance += noise * (len(figures) + len(figures) ** 2 / len(usually))
    return _weight(result, change, variance)


def _weekly_pairs(by_day: dict[date, float | None]) -> list[tuple[float, float]]:
    """The figures of each day and of the same weekday a week before."""
    return [
        (figure, earlier)
        for day, figure in by_day.items()
        if figure is not None and (earlier := by_day.get(day - _WEEK)) is not None
    ]


def _by_weekday(days: Sequence[_Bucket]) -> dict[int, list[float]]:
    found = defaultdict(list)
    for each in days:
        found[each.bucket.start.weekday()].append(each.figure or 0.0)
    return found


def _of_quotient(
    result: MetricResult,
    usual: Sequence[_Bucket],
    then: Sequence[_Bucket],
    now: Sequence[_Bucket],
) -> float:
    (upper, lower), (upper0, lower0) = _floats(result.numbers), _floats(result.previous_numbers)
    if not lower or not lower0 or len(usual) < _MIN_PAIRS:
        return 0.0
    ratio = upper0 / lower0
    numbers = [_floats(each.numbers) for each in usual]
    noise = fmean((n - ratio * d) ** 2 for n, d in numbers)
    variance = noise * (len(now) / lower**2 + len(then) / lower0**2)
    if _counts_records(result.metric):
        share = (upper + upper0 + 1) / (lower + lower0 + 2)
        variance = max(variance, share * (1 - share) * (1 / lower + 1 / lower0))
    return _weight(result, upper / lower - ratio, variance)


def _counts_records(metric: Metric) -> bool:
    """Whether it is a share of records: each is part of it, or is not."""
    first, second = metric.measures
    is_sum_of_count = (first.operation, second.operation) == (Operation.SUM, Operation.COUNT)
    return is_sum_of_count and metric.aggregate is Aggregate.SHARE


def _floats(numbers: Numbers) -> tuple[float, float]:
    first, second = (*(float(number or 0) for number in numbers), 0.0, 0.0)[:2]
    return first, second


def _of_median(
    result: MetricResult,
    usual: Sequence[_Bucket],
    then: Sequence[_Bucket],
    now: Sequence[_Bucket],
) -> float:
    """On a logarithmic scale: times are many times as long as others."""
    pairs = _weekly_pairs({each.bucket.start: _log(each.figure) for each in usual})
    counts = [sum(each.figure is not None for each in days) for days in (then, now)]
    if len(pairs) < _MIN_PAIRS or 0 in counts or result.figure is None or result.previous is None:
        return 0.0
    if result.metric.aggregate is Aggregate.P90:
        counts = [1, 1]  # a few long times make it, so that more days make it no steadier
        noise = fmean((one - other) ** 2 for one, other in pairs) / 2
    else:  # days with few times vary most, but hardly move the median of the period
        noise = (median(abs(one - other) for one, other in pairs) / _NORMAL_MEDIAN) ** 2 / 2
    change = log(max(Decimal(result.figure), _MINUTE) / max(Decimal(result.previous), _MINUTE))
    return _weight(result, change, noise * sum(1 / count for count in counts))


def _log(hours: float | None) -> float | None:
    return None if hours is None else log(max(hours, float(_MINUTE)))


def _of_state(result: MetricResult, known: Sequence[_Bucket]) -> float:
    if result.figure is None or result.previous is None:
        return 0.0
    usual = [
        each
        for each in known
        if each.figure is not None and each.bucket.start < result.period.start
    ]
    steps = [
        ((later.figure or 0.0) - (earlier.figure or 0.0)) ** 2 for earlier, later in pairwise(usual)
    ]
    if len(steps) < _MIN_PAIRS:
        return 0.0
    change = float(result.figure - result.previous)
    days_of_a_step = (usual[-1].bucket.end - usual[0].bucket.end).days / len(steps)
    passed = (result.period.end - result.period.previous.end).days
    variance = fmean(steps) * passed / days_of_a_step
    if result.metric.aggregate is Aggregate.COUNT:
        variance = max(variance, abs(change))
    return _weight(result, change, variance)


def _weight(result: MetricResult, change: float, variance: float) -> float:
    """0.0 as well if the change that was judged goes another way than that of the figures."""
    shown = float((result.figure or 0) - (result.previous or 0))
    return abs(change) / sqrt(variance) if variance > 0 and change * shown > 0 else 0.0
