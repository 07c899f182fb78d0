"""What changed: contributions add up to the change, and the reason is the one that was made."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.metrics import DIMENSIONS, METRICS, MetricQuery, MetricResult, Part, run_metrics
from analytics.metrics.changes import (
    Reason,
    contributions,
    explain_change,
    phrase,
    rounded_to_sum,
)
from analytics.metrics.results import figure_of
from analytics.periods import Period
from analytics.templatetags.figures import change_sentence
from analytics.tests.versions import at, closed_ticket
from tenants.models import SlaTarget, Tenant

NUMBERS = st.none() | st.integers(0, 50) | st.decimals(0, 90, places=2)
KINDS = ["tickets_opened", "tickets_net", "hours_worked", "close_rate", "sla_met", "utilization"]
KINDS += ["hours_per_ticket", "contacts_per_company"]


def _total(rows):
    return tuple(
        sum((number or 0 for number in column), Decimal(0)) for column in zip(*rows, strict=True)
    )


def _result(name, rows):
    """A result with these (numbers, previous numbers) of its parts."""
    metric = METRICS[name]
    count = len(metric.measures)
    rows = [(now[:count], before[:count]) for now, before in rows]
    parts = tuple(
        Part(
            (f"{number}",),
            (f"{number}",),
            figure_of(metric, now),
            figure_of(metric, before),
            now,
            before,
        )
        for number, (now, before) in enumerate(rows)
    )
    totals = [_total(each) for each in zip(*rows, strict=True)]
    period = Period(date(2026, 6, 1), date(2026, 7, 1), Tenant(time_zone="UTC").zone)
    return MetricResult(
        metric=metric,
        by=(DIMENSIONS["company"],),
        period=period,
        as_of=at("2026-07-01"),
        requested_filters=(),
        filters=(),
        figure=figure_of(metric, totals[0]),
        previous=figure_of(metric, totals[1]),
        series=(),
        parts=parts,
        is_cut=False,
        freshness=(),
        milliseconds=0.0,
        numbers=totals[0],
        previous_numbers=totals[1],
    )


def _exact(metric, numbers):
    first, second = (*map(Fraction, numbers), Fraction(0))[:2]
    if metric.aggregate.is_quotient:
        return first / second * (100 if metric.unit == "%" else 1)
    return first - second if metric.name == "tickets_net" else first


@given(
    name=st.sampled_from(KINDS),
    rows=st.lists(
        st.tuples(st.tuples(NUMBERS, NUMBERS), st.tuples(NUMBERS, NUMBERS)), min_size=1, max_size=8
    ),
)
def test_contributions_add_up_to_the_change(name, rows):
    result = _result(name, rows)
    found = contributions(result)
    if result.metric.aggregate.is_quotient and None in (result.figure, result.previous):
        assert found == []
        return
    change = _exact(result.metric, result.numbers) - _exact(result.metric, result.previous_numbers)
    assert sum((each.amount for each in found), Fraction(0)) == change
    for each in found:
        if result.metric.aggregate.is_quotient:
            assert each.rate + each.mix == each.amount
        else:
            assert (each.rate, each.mix) == (None, None)
    shown = rounded_to_sum([each.amount for each in found], 1)
    assert abs(sum(shown, Decimal(0)) - Decimal(float(change))) <= Decimal("0.0501")
    assert all(
        abs(Fraction(s) - e.amount) <= Fraction(1, 10) for s, e in zip(shown, found, strict=True)
    )


def test_rate_and_mix_are_told_apart():
    """One customer's rate fell with the same tickets; then another with a low rate got more."""
    rate = _result("sla_met", [((40, 50), (50, 50)), ((45, 50), (45, 50))])
    (only,) = contributions(rate)
    assert (only.part.label, only.amount, only.rate, only.mix) == ("0", -10, -10, 0)
    mix = _result("sla_met", [((50, 50), (50, 50)), ((50, 100), (25, 50))])
    found = {each.part.label: each for each in contributions(mix)}
    assert {each.rate for each in found.values()} == {0}
    assert sum(each.amount for each in found.values()) == Fraction(200, 3) - 75


@given(
    name=st.sampled_from(KINDS),
    rows=st.lists(
        st.tuples(st.tuples(NUMBERS, NUMBERS), st.tuples(NUMBERS, NUMBERS)), min_size=3, max_size=8
    ),
)
def test_parts_that_are_cut_are_one_contribution(name, rows):
    whole = _result(name, rows)
    cut = replace(whole, parts=whole.parts[:1], is_cut=True)
    total = lambda result: sum((each.amount for each in contributions(result)), Fraction(0))  # noqa: E731
    assert total(cut) == total(whole)


def test_medians_have_no_contributions():
    assert contributions(_result("resolution_median", [((5,), (9,))])) == []


# --- The reason

JUNE = (date(2026, 6, 1), date(2026, 7, 1))


def _closed(number, day, *, is_met, **about):
    return closed_ticket(number, day, 1 if is_met else 30, **about)


@pytest.fixture
def story(acme, put_rows):
    """The SLA fell only for tickets of priority 1 of one customer."""
    for priority in ("P1", "P2"):
        SlaTarget.objects.create(
            tenant=acme, priority=priority, response_hours=8, resolution_hours=8
        )
    rows = []
    for number in range(10):
        for priority in ("P1", "P2"):
            for company in ("1", "7"):
                board = "Desk" if number % 2 else "Projects"
                more = {"priority": priority, "company": company, "board": board}
                rows.append(_closed(number, "2026-05-12", is_met=True, **more))
                late = priority == "P1" and company == "7" and number < 8
                rows.append(_closed(number, "2026-06-10", is_met=not late, **more))
    put_rows(acme, "tickets", rows)
    return acme


def _reason(tenant, name, filters):
    period = Period(*JUNE, tenant.zone)
    return explain_change(tenant, MetricQuery.named(name), period, None, filters, ())[1]


def test_the_reason_is_the_part_that_brought_the_change(story):
    found = _reason(story, "sla_met", {})
    assert set(found.by) == {"priority", "company"}
    assert phrase(found) == "P1 at Möller Pharma"
    assert found.amount == -20


def test_within_a_filter_the_reason_is_another(story):
    assert phrase(_reason(story, "sla_met", {"company": "7"})) == "P1"


def test_where_nothing_stands_out_there_is_no_reason(story):
    assert _reason(story, "tickets_closed", {}) is None
    assert _reason(story, "sla_met", {"company": "1"}) is None


def test_hundreds_of_companies_add_up(acme, warehouse, client, alice):
    """Those beyond the list are those that fell most."""
    warehouse.run(
        "INSERT INTO shared_tickets (tenant_id, ticket_id, company_id, created_date, "
        "effective_date, is_current) SELECT {t:String}, toString(number), "
        "toString(number % 600), if(number < 600, toDateTime64('2026-05-10', 3, 'UTC'), "
        "toDateTime64('2026-06-10', 3, 'UTC')), toDateTime64('2026-01-01', 3, 'UTC'), true "
        "FROM numbers(1000)",
        {"t": acme.id},
    )
    client.force_login(alice)
    path = f"/api/v1/tenants/{acme.id}/metrics/tickets_by_company/changes"
    answer = client.get(path, {"start": "2026-06-01", "end": "2026-06-30"}).json()
    assert answer["figure"] - answer["previous"] == -200
    assert sum(each["amount"] for each in answer["changes"]) == -200
    page = client.get(f"/t/{acme.id}/figures/tickets_by_company/?start=2026-06-01&end=2026-06-30")
    assert "All others" in page.content.decode()


def test_medians_ask_for_no_reason(story, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "analytics.metrics.run.run_metrics",
        lambda tenant, queries, *rest: asked.extend(queries) or run_metrics(tenant, queries, *rest),
    )
    assert _reason(story, "resolution_median", {}) is None
    assert [query.by for query in asked] == [()]


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_can_be_asked_for_its_reason(story, name):
    period = Period(*JUNE, story.zone)
    result, found = explain_change(story, MetricQuery.named(name), period, None, {}, ())
    assert result.metric.name == name
    if found is not None:
        assert set(found.by) <= set(result.metric.dimensions)
        assert found.amount


def test_the_api_gives_the_same(client, alice, story):
    client.force_login(alice)
    path = f"/api/v1/tenants/{story.id}/metrics/sla_met/changes"
    query = {"start": "2026-06-01", "end": "2026-06-30", "by": "priority"}
    answer = client.get(path, query).json()
    assert answer["sentence"] == (
        "SLA met fell by 20.0 points to 80.0 %, 20.0 of them from P1 at Möller Pharma."
    )
    assert (answer["figure"], answer["previous"]) == (80.0, 100.0)
    assert [(each["label"], each["amount"]) for each in answer["changes"]] == [("P1", -20.0)]
    assert answer["changes"][0]["from_rate"] == -20.0
    assert client.get(path, query | {"by": "nope"}).status_code == 400
    assert client.get(path.replace("sla_met", "nope")).status_code == 404


@pytest.mark.parametrize(
    ("name", "rows", "words"),
    [
        ("resolution_median", [((20,), (30,))], "fell by 10.0 h to 20.0 h."),
        ("resolution_median", [((20,), (2000,))], "fell by 82.5 days to 20.0 h."),
        ("tickets_opened", [((5,), (3,))], "rose by 2 tickets to 5."),
    ],
)
def test_sentences_have_the_units_that_people_use(name, rows, words):
    result = _result(name, rows)
    if result.metric.aggregate.is_duration:
        (now,), (before,) = rows[0]
        result = replace(result, figure=Decimal(now), previous=Decimal(before))
    assert change_sentence(result, None) == f"{result.metric.title} {words}"


def test_a_reason_that_is_only_a_company_is_a_sentence():
    result = _result("tickets_opened", [((5,), (3,))])
    reason = Reason(("company",), ("Möller Pharma",), Fraction(2))
    assert change_sentence(result, reason).endswith("2 of them at Möller Pharma.")
