"""Every figure of every sample tenant, loaded for real, equals plain Python over the files."""

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import pytest

from analytics.api import summaries
from analytics.metrics import METRICS, MetricQuery, run_metrics
from analytics.metrics.dimensions import write_value
from analytics.metrics.query import Query
from analytics.metrics.rows import run_query
from analytics.metrics.run import MAX_PARTS
from analytics.periods import Comparison, Period
from analytics.tests.metric_model import Model, figure, figure_of_others, parts
from analytics.warehouse.catalog import TABLES
from avesa_site.demo.sample_lake import SAMPLE_TENANTS, generate
from avesa_site.demo.sample_lake.service import PRIORITIES
from avesa_site.tests.sample_lake.reading import read_rows
from loaders.jobs.load import Kind, LoadRequest, run_load
from loaders.tests.thoroughness import THOROUGH
from tenants.models import SlaTarget, Tenant

pytestmark = pytest.mark.slow
UNTIL = date(2026, 4, 15)  # Europe's clocks change in the last month
FOREVER = datetime(2999, 1, 1, tzinfo=UTC)
TENANTS = [Tenant(id=s.tenant_id, name=s.name, time_zone=s.time_zone) for s in SAMPLE_TENANTS]
SPANS = [
    (date(2026, 3, 16), date(2026, 4, 15)),
    (date(2025, 10, 1), date(2026, 4, 15)),
    (date(2025, 7, 1), date(2025, 7, 2)),
]
LATEST = datetime(2026, 4, 14, 17, 45, 0, 123_000, tzinfo=UTC)
TARGETS = dict(zip(PRIORITIES, ((1, 8), (4, 24), (8, 72)), strict=False))
AS_OF = [None, datetime(2026, 3, 31, 12, tzinfo=UTC), datetime(2025, 11, 3, 5, 30, tzinfo=UTC)]

everything = pytest.mark.parametrize(
    ("tenant", "span", "as_of"),
    [(tenant, span, as_of) for tenant in TENANTS for span in SPANS for as_of in AS_OF],
    ids=lambda value: str(getattr(value, "id", value)),
)


@pytest.fixture(scope="module")
def history(module_warehouse, module_lake):
    """{(tenant_id, table): [(row, effective, expiry)]} from the files, which are loaded as well."""
    rows = defaultdict(list)
    for file in generate(until=UNTIL, scale=0.03):
        module_lake.put(file.key, file.body)
        tenant_id, _, table = file.key.split("/")[:3]
        rows[tenant_id, table] += read_rows(file)
    for number, tenant in enumerate(TENANTS):
        for table in TABLES:
            run_load(LoadRequest(tenant, TABLES[table], 5000 + number, kind=Kind.BULK))
    return {
        (tenant_id, table): _versions(found, TABLES[table].key)
        for (tenant_id, table), found in rows.items()
    }


def _versions(rows, key):
    by_key = defaultdict(dict)
    for row in rows:
        by_key[row[key]][row["updated_at"]] = row
    versions = []
    for found in by_key.values():
        times = sorted(found)
        for start, end in zip(times, [*times[1:], FOREVER], strict=True):
            versions.append((found[start], start, end))
    return versions


def _cents(numerator, denominator):
    if not denominator:
        return None
    return (Decimal(numerator) / denominator).quantize(Decimal("0.01"), ROUND_HALF_UP)


def _clipped(period, as_of):
    return period.up_to(as_of) if as_of else period


@everything
def test_company_analytics(history, tenant, span, as_of):
    period = _clipped(Period(*span, tenant.zone), as_of)
    last = {}
    for row, effective, expiry in history[tenant.id, "companies"]:
        known = as_of is None or effective <= as_of
        # A version closed after as_of was still open then.
        open_then = as_of is not None and expiry > as_of
        if known and effective < period.ends_at and (expiry > period.starts_at or open_then):
            key = row["company_id"]
            if key not in last or effective > last[key][0]:
                last[key] = (effective, row)
    found = [row for _, row in last.values()]
    employees = [r["number_of_employees"] for r in found if r["number_of_employees"] is not None]
    assert summaries.company_analytics(tenant, Period(*span, tenant.zone), as_of) == {
        "total_companies": len(found),
        "active_companies": sum(row["is_active"] is True for row in found),
        "avg_employees": _cents(sum(employees), len(employees)),
        "total_revenue": sum((row["annual_revenue"] or Decimal(0) for row in found), Decimal(0)),
    }


@everything
def test_ticket_trends(history, tenant, span, as_of):
    period = _clipped(Period(*span, tenant.zone), as_of)
    at = as_of or FOREVER - timedelta(days=1)
    valid = [row for row, start, end in history[tenant.id, "tickets"] if start <= at < end]
    opened, hours = defaultdict(int), defaultdict(list)
    for row in valid:
        opened[row["created_date"].astimezone(tenant.zone).date()] += 1
        if row["closed_date"] is not None:
            hours[row["closed_date"].astimezone(tenant.zone).date()].append(row["actual_hours"])
    expected = []
    for offset in range(period.days):
        day = period.start + timedelta(days=offset)
        known = [value for value in hours[day] if value is not None]
        expected.append((day, opened[day], len(hours[day]), _cents(sum(known), len(known))))
    rows = summaries.ticket_trends(tenant, Period(*span, tenant.zone), as_of)
    assert [tuple(row.values()) for row in rows] == expected


@pytest.fixture
def with_targets(tenant):
    """Targets for three of the four priorities, without a database."""
    tenant.__dict__["sla_targets_by_priority"] = {
        name: SlaTarget(priority=name, response_hours=response, resolution_hours=resolution)
        for name, (response, resolution) in TARGETS.items()
    }


# The largest tenant takes as long as the others together.
MOMENTS = [
    (tenant, as_of)
    for tenant in TENANTS
    for as_of in [*AS_OF, LATEST]
    if THOROUGH or tenant is not TENANTS[0] or as_of is LATEST
]


moments = pytest.mark.parametrize(
    ("tenant", "as_of"), MOMENTS, ids=lambda each: str(getattr(each, "id", each))
)


def _span(as_of):
    return SPANS[0] if as_of in (None, LATEST) else (date(2025, 9, 1), date(2025, 12, 10))


def _model(history, tenant, as_of):
    versions = {table: history[tenant.id, table] for table in TABLES}
    return Model(versions, tenant.zone, as_of or FOREVER - timedelta(days=1), TARGETS)


def _results(tenant, queries, as_of, filters=None):
    found = dict(run_metrics(tenant, queries, Period(*_span(as_of), tenant.zone), as_of, filters))
    errors = [each for each in found.values() if isinstance(each, Exception)]
    assert not errors
    return found


@pytest.mark.usefixtures("with_targets")
@moments
def test_every_metric_by_every_dimension(history, tenant, as_of):
    """The figure, the one before, every bucket, and every part by one dimension, exactly."""
    model = _model(history, tenant, as_of)
    queries = [
        MetricQuery.named(name, (dimension,))
        for name, metric in METRICS.items()
        for dimension in metric.dimensions
    ]
    for query, result in _results(tenant, queries, as_of).items():
        _assert_right(model, query, result)


@pytest.mark.usefixtures("with_targets")
@moments
def test_filters_and_two_dimensions(history, tenant, as_of):
    """Random pairs of dimensions under random filters, with several values and exclusion."""
    model = _model(history, tenant, as_of)
    period = _clipped(Period(*_span(as_of), tenant.zone), as_of)
    dice = random.Random(f"{tenant.id} {as_of}")
    for name, metric in METRICS.items():
        by = tuple(dice.sample(metric.dimensions, min(2, len(metric.dimensions))))
        filters = []
        for dimension in dice.sample(metric.dimensions, min(2, len(metric.dimensions))):
            seen = parts(model, name, period.starts_at, period.ends_at, (dimension,))
            values = sorted(value for (value,) in seen) or ["nothing"]
            chosen = dice.sample(values, min(dice.randint(1, 3), len(values)))
            filters.append((dimension, chosen, dice.random() < 0.4))
        written = {
            f"{dimension}{'!' if is_excluding else ''}": [write_value(value) for value in values]
            for dimension, values, is_excluding in filters
        }
        query = MetricQuery.named(name, by)
        (result,) = _results(tenant, [query], as_of, written).values()
        _assert_right(model, query, result, filters)


def _assert_right(model, query, result, filters=()):
    name, period = query.metric.name, result.period
    spans = [(each.starts_at, each.ends_at) for each in (period, period.previous)]
    assert result.figure == figure(model, name, *spans[0], filters), query
    assert result.previous == figure(model, name, *spans[1], filters), query
    for bucket, found in result.series:
        expected = figure(model, name, bucket.starts_at, bucket.ends_at, filters)
        assert found == expected, (query, bucket)
    now, before = (parts(model, name, *span, query.by, filters) for span in spans)
    ordered = {(value,) for value, _ in result.by[0].labels} if len(query.by) == 1 else set()
    zero = 0 if query.metric.aggregate.is_additive else None
    expected = {
        values: (now.get(values, zero), before.get(values, zero))
        for values in {*now, *before, *ordered}
    }
    found = {part.values: (part.figure, part.previous) for part in result.parts}
    if result.is_cut:
        assert len(found) == MAX_PARTS < len(expected)
        expected = {values: expected[values] for values in found}
    assert found == expected, query


@pytest.mark.usefixtures("with_targets")
@moments
def test_queries(history, tenant, as_of):
    """Random pairs of metrics in rows, some over time, with the rows beyond the limit as one."""
    model = _model(history, tenant, as_of)
    dice = random.Random(f"query {tenant.id} {as_of}")
    for name in METRICS if THOROUGH else dice.sample(list(METRICS), 12):
        metric = METRICS[name]
        others = [n for n in METRICS if set(METRICS[n].dimensions) & set(metric.dimensions)]
        names = (name, dice.choice([n for n in others if n != name]))
        shared = [each for each in metric.dimensions if each in METRICS[names[1]].dimensions]
        over_time = dice.random() < 0.5
        by = tuple(dice.sample(shared, 1 if over_time or len(shared) == 1 else dice.choice([1, 2])))
        period = Period(*_span(as_of), tenant.zone, dice.choice(list(Comparison)))
        query = Query.of(names, by, period, {}, limit=dice.randint(1, 4), over_time=over_time)
        _assert_rows_are_right(model, query, run_query(tenant, query, as_of))


def _assert_rows_are_right(model, query, result):
    period = result.results[0].period
    shown = [row.values for row in result.rows]
    spans = [(each.starts_at, each.ends_at) for each in (period, period.previous)]
    for place, metric in enumerate(query.metrics):
        name, zero = metric.name, 0 if metric.aggregate.is_additive else None
        now, before = (parts(model, name, *span, query.by) for span in spans)
        for row in result.rows:
            assert row.figures[place] == now.get(row.values, zero), query
            assert row.previous[place] == before.get(row.values, zero), query
        for number, bucket in enumerate(result.buckets):
            days = bucket.starts_at, bucket.ends_at
            then = parts(model, name, *days, query.by)
            for row in result.rows:
                assert row.series[place][number] == then.get(row.values, zero), (query, bucket)
            rest = figure_of_others(model, name, *days, query.by, shown)
            found = result.other.series[place][number] if result.other else zero
            assert found == rest, (query, bucket)
        if result.other and not (len(query.by) == 2 and metric.aggregate.is_duration):
            rest = [figure_of_others(model, name, *span, query.by, shown) for span in spans]
            assert [result.other.figures[place], result.other.previous[place]] == rest, query
    _assert_the_largest_are_shown(model, query, result, spans[0])


def _assert_the_largest_are_shown(model, query, result, span):
    now = [parts(model, metric.name, *span, query.by) for metric in query.metrics]
    if not query.is_ordered:
        values = {each for found in now for each in found}
        assert len(result.rows) + result.others == len(values), query
    figures = [row.figures[0] for row in result.rows if row.figures[0] is not None]
    if query.order != "label":
        assert figures == sorted(figures, reverse=True), query
        shown = {row.values for row in result.rows}
        rest = [found for v, found in now[0].items() if found is not None and v not in shown]
        assert not rest or max(rest) <= figures[-1], query


@moments
def test_parts_have_the_names_of_companies(history, tenant, as_of):
    model = _model(history, tenant, as_of)
    query = MetricQuery.named("tickets_by_company")
    names = model.names()
    (result,) = _results(tenant, [query], as_of).values()
    assert result.parts
    for part in result.parts:
        assert part.labels == (names[part.values[0]],)
