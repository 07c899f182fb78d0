"""Takes the answer of one statement apart, for each query, and puts results together."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analytics.metrics.dimensions import DIMENSIONS, Filter
from analytics.metrics.registry import Measure, Metric, Operation
from analytics.metrics.results import Figure, MetricQuery, Numbers, Part, figure_of
from analytics.metrics.sources import Source
from analytics.metrics.statement import MAX_GROUPS, PERIOD, By, Spans, Statement
from analytics.periods import Period

_COUNTS = (Operation.COUNT, Operation.CAPACITY)  # 0 without facts; the others are None


@dataclass(frozen=True)
class Piece:
    """What is asked of one source for one query, and cached."""

    source: Source
    measures: tuple[Measure, ...]
    by: By
    filters: tuple[Filter, ...]
    over_time: bool = False


@dataclass(frozen=True)
class Answer:
    """The numbers of a piece's measures. `milliseconds` is the time of its statement.

    `spans` and `buckets` are {number: numbers}, `parts` {values: {span: numbers}}, `series`
    {values: {bucket: numbers}}, and `labels` the names of companies in the records themselves.
    `is_cut` if the statement found more rows for the parts or their series than it may return.
    """

    spans: dict[int, Numbers]
    buckets: dict[int, Numbers]
    parts: dict[tuple[str, ...], dict[int, Numbers]]
    labels: dict[str, str]
    series: dict[tuple[str, ...], dict[int, Numbers]]
    is_cut: bool = False
    milliseconds: float = 0.0

    def to_json(self) -> list[Any]:
        return [
            list(self.spans.items()),
            list(self.buckets.items()),
            [(values, list(found.items())) for values, found in self.parts.items()],
            list(self.labels.items()),
            [(values, list(found.items())) for values, found in self.series.items()],
            self.is_cut,
        ]

    @classmethod
    def from_json(cls, plain: list[Any]) -> "Answer":
        spans, buckets, parts, labels, series, is_cut = plain
        return cls(
            _numbers(spans),
            _numbers(buckets),
            {tuple(values): _numbers(found) for values, found in parts},
            dict(labels),
            {tuple(values): _numbers(found) for values, found in series},
            is_cut,
        )


def _numbers(pairs: Iterable[Any]) -> dict[int, Numbers]:
    return {number: tuple(found) for number, found in pairs}


def answer_of(
    piece: Piece, statement: Statement, rows: Sequence[Sequence[Any]], milliseconds: float
) -> Answer:
    """What `rows`, the result of a statement for several pieces, say about one of them."""
    first = 1 + len(statement.keys)
    columns = [first + statement.measures.index(measure) for measure in piece.measures]
    by = tuple(f"by_{name}" for name in piece.by)
    places = [1 + statement.keys.index(name) for name in by]
    of_parts, of_series = ("span", *by), ("bucket", *by)
    is_cut = bool(by) and _is_cut(statement, rows, of_parts, of_series)
    answer = Answer({}, {}, {}, {}, {}, is_cut, milliseconds)
    for row in rows:
        known = statement.sets[row[0]]
        numbers = tuple(row[column] for column in columns)
        if known == ("span",):
            answer.spans[row[1]] = numbers
        elif known == ("bucket",):
            answer.buckets[row[2]] = numbers
        elif known not in (of_parts, of_series) or not _has_facts(piece.measures, numbers):
            continue
        elif known == of_series:
            answer.series.setdefault(tuple(row[place] for place in places), {})[row[2]] = numbers
        else:
            values = tuple(row[place] for place in places)
            answer.parts.setdefault(values, {})[row[1]] = numbers
            if "company" in piece.by and row[-1]:
                answer.labels[values[piece.by.index("company")]] = row[-1]
    return answer


def _is_cut(statement: Statement, rows: Sequence[Sequence[Any]], *sets: tuple[str, ...]) -> bool:
    """Whether the statement returned as many rows of one of these sets as it may."""
    if len(rows) < MAX_GROUPS:
        return False
    returned = Counter(statement.sets[row[0]] for row in rows)
    return any(returned[each] >= MAX_GROUPS for each in sets)


def _has_facts(measures: Sequence[Measure], numbers: Numbers) -> bool:
    """Whether any fact counts for these measures; others of the statement may have found some."""
    return any(
        bool(number) if measure.operation in _COUNTS else number is not None
        for measure, number in zip(measures, numbers, strict=True)
    )


class Combined:
    """The numbers of a metric's measures, which may come from two sources."""

    def __init__(self, metric: Metric, pieces: Sequence[Piece], answers: Sequence[Answer]) -> None:
        self.metric, self.pieces, self.answers = metric, pieces, answers

    def of_span(self, span: int) -> Numbers:
        return self._together([answer.spans.get(span) for answer in self.answers])

    def of_bucket(self, number: int) -> Numbers:
        return self._together([answer.buckets.get(number) for answer in self.answers])

    def parts(
        self, query: MetricQuery, previous: int, buckets: Sequence[int], names: Mapping[str, str]
    ) -> list[Part]:
        if not query.by:
            return []
        found = []
        for values in dict.fromkeys(
            v for each in self.answers for v in (*each.parts, *each.series)
        ):
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
                    self._series(values, buckets) if query.over_time else (),
                )
            )
        return found

    def _series(self, values: tuple[str, ...], buckets: Sequence[int]) -> tuple[Figure, ...]:
        found = [answer.series.get(values, {}) for answer in self.answers]
        return tuple(
            figure_of(self.metric, self._together([each.get(number) for each in found]))
            for number in buckets
        )

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


def numbered_buckets(metric: Metric, spans: Spans) -> Iterator[tuple[int, Period]]:
    """The buckets of the period, and the number that each has in the statement."""
    if not metric.is_state:
        return enumerate(spans.period.buckets(), 1)
    numbers = {instant: number for number, instant in enumerate(spans.instants, 1)}
    return ((numbers[spans.moment(bucket)], bucket) for bucket in spans.period.buckets())


def ordered_parts(query: MetricQuery, parts: Sequence[Part]) -> tuple[Part, ...]:
    """In the order of the dimension, with all its values, or the largest figure first."""
    by_size = sorted(parts, key=lambda part: (-_size(part.figure), part.labels))
    if len(query.by) != 1 or not DIMENSIONS[query.by[0]].is_ordered:
        return tuple(by_size)
    found = {part.values[0]: part for part in by_size}
    zero = figure_of(query.metric, ())
    ordered = [
        found.pop(value, Part((value,), (label,), zero, zero))
        for value, label in DIMENSIONS[query.by[0]].labels
    ]
    return (*ordered, *found.values())


def _size(figure: Figure) -> float:
    return float("-inf") if figure is None else float(figure)
