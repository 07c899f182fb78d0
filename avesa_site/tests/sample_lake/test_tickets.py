"""Tickets: their life cycle, the order of their dates, and when they are opened."""

from collections import Counter
from datetime import timedelta
from statistics import median
from zoneinfo import ZoneInfo

import pytest

from avesa_site.demo.sample_lake import SAMPLE_TENANTS, generate
from avesa_site.demo.sample_lake.service import CLOSED_STATUSES, PRIORITIES, priority_of
from avesa_site.demo.sample_lake.words import MATTERS, NEW_PHONES
from avesa_site.tests.sample_lake.conftest import END, START, UNTIL, SampleLake

pytestmark = pytest.mark.slow

OF_WEEKDAYS = range(5)


def opened(lake, tenant):
    """Give the local times at which the tickets of the window were opened."""
    zone = ZoneInfo(tenant.time_zone)
    tickets = lake.current[tenant.tenant_id, "tickets"].values()
    return [row["created_date"].astimezone(zone) for row in tickets if row["created_date"] >= START]


def test_dates_follow_each_other(lake):
    for history in lake.everywhere("tickets"):
        for row in history:
            answered, closed = row["first_response_date"], row["closed_date"]
            moments = [row["created_date"], answered, closed, row["updated_at"]]
            known = [moment for moment in moments if moment]
            assert known == sorted(known)


def test_values_from_the_opening_never_change(lake):
    lasting = ("created_date", "company_id", "contact_id", "summary", "description", "created_by")
    for history in lake.everywhere("tickets"):
        assert len({tuple(row[column] for column in lasting) for row in history}) == 1


def test_a_ticket_of_the_window_starts_as_new(lake):
    for history in lake.everywhere("tickets"):
        first = history[0]
        if first["created_date"] >= START:
            assert first["status"] == "New"
            assert first["updated_at"] == first["created_date"]
            assert first["actual_hours"] == 0


def test_a_ticket_is_closed_exactly_when_it_has_a_closing_date(lake):
    for history in lake.everywhere("tickets"):
        for row in history:
            closed = row["status"] in CLOSED_STATUSES
            assert (row["closed_date"] is not None) == closed
            assert (row["closed_by"] is not None) == closed


def test_the_priority_follows_from_severity_impact_and_urgency(lake):
    for history in lake.everywhere("tickets"):
        for row in history:
            assert row["priority"] == priority_of(row["severity"], row["impact"], row["urgency"])


def test_all_priorities_occur_and_the_top_one_is_rare(lake):
    counts = Counter(one[-1]["priority"] for one in lake.everywhere("tickets"))
    assert set(counts) == set(PRIORITIES)
    assert counts[PRIORITIES[0]] < 0.15 * counts.total()


def test_board_type_and_item_belong_together_and_to_the_summary(lake):
    known = {}
    for matter, _ in MATTERS:
        place = (matter.board, matter.team, matter.type, matter.subtype, matter.item)
        known[place] = {summary.split("{")[0] for summary in matter.summaries}
    for history in lake.everywhere("tickets"):
        row = history[0]
        columns = ("board_name", "team_name", "type_name", "subtype_name", "item_name")
        starts = known[tuple(row[column] for column in columns)]
        assert any(row["summary"].startswith(start) for start in starts)


def test_callers_are_contacts_of_the_company_and_were_there(lake, tenant):
    companies = lake.histories[tenant.tenant_id, "companies"]
    contacts = lake.histories[tenant.tenant_id, "contacts"]
    for row in lake.current[tenant.tenant_id, "tickets"].values():
        company = companies[row["company_id"]]
        assert company[0]["created_at"] <= row["created_date"]
        assert row["company_name"] in {version["name"] for version in company}
        if row["contact_id"]:
            contact = contacts[row["contact_id"]][0]
            assert contact["company_id"] == row["company_id"]
            assert contact["created_at"] <= row["created_date"]


def test_tickets_have_several_versions(lake):
    counts = [len(history) for history in lake.everywhere("tickets")]
    assert median(counts) >= 5
    assert max(counts) > 12


@pytest.mark.parametrize(
    "status", ["Waiting Customer", "Waiting Vendor", "Scheduled", "Resolved", "Reopened"]
)
def test_tickets_go_through_many_statuses(lake, status):
    assert any(status in {row["status"] for row in one} for one in lake.everywhere("tickets"))


def test_some_tickets_are_reopened_and_then_have_no_closing_date(lake):
    histories = list(lake.everywhere("tickets"))
    reopened = [one for one in histories if any(row["status"] == "Reopened" for row in one)]
    assert 0.015 < len(reopened) / len(histories) < 0.08


def test_some_tickets_change_owner(lake):
    owners = [{row["owner_id"] for row in one} - {None} for one in lake.everywhere("tickets")]
    assert 0.02 < sum(len(one) > 1 for one in owners) / len(owners) < 0.3


def test_four_to_seven_in_a_hundred_are_open_at_the_end(lake):
    tickets = [one[-1] for one in lake.everywhere("tickets")]
    still_open = [row for row in tickets if row["closed_date"] is None]
    assert 0.04 < len(still_open) / len(tickets) < 0.07
    ages = [END - row["created_date"] for row in still_open]
    assert max(ages) > timedelta(days=365)
    assert min(ages) < timedelta(days=7)


def test_the_window_starts_with_a_small_backlog_and_no_finished_tickets(lake, tenant):
    histories = lake.histories[tenant.tenant_id, "tickets"].values()
    base = [one for one in histories if one[0]["updated_at"] < START]
    assert 0.01 < len(base) / len(histories) < 0.07
    # A few were closed already, but something about them was still to come.
    assert all(one[0]["closed_date"] is None or len(one) > 1 for one in base)


def test_most_tickets_come_in_working_hours(lake, tenant):
    moments = opened(lake, tenant)
    working = sum(m.weekday() in OF_WEEKDAYS and 8 <= m.hour < 18 for m in moments)
    assert 0.82 < working / len(moments) < 0.95


def test_mondays_are_busy_and_weekends_quiet(lake):
    days = Counter(m.weekday() for m in opened(lake, SAMPLE_TENANTS[0]))
    assert days[0] > days[2] > days[4] > 4 * days[5] > 0
    assert days[6] > 0


def test_the_turn_of_the_year_is_quiet(lake):
    moments = opened(lake, SAMPLE_TENANTS[0])
    quiet = [m for m in moments if (m.month, m.day) >= (12, 22) or (m.month, m.day) <= (1, 3)]
    assert 0 < len(quiet) / (2 * 13) < 0.6 * len(moments) / 730


def test_volume_grows_over_the_two_years(lake):
    middle = START + timedelta(days=365)
    moments = [moment for tenant in SAMPLE_TENANTS for moment in opened(lake, tenant)]
    first_year = sum(moment < middle for moment in moments)
    assert 1.02 < (len(moments) - first_year) / first_year < 1.4


def test_urgent_tickets_are_answered_sooner_and_some_late(lake):
    waits = {priority: [] for priority in PRIORITIES}
    for history in lake.everywhere("tickets"):
        row = history[-1]
        if row["first_response_date"]:
            wait = row["first_response_date"] - row["created_date"]
            waits[history[0]["priority"]].append(wait)
    medians = [median(waits[priority]) for priority in PRIORITIES]
    assert medians == sorted(medians)
    urgent = waits[PRIORITIES[0]]
    assert 0.05 < sum(wait > timedelta(hours=1) for wait in urgent) / len(urgent) < 0.25


def test_hours_never_shrink(lake):
    for history in lake.everywhere("tickets"):
        hours = [row["actual_hours"] for row in history]
        assert hours == sorted(hours)


def test_new_phones_bring_urgent_tickets_of_one_customer_that_take_long():
    since = UNTIL - timedelta(days=19)
    story = SampleLake(list(generate(UNTIL, 0.1, tenants=SAMPLE_TENANTS[:1], new_phones=since)))
    tickets = story.current["northwind-it", "tickets"].values()
    about = [row for row in tickets if row["subtype_name"] == NEW_PHONES.subtype]
    assert len(about) >= 5
    assert len({row["company_id"] for row in about}) == 1
    assert {row["priority"] for row in about} == {PRIORITIES[0]}
    assert min(row["created_date"].date() for row in about) >= since
    days = [row["closed_date"] - row["created_date"] for row in about if row["closed_date"]]
    assert sum(each > timedelta(hours=8) for each in days) > len(days) / 2


def test_without_new_phones_no_ticket_is_about_them(lake):
    subtypes = {one[-1]["subtype_name"] for one in lake.everywhere("tickets")}
    assert NEW_PHONES.subtype not in subtypes
