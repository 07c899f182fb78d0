"""Builds the statements that ask a source for figures, and for the records behind them.

One statement answers everything that a page asks of a source. Its facts are grouped by *span*
(PERIOD or PREVIOUS), by *bucket* (the days, weeks or months of the period, from 1), by span and
dimensions, and, for a series of each part, by bucket and dimensions, all in one pass.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

from analytics.metrics.dimensions import Filter
from analytics.metrics.registry import Measure, Metric
from analytics.metrics.sources import (
    INSTANTS,
    SOURCES,
    VALID,
    ZONE,
    Feed,
    Read,
    Source,
    Value,
    stored,
    within,
)
from analytics.periods import Period
from analytics.warehouse.catalog import COMPANIES
from analytics.warehouse.sql import tenant_rows
from tenants.models import Tenant

MAX_GROUPS = 10_000  # rows for each combination of dimensions; those with the fewest facts are cut
PERIOD, PREVIOUS = 1, 2
_INSTANT = "DateTime64(3, 'UTC')"
_MOMENT = timedelta(milliseconds=1)
By = tuple[str, ...]


# --- Figures


@dataclass(frozen=True)
class Statement:
    """A statement for figures. `sets`: which columns are known in rows with each mask.

    Its columns: mask, then `keys`, then one column for each of `measures`, then the names of the
    companies if it is grouped by company.
    """

    sql: str
    keys: tuple[str, ...]
    sets: dict[int, tuple[str, ...]]
    measures: tuple[Measure, ...]


@lru_cache(1024)
def figures_statement(
    source: Source,
    measures: tuple[Measure, ...],
    breakdowns: tuple[By, ...],
    unit: str,
    filters: tuple[Filter, ...],
    over_time: tuple[By, ...] = (),
) -> Statement:
    """The statement for `measures` of `source`: their totals, trend and `breakdowns`.

    `unit` is that of the buckets: day, week or month. `over_time` are those of the breakdowns whose
    parts have a trend, too.
    """
    measures = tuple(dict.fromkeys(measures))
    dimensions = tuple(dict.fromkeys(name for by in breakdowns for name in by))
    sets = [
        ("span",),
        ("bucket",),
        *(("span", *map(_by, by)) for by in dict.fromkeys(breakdowns)),
        *(("bucket", *map(_by, by)) for by in dict.fromkeys(over_time)),
    ]
    keys = ("span", "bucket", *map(_by, dimensions))
    columns = [each.operation.value.format(each.value_name) for each in measures]
    if "company" in dimensions:
        columns.append("any(company_label)")
    values = tuple(dict.fromkeys(each.value_name for each in measures))
    facts = _facts(source, values, dimensions, filters, unit)
    sql = f"""SELECT grouping({", ".join(keys)}) AS mask, {", ".join(keys)},
    {", ".join(f"{column} AS m{number}" for number, column in enumerate(columns))}
FROM
(
{facts}
)
GROUP BY GROUPING SETS ({", ".join(f"({', '.join(each)})" for each in sets)})
HAVING (span > 0 OR grouping(span) = 1) AND (bucket > 0 OR grouping(bucket) = 1)
ORDER BY count() DESC
LIMIT {MAX_GROUPS} BY mask"""
    return Statement(sql, keys, {_mask(keys, each): each for each in sets}, measures)


def _by(dimension: str) -> str:
    return f"by_{dimension}"


def _mask(keys: Sequence[str], known: Sequence[str]) -> int:
    """What grouping(keys) is in rows that are grouped by `known`: a 1 for each other key."""
    return int("".join("0" if key in known else "1" for key in keys), 2)


def _facts(
    source: Source,
    values: Sequence[str],
    dimensions: Sequence[str],
    filters: Sequence[Filter],
    unit: str,
) -> str:
    """The facts of the source in which one of `values` may be known, of all feeds together."""
    columns = {_by(name): source.dimensions[name] for name in dimensions}
    if "company" in dimensions:
        columns["company_label"] = source.company_name
    return "\nUNION ALL\n".join(
        _select(
            source,
            feed,
            {"span": _span(feed), "bucket": _bucket(feed, unit), **columns},
            values,
            filters,
        )
        for feed in source.feeds
        if _events_of(source, feed, values)
    )


def _events_of(source: Source, feed: Feed, values: Sequence[str]) -> list[str]:
    needed = {source.values[name].event for name in values}
    return [event for event in feed.events if event in needed]


def _select(
    source: Source,
    feed: Feed,
    columns: dict[str, str],
    values: Sequence[str],
    filters: Sequence[Filter],
    read: Read = stored,
) -> str:
    events = _events_of(source, feed, values)
    found = columns | {name: _value(source.values[name], events) for name in values}
    selected = ", ".join(f"{sql} AS {name}" for name, sql in found.items())
    conditions = [_condition(source, each) for each in filters]
    if len(events) > 1:  # else the rows are limited already
        conditions.insert(0, within("at"))
    limits = " OR ".join(within(feed.events[event]) for event in events)
    join, moment = _moments(feed, events)
    used = [selected, moment, *conditions, limits]
    if feed.is_state:
        used.append("effective_date, expiry_date")
    rows = feed.rows(", ".join(_columns_in(source, used)), limits, read)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {selected}{moment} FROM {rows}{join}{where}"


def _moments(feed: Feed, events: Sequence[str]) -> tuple[str, str]:
    """How a row becomes its facts: (ARRAY JOIN or nothing, the column with the instant)."""
    if feed.is_state:
        valid = "effective_date <= at AND expiry_date > at"
        return f" ARRAY JOIN arrayFilter(at -> {valid}, {INSTANTS}) AS at", ", at"
    if len(events) == 1:
        return "", f", {feed.events[events[0]]} AS at"
    names = ", ".join(f"'{event}'" for event in events)
    instants = ", ".join(feed.events[event] for event in events)
    return f" ARRAY JOIN [{names}] AS event, [{instants}] AS at", ", at"


def _value(value: Value, events: Sequence[str]) -> str:
    if value.event not in events:
        return "NULL"
    return value.sql if len(events) == 1 else f"if(event = '{value.event}', {value.sql}, NULL)"


def _columns_in(source: Source, expressions: Sequence[str]) -> list[str]:
    """The columns of the source's table that the expressions use."""
    words = set(re.findall(r"\w+", " ".join(expressions)))
    names = (*source.table.column_names, "effective_date", "expiry_date")
    return [name for name in names if name in words] or [source.table.key]


def _span(feed: Feed) -> str:
    if feed.is_state:
        return (
            f"multiIf(at = {{period_at:{_INSTANT}}}, {PERIOD},"
            f" at = {{previous_at:{_INSTANT}}}, {PREVIOUS}, 0)"
        )
    return (
        f"multiIf(at >= {{starts_at:{_INSTANT}}}, {PERIOD},"
        f" at < {{previous_ends_at:{_INSTANT}}}, {PREVIOUS}, 0)"
    )


def _bucket(feed: Feed, unit: str) -> str:
    """The number of the bucket, from 1; 0 in the previous period. Of a state: of the instant."""
    if feed.is_state:
        return f"toInt64(indexOf({INSTANTS}, at))"
    since = f"{{first_bucket:Date}}, toDate(at, {ZONE})"
    weeks = f"intDiv(dateDiff('day', {since}), 7)"
    number = weeks if unit == "week" else f"dateDiff('{unit}', {since})"
    return f"if(at >= {{starts_at:{_INSTANT}}}, toInt64({number}) + 1, 0)"


def _condition(source: Source, found: Filter) -> str:
    negation = "NOT " if found.is_excluding else ""
    return (
        f"{source.dimensions[found.dimension]} {negation}IN {{{_parameter(found)}:Array(String)}}"
    )


def _parameter(found: Filter) -> str:
    return f"{'not' if found.is_excluding else 'only'}_{found.dimension}"


# --- Records


def records_sql(metric: Metric, filters: Sequence[Filter], verdict: bool | None = None) -> str:
    """The records behind the figure of the period: `key`, the metric's verdict and its details.

    A record has one row, for the last of its facts; with a `verdict`, only if that is its verdict.
    Records that others are compared with, such as the companies of contacts per company, are not
    among them.
    """
    source = metric.source
    values = tuple(
        dict.fromkeys(each.value_name for each in metric.measures if each.source is source)
    )
    columns = {"key": source.table.key} | {
        name: source.details[name].sql for name in metric.details
    }
    facts = "\nUNION ALL\n".join(
        _select(source, feed, columns | {"span": _span(feed)}, values, filters)
        for feed in source.feeds
        if _events_of(source, feed, values)
    )
    known = " OR ".join(f"{value} IS NOT NULL" for value in values)
    shown = ["key", *metric.details]
    if metric.verdict:
        shown.append(f"CAST({values[0]}, 'Nullable(Bool)') AS verdict")
    wanted = "" if verdict is None else f" AND {'' if verdict else 'NOT '}{values[0]}"
    return f"""SELECT {", ".join(shown)} FROM
(
{facts}
)
WHERE span = {PERIOD} AND ({known}){wanted}
ORDER BY at DESC
LIMIT 1 BY key"""


def facts_sql(
    source: Source, values: Sequence[str], filters: Sequence[Filter], read: Read = stored
) -> str:
    """The facts of one span, `first_at` to `last_at` or at `instants`: `key` and `values`."""
    return "\nUNION ALL\n".join(
        _select(source, feed, {"key": source.table.key}, values, filters, read)
        for feed in source.feeds
        if _events_of(source, feed, values)
    )


# --- Values of a dimension


def values_sql(dimension: str) -> str:
    """The `value`, `name` and number of `records` of a dimension's values, most used first.

    Parameters: `as_of`, `search` for a part of the name, and `limit`. A company has the name in its
    own record, if that has one.
    """
    sources = {
        source.table: source for source in SOURCES.values() if dimension in source.dimensions
    }
    rows = "\nUNION ALL\n".join(_values_in(source, dimension) for source in sources.values())
    return f"""SELECT value, ifNull(argMax(nullIf(label, ''), is_own), value) AS name,
    count() AS records
FROM
(
{rows}
)
GROUP BY value
HAVING {{search:String}} = '' OR positionCaseInsensitiveUTF8(name, {{search:String}}) > 0
ORDER BY records DESC, value
LIMIT {{limit:UInt32}}"""


def _values_in(source: Source, dimension: str) -> str:
    value = source.dimensions[dimension]
    label = source.company_name if dimension == "company" else "''"
    columns = ", ".join(_columns_in(source, [value, label]))
    is_own = int(source.table is COMPANIES)
    rows = tenant_rows(source.table.shared_name, columns, VALID)
    return f"SELECT {value} AS value, {label} AS label, {is_own} AS is_own FROM {rows}"


# --- Parameters


@dataclass(frozen=True)
class Spans:
    """When figures are measured: over `period` and the one before, as of `as_of`.

    A state is measured at the last moment of each bucket, or at `as_of` if that comes first.
    """

    period: Period
    as_of: datetime

    def moment(self, part: Period) -> datetime:
        """When a state is measured for `part`."""
        return min(part.ends_at - _MOMENT, self.as_of)

    @property
    def instants(self) -> list[datetime]:
        """The moments of the buckets and of both periods, in order."""
        parts = [self.period.previous, *self.period.buckets(), self.period]
        return sorted({self.moment(part) for part in parts})

    @property
    def first_bucket(self) -> date:
        """The day on which the first bucket would begin if it were whole."""
        start = self.period.start
        match self.period.bucket_unit:
            case "week":
                return start - timedelta(days=start.weekday())
            case "month":
                return start.replace(day=1)
        return start

    @property
    def bound(self) -> dict[str, Any]:
        """The parameters of a statement."""
        return {
            "as_of": self.as_of,
            "first_at": self.period.previous.starts_at,
            "last_at": self.period.ends_at,
            "starts_at": self.period.starts_at,
            "previous_ends_at": self.period.previous.ends_at,
            "period_at": self.moment(self.period),
            "previous_at": self.moment(self.period.previous),
            "instants": [_written(each) for each in self.instants],
            "first_bucket": f"{self.first_bucket}",
            "zone": self.period.zone.key,
        }


@lru_cache(64)
def _bound_spans(spans: Spans) -> dict[str, Any]:
    """Cached, since each statement of a page needs the same, all day long."""
    return spans.bound


def parameters(tenant: Tenant, spans: Spans, filters: Sequence[Filter]) -> dict[str, Any]:
    """All parameters of a statement, except `tenant_id`, which the reader binds."""
    targets = tenant.sla_targets_by_priority
    return {
        **_bound_spans(spans),
        "opens_minute": tenant.opens_at.hour * 60 + tenant.opens_at.minute,
        "closes_minute": tenant.closes_at.hour * 60 + tenant.closes_at.minute,
        "capacity_hours": str(tenant.capacity_hours),
        "sla_priorities": list(targets),
        "sla_response": [_milliseconds(each.response_hours) for each in targets.values()],
        "sla_resolution": [_milliseconds(each.resolution_hours) for each in targets.values()],
        **{_parameter(each): list(each.values) for each in filters},
    }


def facts_parameters(tenant: Tenant, spans: Spans, filters: Sequence[Filter]) -> dict[str, Any]:
    """The parameters of `facts_sql` for the facts of the period alone."""
    return parameters(tenant, spans, filters) | {
        "first_at": spans.period.starts_at,
        "instants": [_written(spans.moment(spans.period))],
    }


def _written(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}.{instant.microsecond // 1000:03d}"


def _milliseconds(hours: Any) -> int:
    return int(hours * 3_600_000)
