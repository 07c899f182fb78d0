"""Why a figure differs between two moments: random histories with late files, all metrics."""

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import count, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from analytics.metrics import METRICS, Aggregate, run_metric
from analytics.metrics.differences import Cause, Moment, differences
from analytics.metrics.dimensions import write_value
from analytics.periods import Period, known_as_of
from analytics.tests.metric_model import Model, aggregate_of, facts_of
from analytics.tests.versions import FOREVER, at, company, ticket, version
from analytics.warehouse.catalog import TABLES
from loaders.tests.thoroughness import THOROUGH
from tenants.models import SlaTarget, Tenant

START = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TARGETS = {"High": (20, 90), "Low": (60, 200)}
WORDS = ("A", "B", "", None)
# Loads finish at these hours; the third is a full refresh that finds some records gone.
LOADS = {1: 200, 2: 300, 3: 420, 4: 480}
REFRESH, ENDS_AT = 3, START + timedelta(hours=390.5)
tenant_numbers = count(1)


def hours(dice, first, last):
    return START + dice.randint(first, last) * HOUR


def maybe(dice, value):
    return value if dice.random() < 0.7 else None


def a_ticket(dice):
    texts = ("board_name", "type_name", "subtype_name", "item_name", "team_name", "owner_name",
             "owner_id", "status", "severity", "impact", "urgency", "contact_name", "company_id",
             "company_name")  # fmt: skip
    return {name: dice.choice(WORDS) for name in texts} | {
        "priority": dice.choice(["High", "Low", "Other"]),
        "created_date": hours(dice, 40, 200),
        "first_response_date": maybe(dice, hours(dice, 200, 300)),
        "closed_date": maybe(dice, hours(dice, 205, 207)),
        "actual_hours": maybe(dice, Decimal(dice.randint(0, 300)) / 100),
        "budget_hours": maybe(dice, Decimal(dice.randint(0, 3))),
    }


def a_time_entry(dice):
    texts = ("company_id", "company_name", "work_type_name", "work_role_name", "agreement_name",
             "charge_to_type")  # fmt: skip
    return {name: dice.choice(WORDS) for name in texts} | {
        "member_id": dice.choice(["1", "2"]),
        "member_name": dice.choice(["Ann", "Bea"]),
        "time_start": hours(dice, 100, 260),
        "time_end": hours(dice, 260, 280),
        "date_entered": hours(dice, 280, 320),
        "actual_hours": Decimal(dice.randint(0, 300)) / 100,
        "billable_option": dice.choice(["Billable", "DoNotBill"]),
    }


def a_company(dice):
    texts = ("name", "company_type", "industry", "size_category", "status", "territory_name",
             "country")  # fmt: skip
    return {name: dice.choice(WORDS) for name in texts} | {
        "is_active": dice.random() < 0.6,
        "created_at": hours(dice, 40, 350),
        "annual_revenue": Decimal(dice.randint(0, 500)),
        "number_of_employees": dice.randint(0, 9),
    }


def a_contact(dice):
    texts = ("company_id", "company_name", "department", "country")
    return {name: dice.choice(WORDS) for name in texts} | {"is_active": dice.random() < 0.6}


ROWS = {
    "tickets": a_ticket,
    "time_entries": a_time_entry,
    "companies": a_company,
    "contacts": a_contact,
}


class History:
    """Versions that loads brought, many of them late: (effective date, load, row) by record."""

    def __init__(self, dice, records):
        self.versions = defaultdict(dict)
        self.gone = set()
        for name, make in ROWS.items():
            for number in range(records):
                key = (name, f"{name}-{number}")
                row = make(dice)
                for _ in range(dice.randint(1, 4)):
                    changed = make(dice)
                    fields = dice.sample(sorted(row), dice.randint(0, 3))
                    row = row | {field: changed[field] for field in fields}
                    effective = START + dice.randint(0, 60) * 8 * HOUR
                    load = dice.choice(list(LOADS))
                    self.versions[key][effective, load] = row | {TABLES[name].key: key[1]}
                if dice.random() < 0.4:
                    self.gone.add(key)

    def seen(self, loads=tuple(LOADS)):
        """{table: [(row, valid from, valid until, load)]} after these loads, by the rules."""
        found = {name: [] for name in ROWS}
        for key, versions in self.versions.items():
            known = sorted(each for each in versions if each[1] in loads)
            ends = [ENDS_AT] if key in self.gone and REFRESH in loads else []
            for place, (start, load) in enumerate(known):
                following = known[place + 1][0] if place + 1 < len(known) else FOREVER
                until = min([following, *(end for end in ends if end > start)])
                found[key[0]].append((versions[start, load], start, until, load))
        return found

    def put(self, tenant, put_rows, warehouse):
        for name, versions in self.seen().items():
            put_rows(tenant, name, [
                row | {
                    "effective_date": start,
                    "expiry_date": until,
                    "is_current": until == FOREVER,
                    "record_hash": f"{number}",
                    "load_id": load,
                    # Loads write their rows some time before these become visible.
                    "loaded_at": finished(load) - HOUR,
                    "source_time": finished(load) - 2 * HOUR,
                    "source_file": f"lake/{tenant.id}/canonical/{name}/{load}.csv",
                }
                for number, (row, start, until, load) in enumerate(versions)
            ])  # fmt: skip
            for load in LOADS:
                log(warehouse, tenant, name, load, "refresh" if load == REFRESH else "incremental")


def finished(load):
    return START + LOADS[load] * HOUR


def log(warehouse, tenant, table, load, kind, finished_at=None):
    row = {
        "tenant_id": tenant.id,
        "table_name": table,
        "load_id": load,
        "kind": kind,
        "finished_at": finished_at or finished(load),
        "newest_file_time": ENDS_AT if kind == "refresh" else START,
    }
    warehouse.insert("load_log", list(row), [[value] for value in row.values()])


def model_at(history, tenant, reading):
    """The model as of a moment, and the versions that it knows, by record."""
    moment = reading.moment
    loads = [n for n in LOADS if moment.loaded_by is None or finished(n) <= moment.loaded_by]
    as_of = moment.as_of or max(known_as_of(tenant.zone, None), reading.period.ends_at)
    versions = {
        name: [(row, start, until) for row, start, until, _ in found if start < until]
        for name, found in history.seen(loads).items()
    }
    known = defaultdict(set)
    for name, found in history.seen(loads).items():
        for row, start, until, load in found:
            if start < until and start <= reading.measured_at:
                known[name, row[TABLES[name].key]].add((start, load))
    return Model(versions, tenant.zone, as_of, TARGETS), known


def facts_by_record(metric, model, reading, filters):
    """{(table, key): its facts (value, part, whole)}, by the model."""
    period = reading.period
    found = defaultdict(list)
    for _, row, *numbers in facts_of(model, metric.name, period.starts_at, period.ends_at, filters):
        tables = metric.tables if len(metric.tables) == 1 else ("contacts", "companies")
        table = next(each for each in tables if TABLES[each].key in row and (
            each != "companies" or "contact_id" not in row))  # fmt: skip
        found[table, row[TABLES[table].key]].append(tuple(numbers))
    return {record: sorted(facts) for record, facts in found.items()}


def numbers_of(metric, facts):
    """The numbers of a metric's measures, as differences lists them."""
    match metric.aggregate:
        case Aggregate.COUNT:
            return (len(facts),)
        case Aggregate.SUM:
            return (sum(fact[0] for fact in facts),)
        case Aggregate.DIFFERENCE:
            return (sum(fact[0] > 0 for fact in facts), sum(fact[0] < 0 for fact in facts))
        case Aggregate.MEDIAN | Aggregate.P90:
            return (tuple(fact[0] for fact in facts),)
    return (sum(fact[1] for fact in facts), sum(fact[2] for fact in facts))


def exact(metric, numbers):
    """The figure before it is rounded; None if it has none."""
    if metric.aggregate is Aggregate.DIFFERENCE:
        return Fraction(numbers[0]) - Fraction(numbers[1])
    if not metric.aggregate.is_quotient:
        return Fraction(numbers[0])
    factor = 100 if metric.aggregate is Aggregate.SHARE else 1
    return factor * Fraction(numbers[0]) / Fraction(numbers[1]) if numbers[1] else None


@pytest.fixture
def history_tenant(db, warehouse, put_rows):
    def make(history, zone):
        name = f"why-{next(tenant_numbers)}"
        tenant = Tenant.objects.create(id=name, name=name, time_zone=zone)
        for priority, (response, resolution) in TARGETS.items():
            SlaTarget.objects.create(
                tenant=tenant,
                priority=priority,
                response_hours=response,
                resolution_hours=resolution,
            )
        history.put(tenant, put_rows, warehouse)
        return tenant

    return make


def a_moment(dice, knows_loads):
    as_of = START + timedelta(hours=dice.randint(150, 500), milliseconds=dice.randint(0, 5))
    loaded_by = START + dice.choice([250, 299, 300, 301, 419, 420, 421, 450, 479]) * HOUR
    return Moment(
        as_of if dice.random() < 0.7 else None,
        loaded_by if knows_loads and dice.random() < 0.8 else None,
    )


# --- By hand

JUNE = Period(date(2026, 6, 1), date(2026, 7, 1), ZoneInfo("America/New_York"))
OPENED = {"created_date": "2026-06-02T12:00:00"}


def moment(text):
    return at(f"2026-06-{text}")


def loaded(row, load, hour="2026-06-01T00:00:00", file="a.csv"):
    return row | {"load_id": load, "loaded_at": at(hour), "source_file": file}


def test_a_reopened_ticket_leaves_the_closed_ones(acme, put_rows):
    closed = OPENED | {"closed_date": "2026-06-03T12:00:00"}
    put_rows(
        acme,
        "tickets",
        [
            loaded(ticket("1", "2026-06-03T12:00:00", "2026-06-09", owner_name="Ann", **closed), 1),
            loaded(ticket("1", "2026-06-09", owner_name="Bea", **OPENED), 7, "2026-06-09"),
            loaded(ticket("2", "2026-06-03T12:00:00", **closed), 1),
        ],
    )
    found = differences(acme, "tickets_closed", JUNE, Moment(moment("08")))
    assert (found.before.figure, found.after.figure, found.change) == (2, 1, -1)
    (record,) = found.records
    assert (record.key, record.cause, record.contribution) == ("1", Cause.LEFT, -1)
    (new,) = record.versions
    assert (new.effective_date, new.load_id, new.is_first) == (moment("09"), 7, False)
    fields = {field.name: (field.before, field.after, field.counts) for field in new.fields}
    assert fields["closed_date"] == (at("2026-06-03T12:00:00"), None, True)
    assert fields["owner_name"] == ("Ann", "Bea", False)


def test_a_late_file_changes_the_figure_of_the_past(acme, put_rows, warehouse):
    """A mail of the 10th; on the 12th, a file brings how the ticket was closed on the 5th."""
    SlaTarget.objects.create(tenant=acme, priority="P1", response_hours=1, resolution_hours=1)
    closed = OPENED | {"closed_date": "2026-06-05T12:00:00"}
    late = ticket("1", "2026-06-05T12:00:00", "2026-06-06", priority="P1", **closed)
    put_rows(
        acme,
        "tickets",
        [
            loaded(ticket("1", "2026-06-02", "2026-06-05T12:00:00", priority="P1", **OPENED), 1),
            loaded(late, 2, "2026-06-12", f"lake/{acme.id}/canonical/tickets/late.csv"),
            loaded(ticket("1", "2026-06-06", priority="P2", **closed), 1),
        ],
    )
    mail = Moment(moment("10"), moment("10"))
    found = differences(acme, "sla_met", JUNE, mail, Moment(moment("10")))
    assert found.before.figure is None, "P2 has no targets"
    assert found.after.figure == 0
    (record,) = found.records
    assert (record.before, record.after, record.cause) == ((0, 0), (0, 1), Cause.ENTERED)
    (new,) = record.versions
    assert (new.load_id, new.file) == (2, "tickets/late.csv")
    assert [field.name for field in new.fields if field.counts] == ["closed_date"]


def test_a_load_counts_from_when_it_has_finished(acme, put_rows, warehouse):
    put_rows(acme, "tickets", [loaded(ticket("1", **OPENED), 5, "2026-06-03T10:00:00")])
    log(warehouse, acme, "tickets", 5, "incremental", at("2026-06-03T10:30:00"))
    for minute, expected in ((29, 0), (30, 1)):
        earlier = Moment(moment("10"), at(f"2026-06-03T10:{minute}:00"))
        assert differences(acme, "backlog", JUNE, earlier).before.figure == expected


def test_records_that_a_refresh_found_gone(acme, put_rows, warehouse):
    gone = company("1", "2026-01-01", f"{ENDS_AT:%Y-%m-%dT%H:%M}", is_active=True, name="Ann's")
    put_rows(acme, "companies", [gone | {"is_current": False}, company("2", is_active=True)])
    log(warehouse, acme, "companies", 9, "refresh", at("2026-06-18"))
    before_it = Moment(moment("20"), moment("17"))
    found = differences(acme, "companies_active", JUNE, before_it, Moment(moment("20")))
    assert (found.before.figure, found.after.figure) == (2, 1)
    (record,) = found.records
    assert (record.key, record.title, record.versions) == ("1", "Ann's", ())
    assert (record.removal.ended_at, record.removal.load_id) == (ENDS_AT, 9)


def test_a_record_had_ended_before_a_late_version_came(acme, put_rows, warehouse):
    """A refresh found it gone; after that, a late file brings a version before its end."""
    ends_at = f"{ENDS_AT:%Y-%m-%dT%H:%M}"
    first = company("1", "2026-01-01", "2026-06-10", is_active=True, annual_revenue=Decimal(5))
    late = company("1", "2026-06-10", ends_at, is_active=True, annual_revenue=Decimal(7))
    rows = [loaded(first, 1), loaded(late, 2, "2026-06-19")]
    put_rows(acme, "companies", [row | {"is_current": False} for row in rows])
    log(warehouse, acme, "companies", 9, "refresh", at("2026-06-18"))
    for day, expected in (("12", 5), ("25", 0)):
        earlier = Moment(moment(day), at("2026-06-18T12:00:00"))
        found = differences(acme, "revenue_by_segment", JUNE, earlier, Moment(moment(day)))
        assert found.before.figure == expected
    assert found.after.figure == 0


def test_a_later_bulk_load_or_repair_is_named(acme, put_rows, warehouse):
    put_rows(acme, "tickets", [loaded(ticket("1", **OPENED), 6, "2026-06-12")])
    log(warehouse, acme, "tickets", 5, "bulk", at("2026-06-03"))
    log(warehouse, acme, "tickets", 6, "bulk", at("2026-06-12"))
    log(warehouse, acme, "tickets", 7, "repair", at("2026-06-13"))
    log(warehouse, acme, "tickets", 8, "incremental", at("2026-06-14"))
    log(warehouse, acme, "companies", 9, "bulk", at("2026-06-14"))
    found = differences(acme, "backlog", JUNE, Moment(moment("10"), moment("10")))
    assert [(each.load_id, each.kind) for each in found.rebuilds] == [(6, "bulk"), (7, "repair")]
    assert differences(acme, "backlog", JUNE, Moment(moment("10"))).rebuilds == ()


def test_time_alone_can_bring_a_record_in(acme, put_rows):
    """Work planned for the 20th was known on the 10th, but that day had not come."""
    entry = version("2026-06-01", entry_id="1", actual_hours=Decimal(2))
    put_rows(acme, "time_entries", [entry | {"time_start": at("2026-06-20T12:00:00")}])
    found = differences(acme, "hours_worked", JUNE, Moment(moment("10")))
    assert (found.before.figure, found.after.figure) == (0, 2)
    (record,) = found.records
    assert (record.cause, record.versions, record.removal) == (Cause.ENTERED, (), None)


def test_the_day_of_a_technician_counts_once(acme, put_rows):
    def entry(number, since):
        instants = {"time_start": at("2026-06-02T12:00:00")}
        return version(since, entry_id=number, member_id="1", **instants)

    put_rows(acme, "time_entries", [entry("1", "2026-06-09"), entry("2", "2026-06-03")])
    found = differences(acme, "utilization", JUNE, Moment(moment("08")))
    assert found.before.numbers == found.after.numbers == (0, 8)
    assert found.records == (), "the entry that had the day keeps it"


def test_the_largest_contributions_come_first_and_totals_count_all(acme, put_rows):
    entries = [
        version("2026-06-09", entry_id=f"{n}", actual_hours=Decimal(n))
        | {"time_start": at("2026-06-02T12:00:00")}
        for n in range(1, 6)
    ]
    put_rows(acme, "time_entries", entries)
    found = differences(acme, "hours_worked", JUNE, Moment(moment("08")), limit=2)
    assert [record.key for record in found.records] == ["5", "4"]
    assert (found.affected, found.is_cut) == (5, True)
    assert found.totals[0].after == (15,)


# --- Random histories


@given(seed=st.integers(0, 10**9), records=st.integers(1, 12), of_loads=st.booleans())
@settings(
    max_examples=60 if THOROUGH else 2,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # a smaller seed is no simpler history
    suppress_health_check=list(HealthCheck),
)
@pytest.mark.slow
@pytest.mark.parametrize("fifth", range(5))
def test_the_records_account_for_the_whole_difference(
    history_tenant, fifth, seed, records, of_loads
):
    dice = random.Random(seed)
    history = History(dice, records)
    tenant = history_tenant(history, dice.choice(["UTC", "America/New_York"]))
    first = date(2026, 6, dice.randint(2, 8))
    period = Period(first, first + timedelta(days=dice.randint(1, 14)), tenant.zone)
    before, after = a_moment(dice, of_loads), a_moment(dice, of_loads)
    if of_loads and dice.random() < 0.5:
        after = Moment(before.as_of, None)  # as for a report: the same instant, all loads
    for metric in list(METRICS.values())[fifth::5]:
        filters = {}
        if dice.random() < 0.4:
            dimension = dice.choice(metric.dimensions)
            values = {"priority": ["High"], "weekday": ["1", "2", "3"], "hour": ["0", "8"],
                      "age": ["1 to 7 days"]}.get(dimension, ["A", ""])  # fmt: skip
            filters = {(dimension, dice.random() < 0.3): values}
        check(history, tenant, metric, period, before, after, filters)


def check(history, tenant, metric, period, before, after, filters):
    written = {
        f"{name}{'!' * is_excluding}": [write_value(value) for value in values]
        for (name, is_excluding), values in filters.items()
    }
    found = differences(tenant, metric.name, period, before, after, written, limit=1000)
    of_model = [(name, values, no) for (name, no), values in filters.items()]
    sides = []
    for reading in (found.before, found.after):
        model, known = model_at(history, tenant, reading)
        facts = facts_by_record(metric, model, reading, of_model)
        every = [fact for of_record in facts.values() for fact in of_record]
        assert reading.figure == aggregate_of(metric.name)(every), metric.name
        if reading.moment.loaded_by is None:
            result = run_metric(tenant, metric.name, period, reading.moment.as_of, written)
            assert (reading.figure, reading.period) == (result.figure, result.period)
            assert tuple(each or 0 for each in reading.numbers) == tuple(
                each or 0 for each in result.numbers
            )
        sides.append((facts, known, every))
    check_records(metric, found, sides)
    check_sums(metric, found)
    check_versions(found, sides)
    if metric.aggregate.is_duration:
        check_values(metric, found, sides)


def check_records(metric, found, sides):
    (before, *_), (after, *_) = sides
    listed = {(record.table.name, record.key): record for record in found.records}
    assert len(listed) == len(found.records)
    if metric.name == "utilization":  # which entry stands for a day is no matter of the model
        before, after = (
            {key: kept for key, facts in side.items() if (kept := [f for f in facts if f[1]])}
            for side in (before, after)
        )
        assert listed.keys() >= {key for key in before | after if before.get(key) != after.get(key)}
        return
    assert listed.keys() == {key for key in before | after if before.get(key) != after.get(key)}
    for key, record in listed.items():
        assert record.before == own(metric, record, numbers_of(metric, before.get(key, [])))
        assert record.after == own(metric, record, numbers_of(metric, after.get(key, [])))
        cause = Cause.CHANGED
        if key not in before:
            cause = Cause.ENTERED
        elif key not in after:
            cause = Cause.LEFT
        assert record.cause is cause


def own(metric, record, numbers):
    """Measures of another table have no values here, not even zero."""
    return tuple(
        numbers[place] if measure.source.table is record.table else 0
        for place, measure in enumerate(metric.measures)
    )


def check_sums(metric, found):
    for total in found.totals:
        records = [record for record in found.records if record.cause is total.cause]
        assert total.records == len(records)
        for place in range(len(metric.measures)):
            for side in ("before", "after"):
                numbers = [getattr(record, side)[place] for record in records]
                amount = sum(map(len, numbers)) if metric.aggregate.is_duration else sum(numbers)
                assert getattr(total, side)[place] == amount
    if metric.aggregate.is_duration:
        assert all(record.contribution is None for record in found.records)
        return
    for place in range(len(metric.measures)):
        moved = sum(record.after[place] - record.before[place] for record in found.records)
        assert found.after.numbers[place] - found.before.numbers[place] == moved
    figures = [exact(metric, reading.numbers) for reading in (found.before, found.after)]
    if None not in figures:
        assert sum(record.contribution for record in found.records) == figures[1] - figures[0]
        assert sum(total.contribution for total in found.totals) == figures[1] - figures[0]
        sizes = [abs(record.contribution) for record in found.records]
        assert all(a >= b - Fraction(1, 10**9) for a, b in pairwise(sizes))


def check_values(metric, found, sides):
    """The values of the listed records and those of all others make both figures."""
    listed = {(record.table.name, record.key) for record in found.records}
    for side, (facts, *_), reading in zip(
        ("before", "after"), sides, (found.before, found.after), strict=True
    ):
        values = [f[0] for key, of_record in facts.items() if key not in listed for f in of_record]
        for record in found.records:
            values += getattr(record, side)[0]
        assert aggregate_of(metric.name)([(value,) for value in values]) == reading.figure


def check_versions(found, sides):
    """Every version named is new to the earlier moment; without one, nothing was."""
    (_, before, _), (_, after, _) = sides
    for record in found.records:
        key = (record.table.name, record.key)
        named = {(each.effective_date, each.load_id) for each in record.versions}
        assert named <= after[key] - before[key]
        assert all(each.file == f"{key[0]}/{each.load_id}.csv" for each in record.versions)
        if not named:
            assert not after[key] - before[key]
        if record.removal:
            assert (record.removal.ended_at, record.removal.load_id) == (ENDS_AT, REFRESH)
