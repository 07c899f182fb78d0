"""Lists of records: every order, page by page; searches, conditions and drill-downs."""

import base64
import json
import re
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.metrics import METRICS, run_metric
from analytics.metrics.dimensions import NOT_GIVEN
from analytics.periods import Period
from analytics.records import listing
from analytics.tests.versions import at, company, exported, log_load, ticket, version
from analytics.warehouse.catalog import COMPANIES, TABLES, TICKETS, TIME_ENTRIES
from tenants.models import SlaTarget, Tenant


@pytest.fixture
def put(put_rows, acme):
    return lambda table, *rows: put_rows(acme, table, list(rows))


def keys(tenant, table=COMPANIES, **wanted):
    found = listing.page(tenant, listing.listing(table, **wanted))
    return [row[table.key] for row in found.rows]


def walk(tenant, table, size, **wanted):
    """The keys of all pages, page after page."""
    after, found = "", []
    for _ in range(50):
        page = listing.page(tenant, listing.listing(table, after=after, size=size, **wanted))
        found += [row[table.key] for row in page.rows]
        after = page.next
        if not after:
            return found
    raise AssertionError("it never ends")


# --- Pages


INSTANTS = [at("2026-01-01T00:00:00.001"), at("1999-12-31")]
values = {
    "name": st.one_of(st.none(), st.sampled_from(["", "a", "Á", "b'c", "\\", "\t", "日本"])),
    "number_of_employees": st.one_of(st.none(), st.integers(-3, 3)),
    "annual_revenue": st.one_of(st.none(), st.decimals(-2, 2, places=2)),
    "is_active": st.one_of(st.none(), st.booleans()),
    "updated_at": st.one_of(
        st.none(), st.sampled_from([at("2026-01-01T00:00:00.001"), at("1999-12-31")])
    ),
}
_scenarios = iter(range(10**9))


@pytest.mark.slow
@settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    column=st.sampled_from(list(values)),
    descending=st.booleans(),
    size=st.integers(1, 4),
    data=st.data(),
)
def test_pages_hold_every_record_once_and_in_order(
    warehouse, put_rows, column, descending, size, data
):
    tenant = Tenant(id=f"pages-{next(_scenarios)}", name="p", time_zone="UTC")
    contents = data.draw(st.lists(values[column], max_size=8))
    rows = [company(f"k{number}", **{column: value}) for number, value in enumerate(contents)]
    if rows:
        put_rows(tenant, "companies", rows)
    sort = f"-{column}" if descending else column
    found = walk(tenant, COMPANIES, size, sort=sort)
    assert sorted(found) == sorted(row["company_id"] for row in rows)
    by_key = {row["company_id"]: row[column] for row in rows}
    known = [by_key[key] for key in found if by_key[key] is not None]
    compared = [value.encode() if isinstance(value, str) else value for value in known]
    assert compared == sorted(compared, reverse=descending)
    assert [by_key[key] for key in found[len(known) :]] == [None] * (len(found) - len(known))


def test_rows_that_arrive_between_pages_neither_repeat_nor_hide_others(put, acme):
    put("companies", *(company(f"{n}", name=f"{n}") for n in "bdfh"))
    first = listing.page(acme, listing.listing(COMPANIES, size=2))
    put("companies", company("a", name="a"), company("g", name="g"))
    rest = listing.page(acme, listing.listing(COMPANIES, size=9, after=first.next))
    assert [row["company_id"] for row in rest.rows] == ["f", "g", "h"]
    assert rest.next == ""


@pytest.mark.parametrize(
    "after",
    ["x", "=", "W10", "bnVsbA", "WyJuYW1lIiwxLCJhIl0", "WyItbmFtZSIsImEiLCJhIl0", "[" * 9000],
)
def test_a_cursor_that_was_tampered_with_is_refused(warehouse, acme, after):
    with pytest.raises(listing.ListingError, match="after"):
        listing.page(acme, listing.listing(COMPANIES, sort="name", after=after))


@pytest.mark.parametrize("value", ["1; DROP TABLE", "NaN", "1e400", "Infinity", "9" * 30])
def test_a_cursor_must_fit_its_column(warehouse, acme, value):
    row = {"company_id": "1", "number_of_employees": value}
    wanted = listing.listing(COMPANIES, sort="number_of_employees")
    with pytest.raises(listing.ListingError, match="after"):
        listing.page(
            acme,
            listing.listing(
                COMPANIES, sort="number_of_employees", after=listing.cursor(wanted, row)
            ),
        )


def made_up(*parts):
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    content = text.encode(errors="surrogatepass")
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@pytest.mark.parametrize(
    ("sort", "value"),
    [
        ("name", "ü"),
        ("number_of_employees", "-5"),
        ("annual_revenue", "1000000.05"),
        ("updated_at", "2026-01-01 00:00:00.000"),
        ("is_active", "True"),
        ("company_id", None),
        ("-name", None),
    ],
)
def test_cursors_that_we_could_have_written_are_accepted(warehouse, acme, sort, value):
    wanted = listing.listing(COMPANIES, sort=sort, after=made_up(sort, value, "1"))
    assert listing.page(acme, wanted).rows == []


MADE_UP = {
    "number_of_employees": ["1e400", "1_000", "٣", "+1", " 1", "1.0", "9" * 19, "9" * 5000, "-0x1"],
    "annual_revenue": ["1e400", "1_000", "٣", "NaN", "Infinity", "1" * 17, "1.005", ".5", "1e3"],
    "updated_at": [
        *("2026-1-1", "2026-01-01", "2026-01-01 00:00:00", "٢٠٢٦-01-01 00:00:00.000"),
        *("0001-01-01 00:00:00.000", "9999-12-31 00:00:00.000", "2026-02-30 00:00:00.000"),
        *("2026-01-01 24:00:00.000", "NaN"),
    ],
    "is_active": ["true", "1", "yes", ""],
    "name": ["x" * 101, 1, 1e400, [], {"a": 1}, "\ud800"],
    "company_id": ["x", ""],
}


@pytest.mark.parametrize(("sort", "value"), [(s, v) for s, vs in MADE_UP.items() for v in vs])
def test_made_up_cursors_are_refused_on_the_page_and_in_the_api(
    client, alice, acme, warehouse, sort, value
):
    client.force_login(alice)
    query = {"sort": sort, "after": made_up(sort, value, "1")}
    shown = client.get(f"/t/{acme.id}/explore/companies/", query)
    assert shown.status_code == 400
    assert "This page does not exist" in shown.content.decode()
    answer = client.get(f"/api/v1/tenants/{acme.id}/tables/companies", query)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "after"


@pytest.mark.parametrize("key", [1, None, "~!", "~.YQ", "\ud800", ["a"]])
def test_a_made_up_key_in_a_cursor_is_refused(warehouse, acme, key):
    with pytest.raises(listing.ListingError, match="after"):
        listing.page(acme, listing.listing(COMPANIES, sort="name", after=made_up("name", "a", key)))


LONG = ["x" * 16_000, "日" * 16_000, "\U0001f600" * 9_000, "\n\t\x01" * 99]


@pytest.mark.parametrize("text", LONG, ids=["letters", "kanji", "emoji", "control"])
@pytest.mark.parametrize("sort", ["name", "-name", "company_id", "-company_id"])
def test_long_texts_are_listed_page_by_page_with_short_links(client, alice, acme, put, text, sort):
    put("companies", *(company(f"{text}{n}", name=f"{text}{n % 3}") for n in range(53)))
    client.force_login(alice)
    url = f"/t/{acme.id}/explore/companies/"
    first = client.get(url, {"sort": sort, "columns": "company_id"}).content.decode()
    link = re.search(r'href="(\?[^"]*after=[^"]*)"', first)[1]
    assert len(link) < 1000
    rest = client.get(url + link.replace("&amp;", "&")).content.decode()
    assert rest.count("<td>") == 3
    found = walk(acme, COMPANIES, 10, sort=sort)
    assert len(set(found)) == len(found) == 53


def test_a_cursor_of_a_long_text_is_short(put, acme):
    put("companies", *(company(f"{n}", name="x" * 16_000) for n in range(2)))
    after = listing.page(acme, listing.listing(COMPANIES, size=1)).next
    assert len(after) < 200


@pytest.mark.parametrize("value", ["\0", "\x01", "\\", "'", "{x:String}"])
def test_a_cursor_may_hold_any_text(put, acme, value):
    put("companies", company("1", name=value), company(f"2{value}", name=value))
    assert walk(acme, COMPANIES, 1) == ["1", f"2{value}"]
    assert walk(acme, COMPANIES, 1, sort="company_id") == ["1", f"2{value}"]


# --- Searches and conditions


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("name~is~Alpha", ["1"]),
        ("name~not~Alpha", ["2", "3"]),
        ("name~has~LPH", ["1"]),
        ("name~empty~", ["3"]),
        ("name~filled~", ["1", "2"]),
        ("number_of_employees~min~10", ["2"]),
        ("number_of_employees~max~10", ["1", "2"]),
        ("number_of_employees~is~ 10 ", ["2"]),
        ("annual_revenue~is~0.1", ["1"]),
        ("annual_revenue~max~1,000", ["1"]),
        ("is_active~is~yes", ["1"]),
        ("is_active~not~yes", ["2", "3"]),
        ("created_at~is~2026-03-01", ["1"]),  # New York's day
        ("created_at~not~2026-03-01", ["2", "3"]),
        ("created_at~min~2026-03-02", ["2"]),
        ("created_at~max~2026-03-01", ["1"]),
        ("name~is~' OR 1=1 --", []),
        ("name~has~%", []),
    ],
)
def test_conditions(put, acme, where, expected):
    put(
        "companies",
        company("1", name="Alpha", number_of_employees=9, annual_revenue=Decimal("0.10"),
                is_active=True, created_at=at("2026-03-02T04:59:59.999")),
        company("2", name="beta", number_of_employees=10, is_active=False,
                created_at=at("2026-03-02T05:00:00")),
        company("3", name=""),
    )  # fmt: skip
    assert keys(acme, where=[where], sort="company_id") == expected
    assert listing.count(acme, listing.listing(COMPANIES, where=[where])) == len(expected)


def test_conditions_and_search_are_combined(put, acme):
    put(
        "companies",
        company("1", name="Müller & Söhne", city="Köln"),
        company("2", name="Möller", city="Bonn"),
        company("Ü-3", name=None),
    )
    assert keys(acme, search="SÖHNE") == ["1"]
    assert keys(acme, search="ü-3") == ["Ü-3"]
    assert keys(acme, search="ller", where=["city~is~Bonn"]) == ["2"]
    assert keys(acme, search="ller", where=["city~is~Bonn", "city~is~Köln"]) == []


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"where": ["nope~is~1"]}, "where"),
        ({"where": ["tenant_id~is~globex"]}, "where"),
        ({"where": ["name~like~1"]}, "where"),
        ({"where": ["number_of_employees~min~many"]}, "where"),
        ({"where": ["number_of_employees~min~1e999"]}, "where"),
        ({"where": ["is_active~is~perhaps"]}, "where"),
        ({"where": ["created_at~is~31.12.2026"]}, "where"),
        ({"where": ["name~is~x"] * 11}, "where"),
        ({"where": ["name~is~" + "x" * 201]}, "where"),
        ({"sort": "tenant_id"}, "sort"),
        ({"sort": "name; DROP"}, "sort"),
        ({"columns": ["name`, tenant_id"]}, "columns"),
        ({"search": "x" * 201}, "q"),
        ({"search": "\0"}, "q"),
    ],
)
def test_invalid_requests_name_their_field(warehouse, acme, wanted, field):
    with pytest.raises(listing.ListingError) as refused:
        listing.page(acme, listing.listing(COMPANIES, **wanted))
    assert refused.value.field == field


def test_records_are_as_of_the_given_moment(put, acme):
    put(
        "companies",
        company("1", "2026-01-01", "2026-02-01", name="old"),
        company("1", "2026-02-01", name="new"),
        company("2", "2026-02-01", name="later"),
        company("3", "2026-01-01", "2026-03-01", name="gone") | {"is_current": False},
    )
    assert keys(acme, sort="company_id") == ["1", "2"]
    assert keys(acme, sort="company_id", as_of=at("2026-01-15")) == ["1", "3"]
    assert keys(acme, as_of=at("2026-01-15"), where=["name~is~old"]) == ["1"]


def test_only_the_tenants_records_are_listed(put, put_rows, acme, globex):
    put("companies", company("mine"))
    put_rows(globex, "companies", [company("theirs")])
    assert keys(acme) == ["mine"]
    wanted = listing.listing(COMPANIES, columns=["company_id"])
    assert exported(acme, wanted) == [["mine"]]


# --- Drill-downs: the records that a figure counts

JUNE = (date(2026, 6, 1), date(2026, 7, 1))


@pytest.fixture
def june(acme):
    return Period(*JUNE, acme.zone)


def counted_in(tenant, name, period, as_of=None, **more):
    table = TABLES[METRICS[name].tables[0]]
    of = listing.DrillDown(METRICS[name], period, **more)
    return sorted(keys(tenant, table, drill_down=of, as_of=as_of))


def test_a_drill_down_lists_the_records_that_a_figure_counts(put, acme, june):
    put(
        "tickets",
        ticket("in", created_date="2026-06-30", priority="High", board_name="x"),
        ticket("in too", created_date="2026-06-01T04:00:00", priority="Low", board_name="x"),
        ticket("before", created_date="2026-06-01T03:59:59"),
        ticket("after", created_date="2026-07-01T04:00:00"),
    )
    assert counted_in(acme, "tickets_opened", june) == ["in", "in too"]
    assert counted_in(acme, "tickets_opened", june, filters={"board": "y"}) == []
    assert counted_in(acme, "tickets_by_category", june, filters={"category": NOT_GIVEN}) == [
        "in",
        "in too",
    ]
    assert run_metric(acme, "tickets_opened", june).figure == 2


def test_a_drill_down_into_a_state_shows_records_as_of_that_time(put, acme, june):
    put(
        "tickets",
        ticket("1", "2026-06-01", "2026-07-15", status="Open", priority="Low"),
        ticket("1", "2026-07-15", status="Closed", closed_date="2026-07-15", priority="High"),
        ticket("2", "2026-06-01", status="Open", priority="High"),
    )
    assert counted_in(acme, "backlog", june) == ["1", "2"]
    assert counted_in(acme, "backlog_by_priority", june, filters={"priority": "Low"}) == ["1"]
    of = listing.DrillDown(METRICS["backlog"], june)
    rows = listing.page(acme, listing.listing(TICKETS, drill_down=of)).rows
    assert {row["status"] for row in rows} == {"Open"}


def test_a_drill_down_includes_records_that_no_longer_exist(put, acme, june):
    gone = company("1", "2026-01-01", "2026-06-05", is_active=True, name="Gone")
    put("companies", gone | {"is_current": False})
    assert counted_in(acme, "companies_lost", june) == ["1"]


def test_rows_without_a_record_are_not_listed(put, acme, june):
    put(
        "time_entries",
        version("2026-01-01", entry_id="e", time_start=at("2026-06-02"), member_id="1"),
    )
    assert counted_in(acme, "utilization", june) == ["e"]


def test_a_figure_has_no_records_in_another_table(warehouse, acme, june):
    of = listing.DrillDown(METRICS["backlog"], june)
    with pytest.raises(listing.ListingError, match="metric"):
        listing.page(acme, listing.listing(TIME_ENTRIES, drill_down=of))


def test_sources_list_files_and_loads(put, acme):
    def from_file(key, name, load_id):
        file = f"lake/{acme.id}/canonical/companies/{name}"
        return company(key, source_file=file, load_id=load_id, loaded_at=at("2026-06-01"))

    put("companies", from_file("1", "a", 1), from_file("2", "a", 1), from_file("3", "b", 2))
    found = listing.sources(acme, listing.listing(COMPANIES))
    assert [(each["file"], each["load_id"], each["records"]) for each in found] == [
        ("companies/a", 1, 2),
        ("companies/b", 2, 1),
    ]


# --- The page


def test_the_page_lists_filters_sorts_and_paginates(client, alice, acme, put, warehouse):
    put(
        "tickets", *(ticket(f"{n:03d}", ticket_number=f"#{n:03d}", status="New") for n in range(60))
    )
    log_load(warehouse, acme, "tickets")
    client.force_login(alice)
    url = f"/t/{acme.id}/explore/tickets/"
    text = client.get(url, {"sort": "ticket_id"}).content.decode()
    assert "60 records" in text
    assert text.count(">#0") == 50
    assert 'aria-sort="ascending"' not in text, "the column is not shown"
    after = text.split("after=")[1].split('"')[0]
    rest = client.get(f"{url}?sort=ticket_id&after={after}").content.decode()
    assert rest.count(">#0") == 10
    assert "First page" in rest
    added = {"column": "ticket_number", "operator": "has", "value": "#00", "where": "status~is~New"}
    text = client.get(url, added).content.decode()
    assert "10 records" in text
    assert "where=status~is~New" in text
    text = client.get(url, {"columns": ["status", "summary"]}).content.decode()
    assert ">#0" not in text
    wrong = client.get(url, {"where": "status~like~x"})
    assert wrong.status_code == 400
    assert "Use one of is, not" in wrong.content.decode()


def test_an_empty_list_has_an_explanation(client, alice, acme, warehouse):
    client.force_login(alice)
    assert "first load" in client.get(f"/t/{acme.id}/explore/contacts/").content.decode()
    searched = client.get(f"/t/{acme.id}/explore/contacts/?q=x").content.decode()
    assert "No records match" in searched


def test_a_label_that_is_too_long_for_an_address_has_no_link(client, alice, acme, put, warehouse):
    put("tickets", *(ticket(f"{n}", created_date="2026-06-01", type_name=text)
                     for n, text in enumerate(["short", "x" * 9_000])))  # fmt: skip
    log_load(warehouse, acme, "tickets")
    client.force_login(alice)
    query = {"start": "2026-06-01", "end": "2026-06-02"}
    text = client.get(f"/t/{acme.id}/figures/tickets_by_category/", query).content.decode()
    assert "category=short" in text
    assert "x" * 9_000 in text
    assert max(map(len, re.findall(r'href="([^"]*)"', text))) < 4_000


# --- What a metric shows of each record


@pytest.fixture
def judged(put, acme):
    """Tickets with a target of 1 hour for the response and 4 for the resolution, one for each way
    to meet or miss it."""
    SlaTarget.objects.create(tenant=acme, priority="P1", response_hours=1, resolution_hours=4)
    opened = "2026-06-10T08:00:00"

    def closed(key, response, resolution, **more):
        return ticket(
            key,
            created_date=opened,
            first_response_date=at(f"2026-06-10T{response}"),
            closed_date=f"2026-06-10T{resolution}",
            priority="P1",
            company_id="7",
            **more,
        )

    put(
        "tickets",
        closed("met", "08:30:00", "11:00:00"),
        closed("late answer", "10:00:00", "11:00:00"),
        closed("late", "08:30:00", "18:00:00"),
        ticket("no target", created_date=opened, closed_date="2026-06-10T09:00:00", priority="P9"),
    )


def test_records_carry_what_the_metric_says_of_each(judged, acme, june):
    of = listing.DrillDown(METRICS["sla_met"], june)
    rows = listing.page(acme, listing.listing(TICKETS, drill_down=of, sort="-over_target")).rows
    hour = 3_600_000
    assert [
        (
            row["ticket_id"],
            row["verdict"],
            row["response_time"],
            row["response_target"],
            row["resolution_time"],
            row["over_target"],
        )
        for row in rows
    ] == [
        ("late", False, hour // 2, hour, 10 * hour, 6 * hour),
        ("late answer", False, 2 * hour, hour, 3 * hour, hour),
        ("met", True, hour // 2, hour, 3 * hour, 0),
    ]


@pytest.mark.parametrize(
    ("verdict", "expected"), [(True, ["met"]), (False, ["late", "late answer"])]
)
def test_records_are_limited_to_the_misses(judged, acme, june, verdict, expected):
    assert counted_in(acme, "sla_met", june, verdict=verdict) == expected
    assert counted_in(acme, "sla_met", june, verdict=verdict, filters={"company": "8"}) == []


def test_a_metric_without_a_verdict_has_no_misses(warehouse, acme, june):
    with pytest.raises(listing.ListingError, match="verdict"):
        counted_in(acme, "tickets_opened", june, verdict=False)


@pytest.mark.parametrize("name", METRICS)
def test_the_details_of_every_metric_can_be_listed_and_sorted_by(judged, acme, june, name):
    of = listing.DrillDown(METRICS[name], june)
    table = TABLES[METRICS[name].tables[0]]
    for column in (None, *of.columns):
        sort = f"-{column.name}" if column else ""
        wanted = listing.listing(table, drill_down=of, sort=sort, size=1)
        found = listing.page(acme, wanted)
        assert set(found.rows[0]) >= {each.name for each in of.columns} if found.rows else True
        if found.next:
            listing.page(acme, replace(wanted, after=found.next))


def test_pages_and_files_tell_misses_in_words(client, alice, acme, judged, warehouse):
    log_load(warehouse, acme, "tickets")
    client.force_login(alice)
    query = "metric=sla_met&start=2026-06-01&end=2026-06-30&verdict=no&sort=-over_target"
    text = client.get(f"/t/{acme.id}/explore/tickets/?{query}&company=7").content.decode()
    assert text.count(">Missed</td>") == 2
    assert ">6.0 h</td>" in text
    assert ">Met</td>" not in text
    assert "Company: <b>7</b>" in text
    file = b"".join(client.get(f"/t/{acme.id}/explore/tickets.csv?{query}").streaming_content)
    heading, first, *_ = file.decode("utf-8-sig").splitlines()
    assert heading.startswith(
        "ticket_number,summary,response_time_hours,response_target_hours,resolution_time_hours,"
        "resolution_target_hours,over_target_hours,verdict,status"
    )
    assert first.startswith(",,0.5,1,10,4,6,no,")


def test_only_filters_that_the_metric_has_are_shown_as_such(client, alice, acme, judged, warehouse):
    log_load(warehouse, acme, "tickets")
    client.force_login(alice)
    query = "metric=sla_met&start=2026-06-01&end=2026-06-30&priority=P1&agreement=Gold"
    text = client.get(f"/t/{acme.id}/explore/tickets/?{query}").content.decode()
    assert "Priority: <b>P1</b>" in text
    assert "Agreement: " not in text
    assert "Not filtered by agreement" in text
