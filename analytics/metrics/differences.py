"""Why a figure differs between two moments: the records that entered, left or changed their value.

A moment has two coordinates: the versions that had taken effect by `as_of`, of the loads that had
finished by `loaded_by`. Yesterday's mail and the figure of today as of the same instant differ in
the second one only. The numbers of both moments come from the same facts as the records, so they
equal what `run_metric` finds, and the records account for all of the difference:

- Counts, sums and differences: the records' contributions add up to the change.
- Shares and ratios: numbers and contributions add up for each measure; in points, the contribution
  of a record is (its change of the first - figure before * its change of the second) / second.
- Medians and percentiles: the values of the records and those of unaffected ones are all values.
- A technician's day, which several time entries share, counts for one of them: for one that has it
  at both moments, if there is any.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from typing import Any

from analytics.metrics.dimensions import Filter, Filters, parse_filters
from analytics.metrics.loaded_by import loaded_by
from analytics.metrics.registry import METRICS, Aggregate, Measure, Metric, Operation
from analytics.metrics.results import Figure, Numbers, figure_of
from analytics.metrics.run import Page
from analytics.metrics.sources import Read, Source, stored
from analytics.metrics.statement import Spans, facts_parameters, facts_sql
from analytics.periods import Period
from analytics.warehouse.catalog import Table
from analytics.warehouse.sql import quote
from analytics.warehouse.tenant_reader import TenantReader
from tenants.models import Tenant

MAX_RECORDS = 100
MAX_VERSIONS = 50  # of each record that are compared, the newest first
_SIDES = ("before", "after")
_OWNED = "owned"
_ALL_LOADS = datetime(2299, 1, 1, tzinfo=UTC)
_TITLES = {
    "companies": "name",
    "contacts": "email",
    "tickets": "summary",
    "time_entries": "member_name",
}


class Cause(StrEnum):
    ENTERED = "entered"
    LEFT = "left"
    CHANGED = "changed"


@dataclass(frozen=True)
class Moment:
    """`as_of`: None for now. `loaded_by`: only what loads had finished by then, None for all."""

    as_of: datetime | None = None
    loaded_by: datetime | None = None


@dataclass(frozen=True)
class Reading:
    """The figure at a moment. `period` is cut off at its as-of date, as everywhere."""

    moment: Moment
    period: Period
    measured_at: datetime
    numbers: Numbers
    figure: Figure


@dataclass(frozen=True)
class Total:
    """What all records with one cause bring together; of medians, how many values."""

    cause: Cause
    records: int
    before: Numbers
    after: Numbers
    contribution: Fraction | None


@dataclass(frozen=True)
class ChangedField:
    """A field that a version changed. `counts`: the figure or its filters depend on it."""

    name: str
    before: Any
    after: Any
    counts: bool


@dataclass(frozen=True)
class NewVersion:
    """A version that the earlier moment did not know, since it was not loaded or in effect.

    `fields` are compared with the version that it replaced or followed; `is_first` if there was
    none. `file` is the path below the tenant's canonical/ folder.
    """

    effective_date: datetime
    is_first: bool
    fields: tuple[ChangedField, ...]
    load_id: int
    loaded_at: datetime
    file: str


@dataclass(frozen=True)
class Removal:
    """The end of a record that was gone from the files, and the full refresh that found it."""

    ended_at: datetime
    load_id: int | None = None


@dataclass(frozen=True)
class RecordDifference:
    """A record whose value differs: a number for each of the metric's measures; of medians, times.

    `contribution` is its part of the change; None where parts do not add up. Without a version or
    a removal, time did it: the older figure covers fewer days, or its moment is an earlier one.
    """

    table: Table
    key: str
    title: str
    cause: Cause
    before: Numbers
    after: Numbers
    contribution: Fraction | None
    versions: tuple[NewVersion, ...] = ()
    removal: Removal | None = None


@dataclass(frozen=True)
class Rebuild:
    """A bulk load or repair after the earlier moment: what it replaced is not stored."""

    table_name: str
    load_id: int
    kind: str
    finished_at: datetime


@dataclass(frozen=True)
class Differences:
    """`totals` are exact for all records; `records` are those that contribute most."""

    metric: Metric
    filters: tuple[Filter, ...]
    before: Reading
    after: Reading
    totals: tuple[Total, ...]
    records: tuple[RecordDifference, ...]
    rebuilds: tuple[Rebuild, ...]

    @property
    def affected(self) -> int:
        return sum(total.records for total in self.totals)

    @property
    def is_cut(self) -> bool:
        return self.affected > len(self.records)

    @property
    def change(self) -> Figure:
        """The difference of the two figures as shown; None unless both are known."""
        if self.before.figure is None or self.after.figure is None:
            return None
        return self.after.figure - self.before.figure


def differences(
    tenant: Tenant,
    name: str,
    period: Period,
    before: Moment,
    after: Moment | None = None,
    filters: Filters | None = None,
    limit: int = MAX_RECORDS,
) -> Differences:
    """Why the metric `name` differs between two moments; at most `limit` records are listed.

    `after` defaults to now. Filters that the metric does not support are ignored. Raises KeyError,
    WarehouseError.
    """
    moments = (before, after or Moment())
    requested = parse_filters(filters or {})
    asked = _Comparison(tenant, METRICS[name], period, moments, requested)
    numbers, totals = asked.totals()
    earlier, later = (
        Reading(moment, spans.period, measured_at, found, figure_of(asked.metric, found))
        for moment, spans, measured_at, found in zip(
            moments, asked.spans, asked.measured_at, numbers, strict=True
        )
    )
    return Differences(
        metric=asked.metric,
        filters=asked.filters,
        before=earlier,
        after=later,
        totals=totals,
        records=asked.records(numbers, limit),
        rebuilds=asked.rebuilds(),
    )


def contribution_of(
    metric: Metric, totals: Sequence[Numbers], before: Numbers, after: Numbers
) -> Fraction | None:
    """The part of a figure's change that the change of some numbers brings, in the figure's unit.

    `totals` are the numbers of both figures. None if parts do not add up, or a figure is missing.
    """
    if metric.aggregate.is_duration:
        return None
    moved = [Fraction(b) - Fraction(a) for a, b in zip(before, after, strict=True)]
    if metric.aggregate is Aggregate.DIFFERENCE:
        return moved[0] - moved[1]
    if not metric.aggregate.is_quotient:
        return moved[0]
    (first, second), (_, second_after) = totals
    if not second or not second_after:
        return None
    factor = 100 if metric.aggregate is Aggregate.SHARE else 1
    figure = Fraction(first) / Fraction(second)
    return factor * (moved[0] - figure * moved[1]) / Fraction(second_after)


@dataclass(frozen=True)
class _Comparison:
    """One metric at two moments."""

    tenant: Tenant
    metric: Metric
    period: Period
    moments: tuple[Moment, Moment]
    requested_filters: tuple[Filter, ...]

    @cached_property
    def _pages(self) -> tuple[Page, ...]:
        return tuple(
            Page(self.tenant, self.period, each.as_of, self.requested_filters, ())
            for each in self.moments
        )

    @cached_property
    def spans(self) -> tuple[Spans, ...]:
        return tuple(page.spans for page in self._pages)

    @cached_property
    def measured_at(self) -> tuple[datetime, ...]:
        """The instants whose versions count."""
        if self.metric.is_state:
            return tuple(spans.moment(spans.period) for spans in self.spans)
        return tuple(spans.as_of for spans in self.spans)

    @cached_property
    def filters(self) -> tuple[Filter, ...]:
        return self._pages[0].filters_of(self.metric)

    @cached_property
    def _bound(self) -> dict[str, Any]:
        """The parameters of both moments, with the name of their side."""
        return {
            f"{side}_{name}": value
            for side, moment, spans in zip(_SIDES, self.moments, self.spans, strict=True)
            for name, value in (
                facts_parameters(self.tenant, spans, self.filters)
                | {"loaded_by": moment.loaded_by or _ALL_LOADS}
            ).items()
        }

    def _read(self, side: int) -> Read:
        return loaded_by if self.moments[side].loaded_by else stored

    def _select(self, sql: str, bound: dict[str, Any]) -> list[dict[str, Any]]:
        return TenantReader(self.tenant).select(sql, bound).dicts()

    # --- Totals

    def totals(self) -> tuple[tuple[Numbers, Numbers], tuple[Total, ...]]:
        """The numbers of both figures, and what the records with each cause bring."""
        found: dict[str, dict[str, list[Any]]] = defaultdict(
            lambda: {side: [0] * len(self.metric.measures) for side in _SIDES}
        )
        records: dict[str, int] = defaultdict(int)
        # Without any value, there is no median.
        nothing = [None if each.operation in _RANKED else 0 for each in self.metric.measures]
        found["all"] = {side: list(nothing) for side in _SIDES}
        for source in self.metric.sources:
            measures = _measures_of(self.metric, source)
            for row in self._select(_totals_sql(self._records_sql(source), measures), self._bound):
                kind = "all" if row["is_all"] else row["cause"]
                records[kind] += row["records"]
                for side in _SIDES:
                    for place, number in self._numbers(measures, row, side).items():
                        found[kind][side][place] = number
        before, after = (tuple(found["all"][side]) for side in _SIDES)
        totals = []
        for cause in Cause:
            of_cause = [tuple(found[cause][side]) for side in _SIDES]
            part = contribution_of(self.metric, (before, after), of_cause[0], of_cause[1])
            totals.append(Total(cause, records[cause], of_cause[0], of_cause[1], part))
        return (before, after), tuple(totals)

    def _numbers(
        self, measures: Sequence[Measure], row: dict[str, Any], side: str
    ) -> dict[int, Any]:
        """{the measure's place in the metric: its number in the row}."""
        return {
            self.metric.measures.index(measure): self._scaled(measure, row[f"n{number}_{side}"])
            for number, measure in enumerate(measures)
        }

    def _scaled(self, measure: Measure, number: Any) -> Any:
        if measure.operation is Operation.CAPACITY:
            return number * self.tenant.capacity_hours
        return number

    # --- Records

    def records(self, totals: tuple[Numbers, Numbers], limit: int) -> tuple[RecordDifference, ...]:
        """The records that contribute most, of all sources together."""
        found = [
            record
            for source in self.metric.sources
            for record in self._records_of(source, totals, limit)
        ]
        if len(self.metric.sources) > 1:
            found.sort(key=lambda record: -abs(float(record.contribution or 0)))
        by_table: dict[str, list[RecordDifference]] = defaultdict(list)
        for record in found[:limit]:
            by_table[record.table.name].append(record)
        explained = {
            (record.table.name, record.key): record
            for records in by_table.values()
            for record in self._explained(records)
        }
        return tuple(explained[record.table.name, record.key] for record in found[:limit])

    def _records_of(
        self, source: Source, totals: tuple[Numbers, Numbers], limit: int
    ) -> Iterable[RecordDifference]:
        measures = _measures_of(self.metric, source)
        nothing: list[Any] = [
            () if each.operation in _RANKED else 0 for each in self.metric.measures
        ]
        weights = self._weights(measures, totals)
        sql = _list_sql(self._records_sql(source), measures)
        for row in self._select(sql, self._bound | weights | {"most": limit}):
            sides = []
            for side in _SIDES:
                numbers = list(nothing)
                for place, number in self._numbers(measures, row, side).items():
                    numbers[place] = tuple(number) if isinstance(number, list) else number
                sides.append(tuple(numbers))
            yield RecordDifference(
                source.table,
                row["key"],
                "",
                Cause(row["cause"]),
                sides[0],
                sides[1],
                contribution_of(self.metric, totals, sides[0], sides[1]),
            )

    def _weights(
        self, measures: Sequence[Measure], totals: tuple[Numbers, Numbers]
    ) -> dict[str, float]:
        """How much one unit of each measure moves the figure, to list the largest first."""
        places = [self.metric.measures.index(measure) for measure in measures]
        found = {}
        for number, place in enumerate(places):
            unit = tuple(int(each == place) for each in range(len(self.metric.measures)))
            none = (0,) * len(unit)
            part = contribution_of(self.metric, totals, none, unit)
            scale = float(self._scaled(measures[number], 1))
            found[f"weight{number}"] = scale * float(1 if part is None else part)
        return found

    # --- Statements

    def _records_sql(self, source: Source) -> str:
        """Each record with the numbers of both sides, and the cause: '' if it is unaffected."""
        measures = _measures_of(self.metric, source)
        columns: list[str] = []
        counts: dict[str, list[str]] = {side: [] for side in _SIDES}
        for number, measure in enumerate(measures):
            value = _value_of(measure)
            for index, side in enumerate(_SIDES):
                on_side = f"side = {index} AND isNotNull({value})"
                columns.append(f"countIf({on_side}) AS c{number}_{side}")
                columns.append(f"{_number_sql(measure, value, on_side)} AS n{number}_{side}")
                counts[side].append(f"c{number}_{side}")
        before, after = (" + ".join(counts[side]) for side in _SIDES)
        differs = " OR ".join(
            f"{kind}{number}_before != {kind}{number}_after"
            for number in range(len(measures))
            for kind in ("c", "n")
        )
        return f"""SELECT key, {", ".join(columns)},
    multiIf({before} = 0 AND {after} > 0, '{Cause.ENTERED}', {after} = 0 AND {before} > 0,
        '{Cause.LEFT}', {differs}, '{Cause.CHANGED}', '') AS cause
FROM ({self._facts_sql(source)})
GROUP BY key"""

    def _facts_sql(self, source: Source) -> str:
        """The facts of both moments."""
        measures = _measures_of(self.metric, source)
        values = tuple(dict.fromkeys(each.value_name for each in measures))
        facts = "\nUNION ALL\n".join(
            f"SELECT {side} AS side, key, {', '.join(values)} FROM (\n"
            f"{_of_side(facts_sql(source, values, self.filters, self._read(side)), name)}\n)"
            for side, name in enumerate(_SIDES)
        )
        for measure in measures:
            if measure.operation is Operation.CAPACITY:
                facts = _with_owner(facts, measure.value_name)
        return facts

    # --- What did it

    def _explained(self, records: Sequence[RecordDifference]) -> Iterable[RecordDifference]:
        """The same records of one table, with what did it."""
        table = records[0].table
        keys = [record.key for record in records]
        before, after = (self._versions(table, keys, side) for side in range(2))
        counting = self._counting_fields(table)
        removed = {
            record.key: ended_at
            for record in records
            if (ended_at := self._ended_at(before[record.key], after[record.key]))
        }
        refreshes = self._refreshes(table, removed.values())
        for record in records:
            found = after[record.key] or before[record.key]
            ended_at = removed.get(record.key)
            yield replace(
                record,
                title=str(found[-1][_TITLES[table.name]] or "") if found else "",
                versions=tuple(
                    self._new_versions(table, before[record.key], after[record.key], counting)
                ),
                removal=Removal(ended_at, refreshes.get(ended_at)) if ended_at else None,
            )

    def _versions(
        self, table: Table, keys: Sequence[str], side: int
    ) -> dict[str, list[dict[str, Any]]]:
        """{key: its versions at a moment, the oldest first}."""
        columns = [*table.column_names, "effective_date", "expiry_date", "record_hash"]
        rows = self._read(side)(
            table,
            ", ".join(map(quote, [*columns, "load_id", "loaded_at", "source_file"])),
            f"{quote(table.key)} IN {{keys:Array(String)}} AND effective_date < expiry_date"
            " AND effective_date <= {measured_at:DateTime64(3, 'UTC')}",
        )
        bound = {
            "keys": list(keys),
            "measured_at": self.measured_at[side],
            "loaded_by": self.moments[side].loaded_by or _ALL_LOADS,
        }
        sql = (
            f"SELECT * FROM {rows} ORDER BY effective_date DESC"
            f" LIMIT {MAX_VERSIONS} BY {quote(table.key)}"
        )
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self._select(sql, bound):
            found[row[table.key]].insert(0, row)
        return found

    def _counting_fields(self, table: Table) -> set[str]:
        """The columns that the figure and its filters depend on."""
        words = {
            word
            for source in self.metric.sources
            if source.table is table
            for word in re.findall(r"\w+", self._facts_sql(source))
        }
        return words & set(table.column_names) - {table.key}

    def _new_versions(
        self,
        table: Table,
        before: Sequence[dict[str, Any]],
        after: Sequence[dict[str, Any]],
        counting: set[str],
    ) -> Iterable[NewVersion]:
        """Those that change what counts, or else all that the earlier moment did not know."""
        known = {(row["effective_date"], row["record_hash"]) for row in before}
        replaced = {row["effective_date"]: row for row in before}
        oldest = before[0]["effective_date"] if len(before) == MAX_VERSIONS else None
        found = []
        for number, row in enumerate(after):
            if (row["effective_date"], row["record_hash"]) in known:
                continue
            if oldest and row["effective_date"] < oldest:
                continue  # of longer histories, only the newest versions are compared
            earlier = replaced.get(row["effective_date"]) or (after[number - 1] if number else None)
            found.append(self._new_version(table, row, earlier, counting))
        decisive = [
            each for each in found if each.is_first or any(field.counts for field in each.fields)
        ]
        return decisive or found

    def _new_version(
        self, table: Table, row: dict[str, Any], earlier: dict[str, Any] | None, counting: set[str]
    ) -> NewVersion:
        fields = [
            ChangedField(name, earlier[name], row[name], name in counting)
            for name in table.column_names
            if earlier and earlier[name] != row[name]
        ]
        return NewVersion(
            effective_date=row["effective_date"],
            is_first=earlier is None,
            fields=tuple(sorted(fields, key=lambda field: not field.counts)),
            load_id=row["load_id"],
            loaded_at=row["loaded_at"],
            file=row["source_file"].partition(f"/{self.tenant.id}/canonical/")[2],
        )

    def _ended_at(
        self, before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]
    ) -> datetime | None:
        """When the record ended, if it had not at the earlier moment."""
        if not after or after[-1]["expiry_date"] > self.measured_at[1]:
            return None
        ended_at: datetime = after[-1]["expiry_date"]
        had_ended = bool(before) and before[-1]["expiry_date"] <= self.measured_at[0]
        return None if had_ended and before[-1]["expiry_date"] == ended_at else ended_at

    def _refreshes(self, table: Table, moments: Iterable[datetime]) -> dict[datetime, int]:
        """{end of a record: the full refresh that ended it}, for those in the load log."""
        wanted = sorted(set(moments))
        if not wanted:
            return {}
        sql = """SELECT newest_file_time, min(load_id) AS load_id
FROM load_log_of(tenant_id = {tenant_id:String})
WHERE table_name = {table:String} AND kind = 'refresh'
    AND newest_file_time >= {first:DateTime64(3, 'UTC')}
    AND newest_file_time <= {last:DateTime64(3, 'UTC')}
GROUP BY newest_file_time"""
        bound = {"table": table.name, "first": wanted[0], "last": wanted[-1]}
        return {
            row["newest_file_time"]: row["load_id"]
            for row in self._select(sql, bound)
            if row["newest_file_time"] in wanted
        }

    def rebuilds(self) -> tuple[Rebuild, ...]:
        """Bulk loads and repairs that replaced what the earlier moment is about."""
        since = self.moments[0].loaded_by
        if since is None:
            return ()
        sql = """SELECT table_name, load_id, kind, finished_at
FROM load_log_of(tenant_id = {tenant_id:String})
WHERE table_name IN {tables:Array(String)} AND kind IN ('bulk', 'repair')
    AND finished_at > {since:DateTime64(3, 'UTC')} AND finished_at <= {until:DateTime64(3, 'UTC')}
    AND table_name IN (
        SELECT table_name FROM load_log_of(tenant_id = {tenant_id:String})
        WHERE finished_at <= {since:DateTime64(3, 'UTC')}
    )
ORDER BY finished_at"""
        bound = {
            "tables": list(self.metric.tables),
            "since": since,
            "until": self.moments[1].loaded_by or _ALL_LOADS,
        }
        return tuple(Rebuild(**row) for row in self._select(sql, bound))


# --- Pieces of statements

_RANKED = (Operation.MEDIAN, Operation.P90)


def _measures_of(metric: Metric, source: Source) -> list[Measure]:
    return [each for each in metric.measures if each.source is source]


def _value_of(measure: Measure) -> str:
    return _OWNED if measure.operation is Operation.CAPACITY else measure.value_name


def _number_sql(measure: Measure, value: str, on_side: str) -> str:
    """A record's number: how often, how much, or, of medians, the values in order."""
    if measure.operation is Operation.SUM:
        return f"sumIf(ifNull({value}, 0), {on_side})"
    if measure.operation in _RANKED:
        return f"arraySort(groupArrayIf(assumeNotNull({value}), {on_side}))"
    return f"countIf({on_side})"


def _of_side(sql: str, side: str) -> str:
    """The statement with the parameters of one side."""
    return re.sub(r"\{(?!tenant_id:)(\w+):", rf"{{{side}_\1:", sql)


def _with_owner(facts: str, value: str) -> str:
    """The facts with a column `owned`, known in one of those that share `value` at a moment.

    It is one of a record that has the value at both moments, if there is any, so that no
    unaffected record seems to change.
    """
    is_common = (
        f"min(side) OVER (PARTITION BY {value}, key) != max(side) OVER (PARTITION BY {value}, key)"
    )
    place = f"row_number() OVER (PARTITION BY {value}, side ORDER BY is_common DESC, key)"
    return f"""SELECT *, if({place} = 1 AND isNotNull({value}), 1, NULL) AS {_OWNED}
FROM (SELECT *, {is_common} AS is_common FROM ({facts}))"""


def _totals_sql(records: str, measures: Sequence[Measure]) -> str:
    """For each cause and for all records: how many, and the sums; of medians, how many values.

    The median of all values stands in the row for all records.
    """
    columns = []
    for number, measure in enumerate(measures):
        for side in _SIDES:
            name = f"n{number}_{side}"
            if measure.operation in _RANKED:
                ranked = measure.operation.value.replace("(", "Array(", 1).format(f"r.{name}")
                count = f"toInt64(sum(c{number}_{side}))"
                columns.append(
                    f"if(grouping(cause) = 1, if({count} = 0, NULL, {ranked}), {count}) AS {name}"
                )
            else:
                columns.append(f"sum(r.{name}) AS {name}")
    return f"""SELECT grouping(cause) AS is_all, cause, count() AS records, {", ".join(columns)}
FROM (
{records}
) AS r
GROUP BY GROUPING SETS ((cause), ())"""


def _list_sql(records: str, measures: Sequence[Measure]) -> str:
    """The affected records, those that move the figure most first."""
    columns = ", ".join(f"n{number}_{side}" for number in range(len(measures)) for side in _SIDES)
    moves = []
    for number, measure in enumerate(measures):
        before, after = (
            f"toFloat64(arraySum(n{number}_{side}))"
            if measure.operation in _RANKED
            else f"toFloat64(n{number}_{side})"
            for side in _SIDES
        )
        moves.append(f"{{weight{number}:Float64}} * ({after} - {before})")
    return f"""SELECT key, cause, {columns}
FROM (
{records}
)
WHERE cause != ''
ORDER BY abs({" + ".join(moves)}) DESC, key
LIMIT {{most:UInt32}}"""
