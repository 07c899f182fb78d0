"""Time entries: who worked how long, and that the hours add up on the tickets."""

from collections import Counter, defaultdict
from datetime import timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from avesa_site.demo.sample_lake import SAMPLE_TENANTS
from avesa_site.tests.sample_lake.conftest import START

pytestmark = pytest.mark.slow


def entries_of(lake, tenant):
    return lake.current[tenant.tenant_id, "time_entries"].values()


def test_work_on_tickets_names_a_ticket_and_its_company(lake, tenant):
    tickets = lake.histories[tenant.tenant_id, "tickets"]
    for entry in entries_of(lake, tenant):
        if entry["charge_to_type"] == "ServiceTicket":
            first = tickets[entry["ticket_id"]][0]
            assert entry["company_id"] == first["company_id"]
            assert entry["time_start"] >= first["created_date"]


def test_the_hours_of_a_ticket_are_those_of_its_entries(lake, tenant):
    worked = defaultdict(Decimal)
    for entry in entries_of(lake, tenant):
        if entry["charge_to_type"] == "ServiceTicket":
            worked[entry["ticket_id"]] += entry["actual_hours"]
    for ticket_id, ticket in lake.current[tenant.tenant_id, "tickets"].items():
        assert ticket["actual_hours"] == worked[ticket_id]


def test_internal_work_has_no_customer_and_never_passes_for_a_ticket(lake, tenant):
    internal = [one for one in entries_of(lake, tenant) if one["charge_to_type"] == "ChargeCode"]
    assert 0.05 < len(internal) / len(entries_of(lake, tenant)) < 0.25
    tickets = lake.current[tenant.tenant_id, "tickets"]
    for entry in internal:
        assert entry["company_id"] is None
        assert entry["ticket_id"] not in tickets
        # Files with "charge_to_id" have the charge code there.
        assert (entry["ticket_id"] is not None) == tenant.aliased


def test_hours_are_the_time_between_start_and_end_less_the_deduction(lake, tenant):
    for entry in entries_of(lake, tenant):
        gross = entry["actual_hours"] + (entry["hours_deduct"] or 0)
        assert entry["time_end"] - entry["time_start"] == timedelta(hours=float(gross))
        assert 0 < entry["actual_hours"] <= 8


def test_time_is_entered_after_it_was_worked_and_sometimes_days_later(lake, tenant):
    lags = [one["date_entered"] - one["time_end"] for one in entries_of(lake, tenant)]
    assert min(lags) > timedelta(0)
    assert max(lags) > timedelta(days=1)


def test_some_entries_are_corrected_later_without_changing_the_hours(lake):
    histories = list(lake.everywhere("time_entries"))
    corrected = [one for one in histories if len(one) > 1]
    assert 0.05 < len(corrected) / len(histories) < 0.2
    for history in histories:
        assert len({row["actual_hours"] for row in history}) == 1
        assert history[0]["date_entered"] <= history[0]["updated_at"]


def test_technicians_are_as_many_as_the_tenant_has(lake, tenant):
    members = {(one["member_id"], one["member_name"]) for one in entries_of(lake, tenant)}
    assert len(members) == tenant.technicians


def test_owners_of_tickets_are_technicians(lake, tenant):
    members = {one["member_id"]: one["member_name"] for one in entries_of(lake, tenant)}
    for history in lake.histories[tenant.tenant_id, "tickets"].values():
        for row in history:
            assert row["owner_id"] is None or members[row["owner_id"]] == row["owner_name"]


def test_work_types_roles_and_billing_vary(lake):
    entries = [one for tenant in SAMPLE_TENANTS for one in entries_of(lake, tenant)]
    for column, least in [("work_type_name", 7), ("work_role_name", 4), ("billable_option", 3)]:
        assert len({entry[column] for entry in entries}) >= least
    types = Counter(entry["work_type_name"] for entry in entries)
    assert 0.01 < types["After Hours"] / types.total() < 0.15


def test_members_do_a_realistic_amount_of_work_of_which_most_is_billable(lake, tenant):
    entries = [one for one in entries_of(lake, tenant) if one["time_start"] >= START]
    zone = ZoneInfo(tenant.time_zone)
    days = {(one["member_id"], one["time_start"].astimezone(zone).date()) for one in entries}
    hours = sum(one["actual_hours"] for one in entries)
    billable = sum(one["actual_hours"] for one in entries if one["billable_option"] == "Billable")
    assert 5 < hours / len(days) < 8
    assert 0.5 < billable / (8 * len(days)) < 0.75


def test_project_work_is_one_entry_of_a_customer_for_each_of_a_members_days(lake, tenant):
    work = [one for one in entries_of(lake, tenant) if one["charge_to_type"] == "ProjectTicket"]
    places = [(one["member_id"], one["entry_id"][-6:]) for one in work]
    assert len(set(places)) == len(places) > 0.2 * len(entries_of(lake, tenant))
    companies = lake.histories[tenant.tenant_id, "companies"]
    assert all(one["company_id"] in companies and one["ticket_id"] is None for one in work)
