"""Each metric's definition, on rows counted by hand in the real engine."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from analytics.metrics import DIMENSIONS, METRICS, run_metric
from analytics.periods import Comparison, Period
from analytics.tests.versions import at, company, log_load, ticket, version
from tenants.models import SlaTarget

NEW_YORK = ZoneInfo("America/New_York")
JUNE = Period(date(2026, 6, 1), date(2026, 7, 1), NEW_YORK)


def days(first, count):
    return Period(first, first + timedelta(days=count), NEW_YORK)


def figure(tenant, name, period=JUNE, as_of=None, **filters):
    return run_metric(tenant, name, period, as_of, filters).figure


def parts(tenant, name, period=JUNE, as_of=None, **filters):
    found = run_metric(tenant, name, period, as_of, filters).parts
    return {part.label: part.figure for part in found if part.figure}


@pytest.fixture
def companies(put_rows, acme):
    return lambda *rows: put_rows(acme, "companies", list(rows))


@pytest.fixture
def tickets(put_rows, acme):
    return lambda *rows: put_rows(acme, "tickets", list(rows))


@pytest.fixture
def entries(put_rows, acme):
    def put(*rows):
        for number, row in enumerate(rows):
            instants = {
                name: at(row[name])
                for name in ("time_start", "time_end", "date_entered")
                if row.get(name)
            }
            row |= version("2026-01-01", entry_id=str(number)) | instants
        put_rows(acme, "time_entries", list(rows))

    return put


# --- All metrics


@pytest.mark.parametrize("name", METRICS)
def test_a_tenant_without_rows_has_nothing(warehouse, acme, name):
    result = run_metric(acme, name, JUNE)
    assert result.figure == (0 if result.metric.aggregate.is_additive else None)
    assert result.previous == result.figure
    assert len(result.series) == 30
    assert not result.was_loaded
    ordered = [label for dimension in result.by for label in dimension.labels]
    assert [part.figure for part in result.parts] == [0] * len(ordered)


@pytest.mark.parametrize("name", METRICS)
def test_every_filter_of_a_metric_can_be_applied(warehouse, acme, name):
    filters = dict.fromkeys(DIMENSIONS, "x")
    result = run_metric(acme, name, JUNE, None, filters)
    assert {each.dimension for each in result.filters} == set(result.metric.dimensions)
    ignored = {
        DIMENSIONS[each].title.lower() for each in set(DIMENSIONS) - set(result.metric.dimensions)
    }
    assert set(result.ignored_filters) == ignored


@pytest.mark.parametrize(
    ("first", "instants", "expected"),
    [
        # 8 March 2026 has 23 hours in New York: it ends at 04:00 UTC
        (date(2026, 3, 8), ["2026-03-08T05:00:00", "2026-03-09T03:59:59"], [2, 0]),
        (date(2026, 3, 8), ["2026-03-08T04:59:59", "2026-03-09T04:00:00"], [0, 1]),
        # 1 November 2026 has 25: it ends at 05:00 UTC
        (date(2026, 11, 1), ["2026-11-01T04:00:00", "2026-11-02T04:59:59"], [2, 0]),
        (date(2026, 11, 1), ["2026-11-01T03:59:59", "2026-11-02T05:00:00"], [0, 1]),
    ],
)
def test_days_are_local_when_the_clocks_change(tickets, acme, first, instants, expected):
    tickets(*(ticket(text, created_date=text) for text in instants))
    result = run_metric(acme, "tickets_opened", days(first, 2))
    assert [found for _, found in result.series] == expected


def test_long_periods_have_weekly_buckets_and_a_previous_period_of_the_same_length(tickets, acme):
    tickets(
        ticket("1", created_date="2026-04-30T03:59:59"),  # before the previous period
        ticket("2", created_date="2026-04-30T04:00:00"),
        ticket("3", created_date="2026-06-01T03:59:59"),
        ticket("4", created_date="2026-06-08T04:00:00"),  # a Monday
        ticket("5", created_date="2026-07-02T12:00:00"),
    )
    result = run_metric(acme, "tickets_opened", days(date(2026, 6, 1), 32))
    assert (result.figure, result.previous) == (2, 2)
    assert [(bucket.start.day, found) for bucket, found in result.series] == [
        (1, 0), (8, 1), (15, 0), (22, 0), (29, 1),
    ]  # fmt: skip
    assert result.change == 0


def test_filters_narrow_and_labels_without_a_name_stay(tickets, acme):
    tickets(
        ticket("1", created_date="2026-06-02", type_name="A", board_name="x", company_id="1"),
        ticket("2", created_date="2026-06-02", type_name="A", board_name="y", company_id="1"),
        ticket("3", created_date="2026-06-02", board_name="x", company_id="2"),
    )
    assert parts(acme, "tickets_by_category") == {"A": 2, "": 1}
    assert parts(acme, "tickets_by_category", board="x") == {"A": 1, "": 1}
    assert figure(acme, "tickets_by_category", board="x", company="1") == 1
    assert figure(acme, "tickets_by_category", board="' OR 1 = 1 --") == 0


def test_the_smallest_labels_beyond_the_limit_are_cut(warehouse, acme):
    warehouse.run(
        "INSERT INTO shared_tickets (tenant_id, ticket_id, created_date, effective_date, "
        "is_current, type_name) SELECT {t:String}, toString(number), "
        "toDateTime64('2026-06-10', 3, 'UTC'), toDateTime64('2026-01-01', 3, 'UTC'), true, "
        "toString(if(number < 10, 0, number)) FROM numbers(600)",
        {"t": acme.id},
    )
    result = run_metric(acme, "tickets_by_category", JUNE)
    assert result.is_cut
    assert len(result.parts) == 500
    assert (result.parts[0].label, result.parts[0].figure) == ("0", 10)
    assert result.figure == 600


# --- What was valid then


def test_the_backlog_follows_the_version_of_the_moment(tickets, acme):
    """Opened on the 2nd, raised on the 4th, closed on the 6th, reopened on the 8th."""
    opened = {"created_date": "2026-06-02T12:00:00"}
    closed = opened | {"closed_date": "2026-06-06T12:00:00"}
    tickets(
        ticket("1", "2026-06-02T12:00:00", "2026-06-04T12:00:00", priority="Low", **opened),
        ticket("1", "2026-06-04T12:00:00", "2026-06-06T12:00:01", priority="High", **opened),
        ticket("1", "2026-06-06T12:00:01", "2026-06-08T12:00:00", priority="High", **closed),
        ticket("1", "2026-06-08T12:00:00", priority="High", **opened),
    )
    result = run_metric(acme, "backlog", days(date(2026, 6, 1), 9))
    assert [found for _, found in result.series] == [0, 1, 1, 1, 1, 0, 0, 1, 1]
    assert parts(acme, "backlog_by_priority", days(date(2026, 6, 1), 3)) == {"Low": 1}
    assert parts(acme, "backlog_by_priority", days(date(2026, 6, 1), 5)) == {"High": 1}
    assert figure(acme, "reopened") == 1
    assert figure(acme, "reopened", as_of=at("2026-06-07T00:00:00")) == 0


def test_a_state_is_measured_at_the_as_of_moment_if_that_comes_first(tickets, acme):
    tickets(
        ticket("1", "2026-06-02T12:00:00", created_date="2026-06-02T12:00:00"),
        ticket("2", "2026-06-02T15:00:00", created_date="2026-06-02T15:00:00"),
    )
    period = days(date(2026, 6, 1), 9)
    assert figure(acme, "backlog", period, at("2026-06-02T13:00:00")) == 1
    assert figure(acme, "backlog", period, at("2026-06-02T15:00:00")) == 2


def test_closed_tickets_count_as_they_were_when_closed(tickets, acme):
    closed = {"created_date": "2026-06-01T12:00:00", "closed_date": "2026-06-03T12:00:00"}
    tickets(
        ticket("1", "2026-06-01T12:00:00", "2026-06-03T12:00:05", owner_name="Ann"),
        ticket("1", "2026-06-03T12:00:05", "2026-06-09T12:00:00", owner_name="Bea", **closed),
        ticket("1", "2026-06-09T12:00:00", owner_name="Cleo", **closed),
        ticket("2", "2026-06-03T12:00:05", "2026-06-04", owner_name=None, **closed),
        ticket("2", "2026-06-04", owner_name="Cleo", **closed),
        ticket("3", "2026-06-03T12:00:05", "2026-06-04", owner_name="Dan", **closed),
        ticket("3", "2026-06-04", owner_name="Dan", created_date="2026-06-01T12:00:00"),
    )
    assert parts(acme, "leader_board") == {"Bea": 1, "": 1}
    assert parts(acme, "leader_board", as_of=at("2026-06-03T13:00:00")) == {
        "Bea": 1, "": 1, "Dan": 1,
    }  # fmt: skip
    assert figure(acme, "tickets_closed", technician="Bea") == 1


def test_open_tickets_are_grouped_by_age_in_order(tickets, acme):
    end = at("2026-07-01T04:00:00") - timedelta(milliseconds=1)
    ages = [timedelta(hours=23), timedelta(days=1), timedelta(days=29), timedelta(days=90)]
    tickets(
        *(
            ticket(str(number), "2026-01-01", created_date=f"{end - age:%Y-%m-%dT%H:%M:%S.%f}")
            for number, age in enumerate(ages)
        ),
        ticket("unknown", "2026-01-01"),
    )
    result = run_metric(acme, "backlog_by_age", JUNE)
    assert [(part.label, part.figure) for part in result.parts] == [
        ("Under 1 day", 1),
        ("1 to 7 days", 1),
        ("7 to 30 days", 1),
        ("30 to 90 days", 0),
        ("90 days and more", 1),
        ("", 1),
    ]


# --- Ratios and times


def test_close_rate_and_net_tickets_compare_closings_with_openings(tickets, acme):
    tickets(
        ticket("1", created_date="2026-05-01", closed_date="2026-06-02"),
        ticket("2", created_date="2026-06-01T12:00:00", closed_date="2026-06-02"),
        ticket("3", created_date="2026-06-01T12:00:00"),
        ticket("4", created_date="2026-06-01T12:00:00"),
    )
    assert figure(acme, "close_rate") == Decimal("66.7")
    assert figure(acme, "tickets_net") == 1


def test_medians_and_percentiles_are_times_that_occurred(tickets, acme):
    tickets(
        *(
            ticket(
                str(hours),
                created_date="2026-06-01T12:00:00",
                closed_date=f"{at('2026-06-01T12:00:00') + timedelta(hours=hours):%Y-%m-%dT%H:%M}",
            )
            for hours in range(1, 11)
        )
    )
    assert figure(acme, "resolution_median") == 5
    assert figure(acme, "resolution_p90") == 9


def test_same_day_is_the_tenants_day(tickets, acme):
    tickets(
        ticket("1", created_date="2026-06-02T03:00:00", closed_date="2026-06-02T03:59:59"),
        ticket("2", created_date="2026-06-02T03:00:00", closed_date="2026-06-02T04:00:00"),
    )
    assert figure(acme, "same_day_rate") == Decimal("50.0")


def test_sla_targets_decide_by_priority(tickets, acme):
    SlaTarget.objects.create(tenant=acme, priority="P1", response_hours=1, resolution_hours=4)
    opened = "2026-06-01T12:00:00"

    def closed(number, priority, response, resolution):
        times = {"created_date": opened, "closed_date": resolution, "priority": priority}
        return ticket(number, first_response_date=response and at(response), **times)

    tickets(
        closed("met", "P1", "2026-06-01T13:00:00", "2026-06-01T16:00:00"),
        closed("late answer", "P1", "2026-06-01T13:00:00.001", "2026-06-01T16:00:00"),
        closed("late end", "P1", "2026-06-01T13:00:00", "2026-06-01T16:00:00.001"),
        closed("answered by its closing", "P1", None, "2026-06-01T13:00:00"),
        closed("no target", "P2", None, "2026-06-09T13:00:00"),
    )
    assert figure(acme, "sla_met") == Decimal("50.0")
    SlaTarget.objects.all().delete()
    del acme.sla_targets_by_priority
    assert figure(acme, "sla_met") is None


# --- Time


def test_utilization_counts_the_days_on_which_a_technician_worked(entries, acme):
    entries(
        {"time_start": "2026-06-01T14:00:00", "member_id": "1", "member_name": "Ann",
         "actual_hours": Decimal(3), "billable_option": "Billable"},
        {"time_start": "2026-06-01T18:00:00", "member_id": "1", "member_name": "Ann",
         "actual_hours": Decimal(1), "billable_option": "DoNotBill"},
        {"time_start": "2026-06-02T14:00:00", "member_id": "2", "member_name": "Bea",
         "actual_hours": Decimal(1), "billable_option": "billable"},
    )  # fmt: skip
    assert figure(acme, "utilization") == Decimal("25.0")  # 4 of 16
    assert figure(acme, "utilization", technician="Bea") == Decimal("12.5")
    assert figure(acme, "billable_hours") == 4
    assert parts(acme, "nonbillable_by_work_type") == {"": 1}
    acme.capacity_hours = Decimal("4.00")
    assert figure(acme, "utilization") == Decimal("50.0")


@pytest.mark.parametrize(
    ("start", "is_after"),
    [
        ("2026-06-01T12:00:00", False),  # Monday, 08:00 in New York
        ("2026-06-01T11:59:00", True),
        ("2026-06-01T21:59:00", False),
        ("2026-06-01T22:00:00", True),
        ("2026-06-06T14:00:00", True),  # Saturday
        ("2026-06-08T03:00:00", True),  # still Sunday there
    ],
)
def test_work_outside_business_hours(entries, acme, start, is_after):
    entries({"time_start": start, "actual_hours": Decimal("1.25")})
    assert figure(acme, "after_hours") == (Decimal("1.25") if is_after else 0)


def test_lag_is_from_the_end_of_the_work_to_its_entry(entries, acme):
    entries(
        {"time_end": "2026-06-01T12:00:00", "date_entered": "2026-06-01T13:30:00"},
        {"time_end": "2026-06-01T12:00:00"},
    )
    assert figure(acme, "time_entry_lag") == Decimal("1.50")


# --- Customers


def test_companies_are_lost_when_they_are_no_longer_active(companies, acme):
    companies(
        company("left", "2026-01-01", "2026-06-05", is_active=True),
        company("left", "2026-06-05", is_active=False),
        company("gone", "2026-01-01", "2026-06-06", is_active=True) | {"is_current": False},
        company("renamed", "2026-01-01", "2026-06-07", is_active=True),
        company("renamed", "2026-06-07", is_active=True),
        company("never was", "2026-01-01", "2026-06-08", is_active=False) | {"is_current": False},
    )
    assert figure(acme, "companies_lost") == 2
    assert figure(acme, "companies_lost", as_of=at("2026-06-05T12:00:00")) == 1
    assert figure(acme, "companies_active") == 1


def test_segments_sum_the_known_values(companies, acme):
    companies(
        company("1", is_active=True, company_type="A", annual_revenue=Decimal("0.10")),
        company("2", is_active=True, company_type="A", annual_revenue=Decimal("0.20")),
        company("3", is_active=True, company_type="B"),
        company("4", is_active=False, company_type="A", annual_revenue=Decimal("9")),
    )
    result = run_metric(acme, "revenue_by_segment", JUNE)
    assert {part.label: part.figure for part in result.parts} == {"A": Decimal("0.30"), "B": 0}


def test_contacts_are_divided_by_active_companies(companies, put_rows, acme):
    companies(company("1", is_active=True), company("2", is_active=True))
    people = [version("2026-01-01", contact_id=str(n), is_active=n > 0) for n in range(4)]
    put_rows(acme, "contacts", people)
    assert figure(acme, "contacts_per_company") == Decimal("1.50")


# --- What comes with the figures


def test_freshness_is_the_newest_finished_load_of_the_metrics_tables(warehouse, acme):
    log_load(warehouse, acme, "tickets", 3, "2026-06-03T10:00:00")
    log_load(warehouse, acme, "tickets", 4, "2026-06-04T10:00:00")
    log_load(warehouse, acme, "companies", 5, "2026-06-05T10:00:00")
    log_load(warehouse, acme, "tickets", 6, "2026-06-06T10:00:00", kind="repair")
    (fresh,) = run_metric(acme, "tickets_opened", JUNE).freshness
    assert (fresh.table_name, fresh.load_id) == ("tickets", 4)
    assert fresh.finished_at == fresh.newest_file_time == at("2026-06-04T10:00:00")
    assert fresh.changed_at == at("2026-06-06T10:00:00")
    assert fresh.file_name == "tickets-4.parquet"


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_a_definition(name):
    metric = METRICS[name]
    assert metric.description.endswith(".")
    assert metric.unit
    assert metric.measures
    assert set(metric.details) <= set(metric.source.details)


def test_figures_are_compared_with_the_same_days_a_year_before(tickets, companies, acme):
    year = replace(JUNE, compared_with=Comparison.YEAR)
    tickets(
        ticket("then", "2025-01-01", created_date="2025-06-10", priority="P1"),
        ticket("between", created_date="2026-01-10", priority="P1"),
        ticket("before", created_date="2026-05-10", priority="P1"),
        ticket("now", created_date="2026-06-10", priority="P1"),
        ticket("now too", created_date="2026-06-11", priority="P1"),
    )
    result = run_metric(acme, "tickets_opened", year, by=("priority",))
    assert (result.figure, result.previous) == (2, 1)
    assert [(part.figure, part.previous) for part in result.parts] == [(2, 1)]
    assert sum(found for _, found in result.series) == 2
    companies(company("1", "2025-01-01"), company("2", "2026-02-01"))
    states = run_metric(acme, "companies_total", year)
    assert (states.figure, states.previous) == (2, 1)
