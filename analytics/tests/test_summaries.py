"""The specification's summaries against rows counted by hand, in the real engine."""

from datetime import date, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from analytics.api import summaries
from analytics.periods import Period
from analytics.tests.versions import at, company, ticket

NEW_YORK = ZoneInfo("America/New_York")
JUNE = Period(date(2026, 6, 1), date(2026, 7, 1), NEW_YORK)


def days(first, count):
    return Period(first, first + timedelta(days=count), NEW_YORK)


def figures(tenant, period=JUNE, as_of=None):
    return summaries.company_analytics(tenant, period, as_of)


@pytest.fixture
def companies(put_rows, acme):
    return lambda *rows: put_rows(acme, "companies", list(rows))


@pytest.fixture
def tickets(put_rows, acme):
    return lambda *rows: put_rows(acme, "tickets", list(rows))


# --- company_analytics


def test_a_tenant_without_rows_has_zero_companies(warehouse, acme):
    assert figures(acme) == {
        "total_companies": 0,
        "active_companies": 0,
        "avg_employees": None,
        "total_revenue": Decimal("0.00"),
    }


def test_companies_are_counted_and_summed(companies, acme):
    companies(
        company("a", is_active=True, number_of_employees=10, annual_revenue=Decimal("0.10")),
        company("b", is_active=False, number_of_employees=11, annual_revenue=Decimal("0.20")),
        company("c", is_active=True, number_of_employees=11),
        company("d"),
    )
    assert figures(acme) == {
        "total_companies": 4,
        "active_companies": 2,
        "avg_employees": Decimal("10.67"),
        "total_revenue": Decimal("0.30"),
    }


def test_revenue_is_summed_exactly_where_floats_would_not(companies, acme):
    large = Decimal("9999999999999999.99")
    companies(*(company(str(n), annual_revenue=large) for n in range(3)))
    assert figures(acme)["total_revenue"] == 3 * large


def test_mean_employees_are_rounded_half_up(companies, acme):
    companies(*(company(str(n), number_of_employees=1 if n == 0 else 0) for n in range(8)))
    assert figures(acme)["avg_employees"] == Decimal("0.13")  # 0.125


def test_a_company_counts_once_with_its_last_version_in_the_period(companies, acme):
    companies(
        company("a", "2026-01-01", "2026-06-10", is_active=True, annual_revenue=Decimal("1")),
        company("a", "2026-06-10", "2026-06-20", is_active=False, annual_revenue=Decimal("2")),
        company("a", "2026-07-15", is_active=True, annual_revenue=Decimal("4")),
    )
    found = figures(acme)
    assert (found["total_companies"], found["active_companies"]) == (1, 0)
    assert found["total_revenue"] == Decimal("2")


def test_a_last_version_without_a_value_is_not_filled_from_an_older_one(companies, acme):
    companies(
        company("a", "2026-01-01", "2026-06-10", is_active=True, number_of_employees=5),
        company("a", "2026-06-10"),
    )
    found = figures(acme)
    assert (found["active_companies"], found["avg_employees"]) == (0, None)


@pytest.mark.parametrize(
    ("since", "until", "counted"),
    [
        ("2026-01-01", "2026-06-01T04:00:00", 0),  # ends as June begins in New York
        ("2026-01-01", "2026-06-01T04:00:00.001", 1),
        ("2026-07-01T03:59:59.999", None, 1),
        ("2026-07-01T04:00:00", None, 0),  # begins as June ends
        ("2026-06-10", "2026-06-10", 0),  # zero length: inserted, not yet visible
    ],
)
def test_a_version_counts_if_it_was_valid_within_the_period(companies, acme, since, until, counted):
    companies(company("a", since, until))
    assert figures(acme)["total_companies"] == counted


def test_an_as_of_date_hides_what_took_effect_later(companies, acme):
    companies(
        company("a", "2026-01-01", "2026-06-10", annual_revenue=Decimal("1")),
        company("a", "2026-06-10", annual_revenue=Decimal("2")),
        company("b", "2026-06-20", annual_revenue=Decimal("4")),
    )
    assert figures(acme, as_of=at("2026-06-05"))["total_revenue"] == Decimal("1")
    assert figures(acme, as_of=at("2026-06-10"))["total_revenue"] == Decimal("2")
    assert figures(acme)["total_revenue"] == Decimal("6")


def test_a_version_that_expired_after_the_as_of_date_was_still_open(companies, acme):
    companies(company("a", "2026-01-01", "2026-05-15"), company("a", "2026-05-15"))
    assert figures(acme, as_of=at("2026-05-01"))["total_companies"] == 1


# --- ticket_trends


def trends(tenant, period, as_of=None):
    return [tuple(row.values()) for row in summaries.ticket_trends(tenant, period, as_of)]


def test_days_without_tickets_are_filled_with_zero(warehouse, acme):
    assert trends(acme, days(date(2026, 6, 1), 2)) == [
        (date(2026, 6, 1), 0, 0, None),
        (date(2026, 6, 2), 0, 0, None),
    ]


def test_a_ticket_counts_on_the_local_days_it_was_opened_and_closed(tickets, acme):
    tickets(
        ticket("1", created_date="2026-06-02T03:59:59", closed_date="2026-06-02T04:00:00"),
        ticket("2", created_date="2026-06-01T04:00:00"),
        ticket("3", created_date="2026-06-01T03:59:59.999", closed_date="2026-06-04T04:00:00"),
    )
    assert [row[1:3] for row in trends(acme, days(date(2026, 6, 1), 3))] == [(2, 0), (0, 1), (0, 0)]


def test_mean_hours_are_those_of_the_tickets_closed_that_day(tickets, acme):
    closed = {"created_date": "2026-06-01T12:00:00", "closed_date": "2026-06-02T12:00:00"}
    tickets(
        ticket("1", **closed, actual_hours=Decimal("0.10")),
        ticket("2", **closed, actual_hours=Decimal("0.11")),
        ticket("3", **closed),
        ticket("4", created_date="2026-06-02T12:00:00", actual_hours=Decimal("99")),
        ticket("5", created_date="2026-06-01T12:00:00", closed_date="2026-06-03T12:00:00"),
    )
    assert trends(acme, days(date(2026, 6, 1), 3)) == [
        (date(2026, 6, 1), 4, 0, None),
        (date(2026, 6, 2), 1, 3, Decimal("0.11")),  # 0.105
        (date(2026, 6, 3), 0, 1, None),
    ]


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
    assert [row[1] for row in trends(acme, days(first, 2))] == expected


def test_tickets_count_as_their_version_at_the_as_of_date_has_them(tickets, acme):
    opened = {"created_date": "2026-06-01T12:00:00"}
    tickets(
        ticket("1", "2026-06-01T12:00:00", "2026-06-03T12:00:00", **opened),
        ticket("1", "2026-06-03T12:00:00", closed_date="2026-06-02T12:00:00", **opened),
    )
    period = days(date(2026, 6, 1), 2)
    assert [row[2] for row in trends(acme, period, at("2026-06-03T00:00:00"))] == [0, 0]
    assert [row[2] for row in trends(acme, period)] == [0, 1]
