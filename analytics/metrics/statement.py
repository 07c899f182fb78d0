"""Builds the statement that computes a metric's figures, and the one that finds their records."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from analytics.metrics.registry import FILTERS, Aggregate, Metric
from analytics.periods import Period
from tenants.models import Tenant

MAX_LABELS = 500
PERIOD, PREVIOUS = 1, 2  # the first two spans; the buckets of the period follow
_INSTANT = "DateTime64(3, 'UTC')"
_MOMENT = timedelta(milliseconds=1)

_RANKED = "(arraySort(groupArray(value)) AS ranked)[intDiv(length(ranked) * {} + 9, 10)]"
_QUOTIENT = (
    "if(sum(whole) = 0, NULL, CAST(round("
    "toDecimal128(sum(part), 8) * {} / toDecimal128(sum(whole), 8), {}), 'Decimal(38, {})'))"
)


# The numbers of the spans that contain `at`.
_SPAN = (
    f"arrayJoin(arrayFilter(number -> {{starts:Array({_INSTANT})}}[number] <= at "
    f"AND at < {{ends:Array({_INSTANT})}}[number], "
    f"arrayEnumerate({{starts:Array({_INSTANT})}})))"
)


@dataclass(frozen=True)
class Spans:
    """When a metric is measured, as parallel lists: the period, the previous one, each bucket.

    Both ends are instants in UTC, the second exclusive. A state is measured at the last moment of
    a span, or at `as_of` if that comes first: such a span is one millisecond long.
    """

    starts: list[datetime]
    ends: list[datetime]

    @property
    def bound(self) -> dict[str, Any]:
        """The parameters of a statement."""
        return {
            "starts": _instants(self.starts),
            "ends": _instants(self.ends),
            "instants": _instants(sorted(set(self.starts))),
            "first_at": min(self.starts),
            "last_at": max(self.ends),
        }


def spans_of(metric: Metric, period: Period, as_of: datetime) -> Spans:
    parts = [period, period.previous, *period.buckets()]
    if not metric.is_state:
        return Spans([part.starts_at for part in parts], [part.ends_at for part in parts])
    instants = [min(part.ends_at - _MOMENT, as_of) for part in parts]
    return Spans(instants, [instant + _MOMENT for instant in instants])


@lru_cache(64)
def _bound_spans(metric: Metric, period: Period, as_of: datetime) -> dict[str, Any]:
    """Cached, since a page needs the same spans a dozen times, all day long."""
    return spans_of(metric, period, as_of).bound


def figures_sql(metric: Metric, filters: Collection[str]) -> str:
    """Rows of is_total, label, figures [(span, figure)]; the total first, then the largest label.

    At most one label more than MAX_LABELS. Labels have the first two spans only, the total has
    all. Spans without facts are omitted.
    """
    return f"""SELECT is_total, label, groupArray((span, figure)) AS figures
FROM
(
{_by_instant(metric, filters) if metric.is_state else _by_span(metric, filters)}
)
WHERE is_total OR span <= {PREVIOUS}
GROUP BY is_total, label
ORDER BY is_total DESC, maxIf(figure, span = {PERIOD}) DESC, label
LIMIT {MAX_LABELS + 2}"""


def _by_span(metric: Metric, filters: Collection[str]) -> str:
    """Figures of events: an event lies in its bucket and in one of the two periods."""
    return f"""    SELECT {_is_total(metric)}, span, {_aggregate(metric)} AS figure
    FROM
    (
        SELECT {_columns(metric)}, {_SPAN} AS span
        FROM
        (
{_facts(metric, filters)}
        )
    )
    GROUP BY {_grouped_by(metric, "span")}"""


def _by_instant(metric: Metric, filters: Collection[str]) -> str:
    """Figures of a state: grouped by instant first, since most records exist at most instants."""
    return f"""    SELECT is_total, label, {_SPAN} AS span, figure
    FROM
    (
        SELECT {_is_total(metric)}, at, {_aggregate(metric)} AS figure
        FROM
        (
            SELECT at, {_columns(metric)}
            FROM
            (
{_facts(metric, filters)}
            )
        )
        GROUP BY {_grouped_by(metric, "at")}
    )"""


def _is_total(metric: Metric) -> str:
    return (
        "grouping(label) = 1 AS is_total, label" if metric.breakdown else "true AS is_total, label"
    )


def _grouped_by(metric: Metric, when: str) -> str:
    return f"GROUPING SETS (({when}), ({when}, label))" if metric.breakdown else f"{when}, label"


def _columns(metric: Metric) -> str:
    label = "ifNull(toString(label), '')" if metric.breakdown else "''"
    return ", ".join([*_values(metric), f"{label} AS label"])


def keys_sql(metric: Metric, filters: Collection[str], *, labeled: bool) -> str:
    """The keys of the records behind the figure of the period, or of one of its labels.

    `label` is a parameter if `labeled`.
    """
    of_label = "\n    AND ifNull(toString(label), '') = {label:String}" if labeled else ""
    return f"""SELECT key FROM
(
{_facts(metric, filters)}
)
WHERE at >= {{starts:Array({_INSTANT})}}[{PERIOD}] AND at < {{ends:Array({_INSTANT})}}[{PERIOD}]
    AND key != ''{of_label}"""


def parameters(
    tenant: Tenant,
    metric: Metric,
    period: Period,
    as_of: datetime,
    filters: Mapping[str, str],
) -> dict[str, Any]:
    """All parameters of a metric's statements, except `tenant_id`, which the reader binds."""
    targets = tenant.sla_targets_by_priority
    return {
        "as_of": as_of,
        **_bound_spans(metric, period, as_of),
        "zone": period.zone.key,
        "opens_minute": tenant.opens_at.hour * 60 + tenant.opens_at.minute,
        "closes_minute": tenant.closes_at.hour * 60 + tenant.closes_at.minute,
        "capacity_hours": str(tenant.capacity_hours),
        "sla_priorities": list(targets),
        "sla_response": [_milliseconds(each.response_hours) for each in targets.values()],
        "sla_resolution": [_milliseconds(each.resolution_hours) for each in targets.values()],
        **{f"only_{name}": value for name, value in filters.items()},
    }


def filters_of(metric: Metric, filters: Mapping[str, str]) -> dict[str, str]:
    """Those of `filters` that the metric supports."""
    return {name: value for name, value in filters.items() if name in metric.filters and value}


def _facts(metric: Metric, filters: Collection[str]) -> str:
    """The filtered facts, from the start of the first span to the end of the last."""
    only = "".join(
        f"\n    AND ifNull(toString({FILTERS[name]}), '') = {{only_{name}:String}}"
        for name in filters
    )
    columns = ["key", "at", *_values(metric), *(["label"] if metric.breakdown else [])]
    return f"""SELECT {", ".join(columns)} FROM
(
{metric.facts.strip()}
)
WHERE at >= {{first_at:{_INSTANT}}} AND at < {{last_at:{_INSTANT}}}{only}"""


def _values(metric: Metric) -> list[str]:
    """The columns of the facts that the aggregate uses."""
    match metric.aggregate:
        case Aggregate.COUNT:
            return []
        case Aggregate.SHARE | Aggregate.RATIO:
            return ["part", "whole"]
    return ["value"]


def _aggregate(metric: Metric) -> str:
    match metric.aggregate:
        case Aggregate.MEDIAN:
            return _RANKED.format(5)
        case Aggregate.P90:
            return _RANKED.format(9)
        case Aggregate.SHARE:
            return _QUOTIENT.format(100, metric.places, metric.places)
        case Aggregate.RATIO:
            return _QUOTIENT.format(1, metric.places, metric.places)
    return str(metric.aggregate.value)


def _instants(instants: list[datetime]) -> list[str]:
    return [
        f"{instant:%Y-%m-%d %H:%M:%S}.{instant.microsecond // 1000:03d}" for instant in instants
    ]


def _milliseconds(hours: Any) -> int:
    return int(hours * 3_600_000)
