"""What happened: sentences about figures that moved, and none about noise."""

import re
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from html import unescape
from math import ceil, exp
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.metrics import METRICS, Aggregate, MetricResult
from analytics.metrics.movements import MIN_WEIGHT, Movement, is_movement, weight_of
from analytics.metrics.results import figure_of
from analytics.periods import Period
from analytics.tests.versions import at, closed_ticket, log_load
from tenants.models import SlaTarget, Tenant

ZONE = Tenant(time_zone="UTC").zone
SINCE, START, END = date(2026, 3, 1), date(2026, 6, 1), date(2026, 7, 1)
WEEKDAYS = (1.25, 1.1, 1.0, 1.0, 0.9, 0.1, 0.05)
KINDS = ["tickets_opened", "tickets_net", "sla_met", "close_rate", "hours_worked", "utilization"]
KINDS += ["hours_per_ticket", "backlog"]


def _poisson(dice, mean):
    count, product = 0, dice.random()
    while product > exp(-mean):
        count += 1
        product *= dice.random()
    return count


def _result(metric, days, period):
    """A result over a period of these numbers, {day: numbers}."""

    def of(span):
        found = [numbers for day, numbers in days.items() if span.start <= day < span.end]
        if metric.is_state:
            return found[-1]
        return tuple(sum(column) for column in zip(*found, strict=True))

    buckets = list(period.buckets())
    series = tuple(of(bucket) for bucket in buckets)
    now, before = of(period), of(period.previous) if period.start == START else ()
    return MetricResult(
        metric, (), period, at(f"{END}"), (), (), figure_of(metric, now),
        figure_of(metric, before),
        tuple((b, figure_of(metric, n)) for b, n in zip(buckets, series, strict=True)),
        (), False, (), 0.0, now, before, series,
    )  # fmt: skip


def _weight(name, numbers_of):
    """The movement of a figure whose days have the numbers `numbers_of(day)`."""
    metric = METRICS[name]
    days = {
        SINCE + timedelta(days=n): numbers_of(SINCE + timedelta(days=n))
        for n in range((END - SINCE).days)
    }
    result = _result(metric, days, Period(START, END, ZONE))
    history = _result(metric, days, Period(SINCE, END, ZONE, unit="day"))
    return Movement(result, weight_of(result, history))


def _noise(name, dice, mean, factor=1.0):
    """Numbers of days with a weekly rhythm; from START on, the first is `factor` times as large."""
    level = 100

    def numbers(day):
        nonlocal level
        expected = mean * WEEKDAYS[day.weekday()]
        second = _poisson(dice, expected)
        more = factor if day >= START else 1.0
        match name:
            case "backlog":
                level = max(1, level + _poisson(dice, expected) - second)
                return (level,)
            case "sla_met":
                return (sum(dice.random() < 0.8 * more for _ in range(second)), second)
            case "tickets_opened":
                return (_poisson(dice, expected * more),)
            case "hours_worked":
                hours = [dice.choice((0.25, 0.5, 1, 2, 4)) for _ in range(second)]
                return (Decimal(sum(hours) * more),)
        return (_poisson(dice, expected * more), second)

    return numbers


@pytest.mark.parametrize("name", KINDS)
def test_noise_is_no_movement(name):
    """By chance alone a figure exceeds three deviations once in 370 times."""
    found = [
        is_movement(_weight(name, _noise(name, Random(f"{name} {n}"), mean)))
        for mean in (1, 8)
        for n in range(75)
    ]
    assert sum(found) <= 2


def _times(name, dice, median, factor=1.0):
    """The movement of a median or percentile of times, one in ten of which are very long."""
    metric = METRICS[name]
    level = 0.9 if metric.aggregate is Aggregate.P90 else 0.5
    days = {}
    for n in range((END - SINCE).days):
        day = SINCE + timedelta(days=n)
        more = factor if day >= START else 1.0
        days[day] = [
            dice.lognormvariate(0, 1) * median * more * (300 if dice.random() < 0.1 else 1)
            for _ in range(_poisson(dice, 5 * WEEKDAYS[day.weekday()]))
        ]

    def figure(span):
        found = sorted(x for day, of in days.items() if span.start <= day < span.end for x in of)
        return Decimal(found[ceil(level * len(found)) - 1]) if found else None

    period, window = Period(START, END, ZONE), Period(SINCE, END, ZONE, unit="day")
    empty = MetricResult(
        metric, (), period, at(f"{END}"), (), (), figure(period), figure(period.previous),
        (), (), False, (), 0.0,
    )  # fmt: skip
    series = tuple((bucket, figure(bucket)) for bucket in window.buckets())
    numbers = tuple((value,) for _, value in series)
    history = replace(empty, period=window, series=series, series_numbers=numbers)
    return Movement(empty, weight_of(empty, history))


@pytest.mark.parametrize("name", ["resolution_median", "resolution_p90"])
def test_noise_of_times_is_no_movement(name):
    found = [is_movement(_times(name, Random(f"{name} {n}"), 4)) for n in range(100)]
    assert sum(found) <= 1


@pytest.mark.parametrize("factor", [0.3, 3])
def test_a_median_that_is_made_to_move_is_found(factor):
    assert is_movement(_times("resolution_median", Random("times"), 4, factor))


@pytest.mark.parametrize("name", [name for name in KINDS if name != "backlog"])
@pytest.mark.parametrize("factor", [0.5, 1.8])
def test_what_is_made_to_move_is_found(name, factor):
    if name == "sla_met" and factor > 1:
        factor = 1.2
    found = _weight(name, _noise(name, Random(f"{name}"), 10, factor))
    assert is_movement(found), found.weight
    assert (found.result.figure > found.result.previous) == (factor > 1)


@settings(max_examples=20)
@given(st.sampled_from(KINDS), st.integers(0, 20))
def test_a_figure_that_never_varies_has_no_movement(name, number):
    assert _weight(name, lambda day: (number, number)[: len(METRICS[name].measures)]).weight == 0


def test_a_day_that_is_not_over_is_no_drop():
    """Nearly all tickets of each day come in its last hour."""
    metric = METRICS["tickets_opened"]
    days = {SINCE + timedelta(days=n): (1000 + n % 7,) for n in range((END - SINCE).days)}
    days[END - timedelta(days=1)] = (2,)
    period = Period(END - timedelta(days=7), END, ZONE)
    before = figure_of(
        metric, (sum(days[period.previous.start + timedelta(n)][0] for n in range(7)),)
    )
    shown = _result(metric, days, period)
    shown = replace(shown, previous=before)
    history = _result(metric, days, Period(SINCE, END, ZONE, unit="day"))
    history = replace(history, as_of=at("2026-06-30T12:00:00"))
    assert shown.change < -10
    assert weight_of(shown, history) < MIN_WEIGHT


# --- The page


def _closed(number, day, *, is_met, **about):
    return closed_ticket(number, day, 1 if is_met else 12, **about)


@pytest.fixture
def story(acme, put_rows, warehouse):
    """As many tickets as ever, but from June on one customer misses its target in priority 1."""
    for priority in ("P1", "P2"):
        SlaTarget.objects.create(
            tenant=acme, priority=priority, response_hours=8, resolution_hours=8
        )
    rows = []
    for n in range((END - SINCE).days):
        day = SINCE + timedelta(days=n)
        for priority in ("P1", "P2"):
            for company in ("1", "7"):
                is_late = day >= START and (priority, company) == ("P1", "7")
                is_met = not is_late and n % 11 > 0
                of = {"priority": priority, "company": company}
                rows.append(_closed(n, day, is_met=is_met, **of))
    put_rows(acme, "tickets", rows)
    log_load(warehouse, acme, "tickets")
    return acme


JUNE = "start=2026-06-01&end=2026-06-30"


def _sentences(client, tenant, slug="service", query=JUNE, **headers):
    response = client.get(f"/t/{tenant.id}/board/{slug}/happened/?{query}", headers=headers)
    assert response.status_code == 200
    page = response.content.decode()
    shown = page.rpartition('<section class="card happened"')[2]  # below the breadcrumbs, if any
    return page, re.findall(r'<li><a href="([^"]+)">(.*?)</a></li>', shown)


def test_the_planted_story_is_found_and_adds_up_with_the_page_it_leads_to(client, alice, story):
    client.force_login(alice)
    page, found = _sentences(client, story, **{"X-Requested-With": "fetch"})
    assert "<html" not in page
    found_by_name = {re.search(r"/figures/(\w+)/", link)[1]: (link, words) for link, words in found}
    assert "sla_met" in found_by_name
    assert not {"tickets_opened", "tickets_closed", "tickets_net", "close_rate"} & set(
        found_by_name
    )
    link, words = found_by_name["sla_met"]
    assert "from P1 at Möller Pharma" in words
    target = client.get(unescape(link)).content.decode()
    assert 'id="changes"' in target
    assert words in target
    assert "Shown: changes larger than three times the usual variation" in page


def test_without_javascript_the_sentences_have_a_page(client, alice, story):
    client.force_login(alice)
    board = client.get(f"/t/{story.id}/board/service/?{JUNE}").getvalue().decode()
    assert f'<noscript><a href="/t/{story.id}/board/service/happened/?start=2026-06-01' in board
    page, found = _sentences(client, story)
    assert "<h1>What happened?</h1>" in page
    assert any("SLA met fell" in words for _, words in found)


def test_a_quiet_period_has_a_message(client, alice, story):
    client.force_login(alice)
    page, found = _sentences(client, story, query="start=2026-05-01&end=2026-05-30")
    assert found == []
    assert "Nothing moved more than usual." in page


@pytest.mark.parametrize("slug", ["overview", "people", "customers"])
def test_every_dashboard_can_be_asked(client, alice, story, slug):
    client.force_login(alice)
    for query in (JUNE, "period=last-12-months&as_of=2026-06-20", "period=last-7-days&company=7"):
        _sentences(client, story, slug, query)


def test_the_second_answer_comes_from_the_cache(client, alice, story, monkeypatch):
    client.force_login(alice)
    first = _sentences(client, story)
    monkeypatch.setattr("analytics.metrics.run.Page.ask", None)
    assert _sentences(client, story)[1] == first[1]


def test_others_are_refused(client, charlie, story, warehouse):
    path = f"/t/{story.id}/board/service/happened/"
    assert client.get(path).status_code == 302
    client.force_login(charlie)
    assert client.get(path).status_code == 404
    assert client.get(f"/t/{story.id}/board/nope/happened/").status_code == 404
