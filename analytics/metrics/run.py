"""Computes metrics, for pages, the API, exports and reports alike.

What is not cached is asked of each source at once, in one statement for all metrics.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.utils import timezone

from analytics.metrics import cache
from analytics.metrics.answers import (
    Answer,
    Combined,
    Piece,
    answer_of,
    numbered_buckets,
    ordered_parts,
)
from analytics.metrics.dimensions import DIMENSIONS, Filter, Filters, parse_filters
from analytics.metrics.freshness import Freshness, data_version, freshness_of
from analytics.metrics.names import company_names
from analytics.metrics.registry import Metric
from analytics.metrics.results import MetricQuery, MetricResult, figure_of
from analytics.metrics.statement import (
    PERIOD,
    PREVIOUS,
    Spans,
    Statement,
    figures_statement,
    parameters,
    records_sql,
)
from analytics.periods import Period, known_as_of
from analytics.warehouse.tenant_reader import TenantReader
from tenants.models import Tenant

MAX_PARTS = 500
PARALLEL_STATEMENTS = 4


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
    max_parts: int = MAX_PARTS,
) -> Iterator[tuple[MetricQuery, MetricResult | Exception]]:
    """Several metrics at once: each as soon as it is known, the cached ones first.

    The statements are sent before this returns. A query whose statement fails has the exception
    instead, so that the others are shown. Each result has the first `max_parts` parts.
    """
    queries = list(dict.fromkeys(queries))
    if freshness is None:
        tables = {name for query in queries for name in query.tables}
        freshness = freshness_of(tenant, tables)
    page = Page(tenant, period, as_of, parse_filters(filters or {}), tuple(freshness), max_parts)
    answers: dict[Piece, Answer | Exception] = dict(page.cached_answers(queries))
    missing = [each for query in queries for each in page.pieces_of(query) if each not in answers]
    threads = ThreadPoolExecutor(PARALLEL_STATEMENTS)
    names = threads.submit(page.names) if _needs_names(queries) else None
    futures = {threads.submit(page.ask, batch): batch for batch in _batches(missing)}
    threads.shutdown(wait=False)  # its threads end with these
    return _as_known(page, queries, answers, futures, names)


def all_results(
    tenant: Tenant,
    queries: Iterable[MetricQuery],
    period: Period,
    as_of: datetime | None = None,
    filters: Filters | None = None,
    freshness: Sequence[Freshness] | None = None,
) -> dict[MetricQuery, MetricResult]:
    """The results of all `queries`, where one that failed fails them all. Raises WarehouseError."""
    found = {}
    for query, result in run_metrics(tenant, queries, period, as_of, filters, freshness):
        if isinstance(result, Exception):
            raise result
        found[query] = result
    return found


def _as_known(
    page: "Page",
    queries: Sequence[MetricQuery],
    answers: "dict[Piece, Answer | Exception]",
    futures: "Mapping[Future[dict[Piece, Answer]], Sequence[Piece]]",
    names: "Future[dict[str, str]] | None",
) -> Iterator[tuple[MetricQuery, MetricResult | Exception]]:
    waiting = list(queries)
    try:
        yield from _finished(page, waiting, answers, names)
        for done in as_completed(futures):
            answers |= _answers_of(done, futures[done])
            yield from _finished(page, waiting, answers, names)
    finally:
        for each in futures:  # the reader may have gone
            each.cancel()


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
    verdict: bool | None = None,
) -> RecordsQuery:
    """The records that a figure counts: as of `as_of`, or of when a state was measured.

    With a `verdict`, only those that are part of a share, or are not.
    """
    page = Page(tenant, period, as_of, parse_filters(filters or {}), ())
    applied, spans = page.filters_of(metric), page.spans
    return RecordsQuery(
        records_sql(metric, applied, verdict),
        page.bound(applied),
        spans.moment(spans.period) if metric.is_state else spans.as_of,
    )


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
    max_parts: int = MAX_PARTS

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
                query.over_time,
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
            tuple(piece.by for piece in pieces if piece.by and piece.over_time),
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
            piece: answer_of(piece, statement, found.values, found.milliseconds) for piece in pieces
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
        found = Combined(metric, pieces, answers)
        moment = spans.moment
        # A state whose two moments are the same has the same figure at both.
        same = metric.is_state and moment(spans.period) == moment(spans.period.previous)
        previous = PERIOD if same else PREVIOUS
        numbers, before = found.of_span(PERIOD), found.of_span(previous)
        buckets = list(numbered_buckets(metric, spans))
        by_bucket = [found.of_bucket(number) for number, _ in buckets]
        parts = ordered_parts(
            query, found.parts(query, previous, [number for number, _ in buckets], names)
        )
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
                (bucket, figure_of(metric, each))
                for (_, bucket), each in zip(buckets, by_bucket, strict=True)
            ),
            parts=parts[: self.max_parts],
            is_cut=len(parts) > self.max_parts or any(answer.is_cut for answer in answers),
            freshness=tuple(f for f in self.freshness if f.table_name in query.tables),
            milliseconds=max(answer.milliseconds for answer in answers),
            numbers=numbers,
            previous_numbers=before,
            series_numbers=tuple(by_bucket),
            sql="\n\n".join(self.statement([piece]).sql for piece in pieces),
        )
