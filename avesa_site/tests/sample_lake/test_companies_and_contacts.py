"""Companies and contacts: which belong together, and how both change."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest

from avesa_site.demo.sample_lake.companies import size_category

pytestmark = pytest.mark.slow


def test_a_company_is_active_exactly_when_its_status_is(lake):
    for history in lake.everywhere("companies"):
        assert all(row["is_active"] == (row["status"] == "Active") for row in history)


def test_prospects_become_customers_and_customers_leave(lake):
    steps = Counter(
        (a["status"], b["status"])
        for history in lake.everywhere("companies")
        for a, b in pairwise(history)
        if a["status"] != b["status"]
    )
    assert steps["Prospect", "Active"] > 0
    assert steps["Active", "Inactive"] > 0
    assert steps["Active", "Prospect"] == 0


def test_sizes_and_revenue_grow_and_shrink_over_several_versions(lake):
    changes = [
        (b["number_of_employees"] - a["number_of_employees"], b["annual_revenue"])
        for history in lake.everywhere("companies")
        for a, b in pairwise(history)
        if a["number_of_employees"] and b["number_of_employees"]
    ]
    assert sum(change > 0 for change, _ in changes) > len(changes) / 4
    assert sum(change < 0 for change, _ in changes) > len(changes) / 20
    histories = list(lake.everywhere("companies"))
    assert sum(len(history) for history in histories) > 3 * len(histories)


def test_the_size_category_follows_the_number_of_employees(lake):
    for history in lake.everywhere("companies"):
        for row in history:
            assert row["size_category"] == size_category(row["number_of_employees"])


def test_identifiers_and_domains_are_unique_and_reserved(lake, tenant):
    companies = lake.current[tenant.tenant_id, "companies"].values()
    identifiers = [row["company_identifier"] for row in companies]
    assert len(set(identifiers)) == len(identifiers)
    assert all(row["domain"] is None or row["domain"].endswith(".example") for row in companies)


def test_created_at_never_changes(lake):
    for table in ("companies", "contacts"):
        for history in lake.everywhere(table):
            assert len({row["created_at"] for row in history}) == 1
            assert history[0]["created_at"] <= history[0]["updated_at"]


def test_every_contact_belongs_to_a_company_that_was_there_first(lake, tenant):
    companies = lake.histories[tenant.tenant_id, "companies"]
    for contact in lake.current[tenant.tenant_id, "contacts"].values():
        company = companies[contact["company_id"]]
        assert company[0]["created_at"] <= contact["created_at"]
        assert contact["company_name"] in {row["name"] for row in company}


def test_every_company_has_a_contact_unless_it_was_created_in_the_last_days(lake, tenant):
    employers = {row["company_id"] for row in lake.current[tenant.tenant_id, "contacts"].values()}
    companies = lake.current[tenant.tenant_id, "companies"].values()
    newest = max(row["updated_at"] for row in companies)
    for company in companies:
        settled = company["created_at"] < newest - timedelta(days=10)
        assert company["company_id"] in employers or not settled


def test_some_contacts_leave_and_do_not_return(lake):
    histories = [[row["is_active"] for row in one] for one in lake.everywhere("contacts")]
    left = [one for one in histories if not one[-1]]
    assert 0.05 < len(left) / len(histories) < 0.45
    assert all(all(one[:-1]) for one in histories)
