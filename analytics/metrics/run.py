"""Computes metrics, for pages, the API, exports and reports alike.

What is not cached is asked of each source at once, in one statement for all metrics.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from typing import Any

from django.utils import timezone

from analytics.metrics import cache
from analytics.metrics.dimensions import DIMENSIONS, Dimension, Filter, Filters, parse_filters
from analytics.metrics.freshness import Freshness, data_version, freshness_of
from analytics.metrics.names import company_names
from analytics.metrics.registry import METRICS, Aggregate, Measure, Metric, Operation
from analytics.metrics.sources import Source
from analytics.metrics.statement import (
    PERIOD,
    PREVIOUS,
    By,
    Spans,
    Statement,
    figures_statement,
    parameters,
    records_sql,
)
from analytics.periods import Period, known_as_of
from analytics.warehouse.catalog import COMPANIES
from analytics.warehouse.tenant_reader import TenantReader
from tenants.models import Tenant

Figure = int | Decimal | None
MAX_PARTS = 500
MAX_DIMENSIONS = 2
PARALLEL_STATEMENTS = 4
_HOUR = Decimal(3_600_000)
# The number of each of a metric's measures, in their order; None where there is nothing to measure.
Numbers = tuple[Any, ...]


@dataclass(frozen=True)
class MetricQuery:
    """A metric and the dimensions that it is broken down by, at most two."""

    metric: Metric
    by: By = ()

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


@dataclass(frozen=True)
class Part:
    """One row of a breakdown: its values of the dimensions, "" where records have none."""

    values: tuple[str, ...]
    labels: tuple[str, ...]
    figure: Figure
    previous: Figure
    numbers: Numbers = ()
    previous_numbers: Numbers = ()

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
    the cache.
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
            DIMENSIONS[each.dimension].title
            for each in self.requested_filters
            if each not in self.filters
        )

    def other(self, shown: int) -> Part | None:
        """All parts but the first `shown` as one; None if there are no more, or for a median."""
        rest = len(self.parts) - shown
        if rest <= 0 or self.metric.aggregate.is_duration:
            return None
        numbers = _without(self.numbers, [part.numbers for part in self.parts[:shown]])
        before = _without(
            self.previous_numbers, [part.previous_numbers for part in self.parts[:shown]]
        )
        return Part((), ("Other",), figure_of(self.metric, numbers), figure_of(self.metric, before))


def run_metric(
    tenant: Tenant,
    name: str,
    period: Period,
    as_of: datetime | None = None,
    filters: Filters | None = None,
    freshness: Sequence[Freshness] | None = None,
    by: Sequence[str] | None = None,
) -> MetricResult:
    """The metric `name` for `tenant` and `period`, from the versions in effect by `as_of`.

    `as_of` must be aware; the default is now. Filters that the metric does not support are
    ignored. It is broken down `by` at most two dimensions, by default as declared. Raises KeyError
    for an unknown metric, ValueError for a wrong dimension, and WarehouseError.
    """
    query = MetricQuery.named(name, by)
    for _, result in run_metrics(tenant, [query], period, as_of, filters, freshness):
        if isinstance(result, MetricResult):
            return result
        raise result
    raise AssertionError("a query without an outcome")


def run_metrics(
    tenant: Tenant,
    queries: Iterable[MetricQuery],
    period: Period,
    as_of: datetime | None = None,
    filters: Filters | None = None,
    freshness: Sequence[Freshness] | None = None,
) -> Iterator[tuple[MetricQuery, MetricResult | Exception]]:
    """Several metrics at once: each as soon as it is known, the cached ones first.

    A query whose statement fails has the exception instead, so that the others are shown.
    """
    queries = list(dict.fromkeys(queries))
    if freshness is None:
        tables = {name for query in queries for name in _tables_of(query)}
        freshness = freshness_of(tenant, tables)
    page = Page(tenant, period, as_of, parse_filters(filters or {}), tuple(freshness))
    answers: dict[Piece, Answer | Exception] = dict(page.cached_answers(queries))
    missing = [each for query in queries for each in page.pieces_of(query) if each not in answers]
    waiting = list(queries)
    with ThreadPoolExecutor(PARALLEL_STATEMENTS) as threads:
        names = threads.submit(page.names) if _needs_names(queries) else None
        futures = {threads.submit(page.ask, batch): batch for batch in _batches(missing)}
        try:
            yield from _finished(page, waiting, answers, names)
            for done in as_completed(futures):
                answers |= _answers_of(done, futures[done])
                yield from _finished(page, waiting, answers, names)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)  # the reader may have gone


def _finished(
    page: "Page",
    waiting: list[MetricQuery],
    answers: Mapping["Piece", "Answer | Exception"],
    names: "Future[dict[str, str]] | None",
) -> Iterator[tuple[MetricQuery, MetricResult | Exception]]:
    """Those of the waiting queries whose answers are complete; they are removed."""
    for query in list(waiting):
        pieces = page.pieces_of(query)
        if not all(piece in answers for piece in pieces):
            continue
        waiting.remove(query)
        try:
            found = [_checked(answers[piece]) for piece in pieces]
            known = names.result() if names and "company" in query.by else {}
            yield query, page.result(query, pieces, found, known)
        except Exception as error:
            yield query, error


def _checked(answer: "Answer | Exception") -> "Answer":
    if isinstance(answer, Exception):
        raise answer
    return answer


def _answers_of(
    done: "Future[dict[Piece, Answer]]", batch: Sequence["Piece"]
) -> dict["Piece", "Answer | Exception"]:
    error = done.exception()
    if error is None:
        return dict(done.result())
    if not isinstance(error, Exception):
        raise error
    return dict.fromkeys(batch, error)


def _needs_names(queries: Sequence[MetricQuery]) -> bool:
    return any("company" in query.by for query in queries)


def _tables_of(query: MetricQuery) -> tuple[str, ...]:
    """The tables behind its figures and labels."""
    names = (COMPANIES.name,) if "company" in query.by else ()
    return tuple(dict.fromkeys((*query.metric.tables, *names)))


@dataclass(frozen=True)
class RecordsQuery:
    """The statement for the records behind a figure, and when their versions are shown."""

    sql: str
    parameters: dict[str, Any]
    shown_as_of: datetime


def records_query(
    tenant: Tenant,
    metric: Metric,
    period: Period,
    as_of: datetime | None = None,
    filters: Filters | None = None,
) -> RecordsQuery:
    """The records that a figure counts: as of `as_of`, or of when a state was measured."""
    page = Page(tenant, period, as_of, parse_filters(filters or {}), ())
    applied, spans = page.filters_of(metric), page.spans
    return RecordsQuery(
        records_sql(metric, applied),
        page.bound(applied),
        spans.moment(spans.period) if metric.is_state else spans.as_of,
    )


# --- Pieces: what is asked of one source for one query, and cached


@dataclass(frozen=True)
class Piece:
    source: Source
    measures: tuple[Measure, ...]
    by: By
    filters: tuple[Filter, ...]


@dataclass(frozen=True)
class Answer:
    """The numbers of a piece's measures. `milliseconds` is the time of its statement.

    `spans` and `buckets` are {number: numbers}, `parts` {values: {span: numbers}}, and `labels`
    the names of companies in the records themselves.
    """

    spans: dict[int, Numbers]
    buckets: dict[int, Numbers]
    parts: dict[tuple[str, ...], dict[int, Numbers]]
    labels: dict[str, str]
    milliseconds: float = 0.0

    def to_json(self) -> list[Any]:
        return [
            list(self.spans.items()),
            list(self.buckets.items()),
            [(values, list(found.items())) for values, found in self.parts.items()],
            list(self.labels.items()),
        ]

    @classmethod
    def from_json(cls, plain: list[Any]) -> "Answer":
        spans, buckets, parts, labels = plain
        return cls(
            _numbers(spans),
            _numbers(buckets),
            {tuple(values): _numbers(found) for values, found in parts},
            dict(labels),
        )


def _numbers(pairs: Iterable[Any]) -> dict[int, Numbers]:
    return {number: tuple(found) for number, found in pairs}


def _batches(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """What one statement can answer: the pieces of the same source and filters."""
    batches: dict[Any, list[Piece]] = {}
    for piece in dict.fromkeys(pieces):
        batches.setdefault((piece.source, piece.filters), []).append(piece)
    return list(batches.values())


@dataclass(frozen=True)
class Page:
    """The queries of one tenant that share a period, an as-of instant and filters."""

    tenant: Tenant
    requested_period: Period
    requested_as_of: datetime | None
    requested_filters: tuple[Filter, ...]
    freshness: tuple[Freshness, ...]

    @cached_property
    def spans(self) -> Spans:
        """The period, cut off at the as-of date, and an as-of instant that is the same all day, so
        that results can be cached."""
        period, as_of = self.requested_period, self.requested_as_of
        if as_of is not None:
            return Spans(period.up_to(as_of), as_of)  # later days are unknown, not zero
        return Spans(period, max(known_as_of(self.tenant.zone, None), period.ends_at))

    def filters_of(self, metric: Metric) -> tuple[Filter, ...]:
        """Those that the metric supports."""
        return tuple(f for f in self.requested_filters if f.dimension in metric.dimensions)

    def pieces_of(self, query: MetricQuery) -> list[Piece]:
        return [
            Piece(
                source,
                tuple(each for each in query.metric.measures if each.source is source),
                query.by,
                self.filters_of(query.metric),
            )
            for source in query.metric.sources
        ]

    def statement(self, pieces: Sequence[Piece]) -> Statement:
        return figures_statement(
            pieces[0].source,
            tuple(measure for piece in pieces for measure in piece.measures),
            tuple(piece.by for piece in pieces if piece.by),
            self.spans.period.bucket_unit,
            pieces[0].filters,
        )

    def bound(self, filters: Sequence[Filter]) -> dict[str, Any]:
        return parameters(self.tenant, self.spans, filters)

    def names(self) -> dict[str, str]:
        as_of = known_as_of(self.tenant.zone, self.requested_as_of)
        return company_names(self.tenant, as_of, self.freshness)

    def cached_answers(self, queries: Sequence[MetricQuery]) -> dict[Piece, Answer]:
        keys = {
            key: piece
            for query in queries
            for piece in self.pieces_of(query)
            if (key := self._key(piece, query.metric.name))
        }
        found = cache.find(keys)
        return {keys[key]: Answer.from_json(plain) for key, plain in found.items()}

    def ask(self, pieces: Sequence[Piece]) -> dict[Piece, Answer]:
        """The answers to pieces of the same source and filters, which are cached, too."""
        statement = self.statement(pieces)
        found = TenantReader(self.tenant).select(statement.sql, self.bound(pieces[0].filters))
        answers = {
            piece: _answer(piece, statement, found.values, found.milliseconds) for piece in pieces
        }
        cache.keep(
            {
                key: answer.to_json()
                for piece, answer in answers.items()
                if (key := self._key(piece))
            }
        )
        return answers

    def _key(self, piece: Piece, counted_as: str = "") -> cache.Key | None:
        """A piece is cached under its own statement, whatever it was asked together with."""
        table = piece.source.table.name
        version = data_version(each for each in self.freshness if each.table_name == table)
        query = (self.statement([piece]).sql, self.bound(piece.filters))
        return cache.key_of(self.tenant, counted_as or piece.source.name, query, version)

    def result(
        self,
        query: MetricQuery,
        pieces: Sequence[Piece],
        answers: Sequence[Answer],
        names: Mapping[str, str],
    ) -> MetricResult:
        metric, spans = query.metric, self.spans
        found = _Numbers(metric, pieces, answers)
        moment = spans.moment
        # A state whose two moments are the same has the same figure at both.
        same = metric.is_state and moment(spans.period) == moment(spans.period.previous)
        previous = PERIOD if same else PREVIOUS
        numbers, before = found.of_span(PERIOD), found.of_span(previous)
        parts = _ordered(query, found.parts(query, previous, names))
        return MetricResult(
            metric=metric,
            by=tuple(DIMENSIONS[name] for name in query.by),
            period=spans.period,
            as_of=self.requested_as_of or timezone.now(),
            requested_filters=self.requested_filters,
            filters=self.filters_of(metric),
            figure=figure_of(metric, numbers),
            previous=figure_of(metric, before),
            series=tuple(
                (bucket, figure_of(metric, found.of_bucket(number)))
                for number, bucket in _numbered(metric, spans)
            ),
            parts=parts[:MAX_PARTS],
            is_cut=len(parts) > MAX_PARTS,
            freshness=tuple(f for f in self.freshness if f.table_name in _tables_of(query)),
            milliseconds=max(answer.milliseconds for answer in answers),
            numbers=numbers,
            previous_numbers=before,
            sql="\n\n".join(self.statement([piece]).sql for piece in pieces),
        )


def _answer(
    piece: Piece, statement: Statement, rows: Sequence[Sequence[Any]], milliseconds: float
) -> Answer:
    """What `rows`, the result of a statement for several pieces, say about one of them."""
    first = 1 + len(statement.keys)
    columns = [first + statement.measures.index(measure) for measure in piece.measures]
    by = tuple(f"by_{name}" for name in piece.by)
    places = [1 + statement.keys.index(name) for name in by]
    answer = Answer({}, {}, {}, {}, milliseconds)
    for row in rows:
        known = statement.sets[row[0]]
        numbers = tuple(row[column] for column in columns)
        if known == ("span",):
            answer.spans[row[1]] = numbers
        elif known == ("bucket",):
            answer.buckets[row[2]] = numbers
        elif known == ("span", *by) and _has_facts(piece.measures, numbers):
            values = tuple(row[place] for place in places)
            answer.parts.setdefault(values, {})[row[1]] = numbers
            if "company" in piece.by and row[-1]:
                answer.labels[values[piece.by.index("company")]] = row[-1]
    return answer


def _has_facts(measures: Sequence[Measure], numbers: Numbers) -> bool:
    """Whether any fact counts for these measures; others of the statement may have found some."""
    return any(
        number is not None if measure.operation is Operation.SUM else bool(number)
        for measure, number in zip(measures, numbers, strict=True)
    )


class _Numbers:
    """The numbers of a metric's measures, which may come from two sources."""

    def __init__(self, metric: Metric, pieces: Sequence[Piece], answers: Sequence[Answer]) -> None:
        self.metric, self.pieces, self.answers = metric, pieces, answers

    def of_span(self, span: int) -> Numbers:
        return self._together([answer.spans.get(span) for answer in self.answers])

    def of_bucket(self, number: int) -> Numbers:
        return self._together([answer.buckets.get(number) for answer in self.answers])

    def parts(self, query: MetricQuery, previous: int, names: Mapping[str, str]) -> list[Part]:
        if not query.by:
            return []
        found = []
        for values in dict.fromkeys(values for answer in self.answers for values in answer.parts):
            spans = [answer.parts.get(values, {}) for answer in self.answers]
            numbers = self._together([each.get(PERIOD) for each in spans])
            before = self._together([each.get(previous) for each in spans])
            found.append(
                Part(
                    values,
                    tuple(
                        self._label(name, value, names)
                        for name, value in zip(query.by, values, strict=True)
                    ),
                    figure_of(self.metric, numbers),
                    figure_of(self.metric, before),
                    numbers,
                    before,
                )
            )
        return found

    def _label(self, dimension: str, value: str, names: Mapping[str, str]) -> str:
        if dimension != "company":
            return dict(DIMENSIONS[dimension].labels).get(value, value)
        own = (answer.labels.get(value, "") for answer in self.answers)
        return names.get(value) or next(filter(None, own), value)

    def _together(self, found: Sequence[Numbers | None]) -> Numbers:
        by_measure = {
            measure: numbers[index]
            for piece, numbers in zip(self.pieces, found, strict=True)
            if numbers is not None
            for index, measure in enumerate(piece.measures)
        }
        return tuple(by_measure.get(measure) for measure in self.metric.measures)


def _numbered(metric: Metric, spans: Spans) -> Iterator[tuple[int, Period]]:
    """The buckets of the period, and the number that each has in the statement."""
    if not metric.is_state:
        return enumerate(spans.period.buckets(), 1)
    numbers = {instant: number for number, instant in enumerate(spans.instants, 1)}
    return ((numbers[spans.moment(bucket)], bucket) for bucket in spans.period.buckets())


def _ordered(query: MetricQuery, parts: Sequence[Part]) -> tuple[Part, ...]:
    """In the order of the dimension, with all its values, or the largest figure first."""
    by_size = sorted(parts, key=lambda part: (-_size(part.figure), part.labels))
    if len(query.by) != 1 or not DIMENSIONS[query.by[0]].is_ordered:
        return tuple(by_size)
    found = {part.values[0]: part for part in by_size}
    zero = figure_of(query.metric, (None,) * len(query.metric.measures))
    ordered = [
        found.pop(value, Part((value,), (label,), zero, zero))
        for value, label in DIMENSIONS[query.by[0]].labels
    ]
    return (*ordered, *found.values())


def _size(figure: Figure) -> float:
    return float("-inf") if figure is None else float(figure)


def _without(total: Numbers, others: Sequence[Numbers]) -> Numbers:
    return tuple(
        None if number is None else number - sum(other[place] or 0 for other in others if other)
        for place, number in enumerate(total)
    )


def figure_of(metric: Metric, numbers: Numbers) -> Figure:
    """The figure that the numbers of a metric's measures make."""
    first, second = (*numbers, None)[:2]
    match metric.aggregate:
        case Aggregate.COUNT:
            return first or 0
        case Aggregate.DIFFERENCE:
            return (first or 0) - (second or 0)
        case Aggregate.SUM:
            return _rounded(first, 2) if isinstance(first, Decimal) else first or 0
        case Aggregate.SHARE | Aggregate.RATIO:
            if not second:
                return None
            factor = 100 if metric.aggregate is Aggregate.SHARE else 1
            return _rounded(Decimal(first or 0) * factor / Decimal(second), metric.places)
    return None if first is None else _rounded(Decimal(first) / _HOUR, metric.places)


def _rounded(exact: Decimal, places: int) -> Decimal:
    return exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
