"""What changed: which parts of a breakdown brought the change of a figure.

Contributions add up to the change exactly. Those of counts and sums are differences. A share or
ratio changes in two ways, which are kept apart: parts have another *rate* (SLA met fell for a
customer), or another weight, the *mix* (a customer with a low rate has more tickets than before).
With n and d the part's numerator and denominator, N and D the totals, R = N/D, r = n/d, w = d/D,
and a bar for the mean of both periods (Marshall and Edgeworth):

    contribution = (n1/D1 - n0/D0) - R̄ (w1 - w0)        rate = w̄ (r1 - r0)        mix = the rest

The contributions add up to N1/D1 - N0/D0, since the weights add up to 1 in both periods. A part
without a denominator in one of the periods has no rate there, so all of it is mix.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from analytics.metrics.dimensions import DIMENSIONS, Filters, parse_filters, write_value
from analytics.metrics.freshness import Freshness
from analytics.metrics.registry import Aggregate, Metric
from analytics.metrics.results import MetricQuery, MetricResult, Numbers, Part
from analytics.metrics.run import all_results
from analytics.periods import Period
from tenants.models import Tenant

# Their parts are too small to be a reason, or follow from the calendar or from bookkeeping.
_NO_REASON = {"contact", "item", "subtype", "age", "weekday", "hour", "charged_to"}


@dataclass(frozen=True)
class Contribution:
    """What a part brought to a change, in the unit of the figure. For shares and ratios, `rate` and
    `mix` add up to it; for others, they are None."""

    part: Part
    amount: Fraction
    rate: Fraction | None = None
    mix: Fraction | None = None


def contributions(result: MetricResult) -> list[Contribution]:
    """The contributions of the result's parts to the change from the previous period, the largest
    first. [] for medians and percentiles, which are no sums, and if there is no change to explain.

    Parts that the result does not list are one: "Other".
    """
    metric = result.metric
    parts = list(result.parts)
    if other := result.other(len(parts)):
        parts.append(other)
    return _contributions(metric, parts, result.numbers, result.previous_numbers)


def _contributions(
    metric: Metric, parts: Iterable[Part], now: Numbers, before: Numbers
) -> list[Contribution]:
    if metric.aggregate.is_duration:
        return []
    if not metric.aggregate.is_quotient:
        found = [
            Contribution(part, _sum(metric, part.numbers) - _sum(metric, part.previous_numbers))
            for part in parts
        ]
    elif not now[1] or not before[1]:
        return []
    else:
        factor = 100 if metric.aggregate is Aggregate.SHARE else 1
        found = [_of_quotient(part, now, before, factor) for part in parts]
    return sorted(
        (each for each in found if each.amount or each.rate),
        key=lambda each: (-abs(each.amount), each.part.labels),
    )


def _sum(metric: Metric, numbers: Numbers) -> Fraction:
    first, second = (*_fractions(numbers), Fraction(0))[:2]
    return first - second if metric.aggregate is Aggregate.DIFFERENCE else first


def _of_quotient(part: Part, now: Numbers, before: Numbers, factor: int) -> Contribution:
    (total1, whole1), (total0, whole0) = _fractions(now), _fractions(before)
    (n1, d1), (n0, d0) = _fractions(part.numbers), _fractions(part.previous_numbers)
    w1, w0 = d1 / whole1, d0 / whole0
    mean = (total1 / whole1 + total0 / whole0) / 2
    amount = n1 / whole1 - n0 / whole0 - mean * (w1 - w0)
    rate = (w1 + w0) / 2 * (n1 / d1 - n0 / d0) if d1 and d0 else Fraction(0)
    return Contribution(part, amount * factor, rate * factor, (amount - rate) * factor)


def _fractions(numbers: Numbers) -> tuple[Fraction, ...]:
    return tuple(Fraction(number or 0) for number in numbers) or (Fraction(0), Fraction(0))


def rounded_to_sum(amounts: Sequence[Fraction], places: int) -> list[Decimal]:
    """The amounts in `places` decimals, so that they add up to their rounded sum.

    Each is rounded down, and those with the largest remainders get what is left.
    """
    unit = Fraction(1, 10**places)
    floors = [amount // unit for amount in amounts]
    exact = sum(amounts, Fraction(0)) / unit
    total = int(Decimal(exact.numerator / exact.denominator).to_integral_value(ROUND_HALF_UP))
    by_remainder = sorted(range(len(amounts)), key=lambda n: floors[n] * unit - amounts[n])
    for number in by_remainder[: total - sum(floors)]:
        floors[number] += 1
    return [Decimal(floor).scaleb(-places) for floor in floors]


# --- The reason that stands out


@dataclass(frozen=True)
class Reason:
    """The part that brought most of a change. `by` and `labels` are its dimensions and values: one,
    or two where a second one narrows it down. `amount` is in the unit of the figure."""

    by: tuple[str, ...]
    labels: tuple[str, ...]
    amount: Fraction


def explain_change(
    tenant: Tenant,
    query: MetricQuery,
    period: Period,
    as_of: datetime | None,
    filters: Filters,
    freshness: Sequence[Freshness],
) -> tuple[MetricResult, Reason | None]:
    """The result of `query`, and the reason for its change: the part, of any dimension, that
    brought the most of it beyond its weight. A part that holds nearly everything explains nothing.

    The reason is None if no part stands out. Raises WarehouseError.
    """
    # Medians are no sums, so no part can be the reason.
    possible = () if query.metric.aggregate.is_duration else query.metric.dimensions
    names = [name for name in possible if name not in _NO_REASON]
    queries = [MetricQuery(query.metric, (name,)) for name in names]
    results = all_results(tenant, [query, *queries], period, as_of, filters, freshness)
    by_dimension = {each: results[each] for each in queries}
    found = _reason(tenant, by_dimension, period, as_of, filters, freshness)
    return results[query], found


def _reason(
    tenant: Tenant,
    results: Mapping[MetricQuery, MetricResult],
    period: Period,
    as_of: datetime | None,
    filters: Filters,
    freshness: Sequence[Freshness],
) -> Reason | None:
    filtered = {each.dimension for each in parse_filters(filters)}
    candidates = [
        (excess, result, found)
        for result in results.values()
        if result.by and result.by[0].name not in filtered
        for excess, found in _standing_out(result)
    ]
    if not candidates:
        return None
    _, result, first = max(candidates, key=lambda each: each[0])
    dimension = result.by[0].name
    second = _narrowed(tenant, result, first, results, period, as_of, filters, freshness)
    if second is None:
        return Reason((dimension,), first.part.labels, first.amount)
    other, found = second
    return Reason((dimension, other), (*first.part.labels, *found.part.labels), found.amount)


def _standing_out(result: MetricResult) -> list[tuple[Fraction, Contribution]]:
    """The parts that brought more of the change than their weight, and how much more."""
    found = contributions(result)
    change = sum((each.amount for each in found), Fraction(0))
    if not change:
        return []
    weights = _weights(result)
    return [
        (excess, each)
        for each in found
        if each.part.values
        and (excess := each.amount / change - weights[each.part.values]) > _LEAST_EXCESS
    ]


_LEAST_EXCESS = Fraction(1, 5)
_LEAST_SHARE = Fraction(3, 5)


def _weights(result: MetricResult) -> dict[tuple[str, ...], Fraction]:
    """The share of each part in both periods together: of wholes, or of the figure."""
    sizes = {
        part.values: abs(_fractions(part.numbers)[-1]) + abs(_fractions(part.previous_numbers)[-1])
        for part in result.parts
    }
    total = sum(sizes.values(), Fraction(0)) or Fraction(1)
    return {values: size / total for values, size in sizes.items()}


def _narrowed(
    tenant: Tenant,
    result: MetricResult,
    first: Contribution,
    results: Mapping[MetricQuery, MetricResult],
    period: Period,
    as_of: datetime | None,
    filters: Filters,
    freshness: Sequence[Freshness],
) -> tuple[str, Contribution] | None:
    """The part of a second dimension, within the first reason, that brought most of it."""
    metric, dimension = result.metric, result.by[0].name
    if len(metric.sources) > 1:
        return None
    queries = [query for query in results if query.by and query.by != (dimension,)]
    within = {**filters, dimension: (write_value(first.part.values[0]),)}
    best = None
    results_within = all_results(tenant, queries, period, as_of, within, freshness)
    for query, found in results_within.items():
        parts = _contributions(metric, found.parts, result.numbers, result.previous_numbers)
        for each in parts[:1]:
            # A value that nearly all facts of the first reason have anyway tells nothing new.
            if len(found.parts) > 1 and each.amount / first.amount >= _LEAST_SHARE:
                weight = _weights(found)[each.part.values]
                gain = each.amount / first.amount - weight
                if gain > _LEAST_EXCESS and (best is None or gain > best[0]):
                    best = (gain, query.by[0], each)
    return best[1:] if best else None


def phrase(reason: Reason) -> str:
    """The reason in words, such as "Priority 1 at Möller Pharma"."""
    words = [
        _WORDS.get(name, f"{DIMENSIONS[name].title.lower()} {{}}").format(label or "not given")
        for name, label in zip(reason.by, reason.labels, strict=True)
    ]
    # "Priority 1 at Möller Pharma", not "at Möller Pharma Priority 1".
    words.sort(key=lambda word: word.startswith(("at ", "by ")))
    return " ".join(words)


_WORDS = {"priority": "{}", "company": "at {}", "technician": "by {}"}
