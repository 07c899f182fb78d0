"""The query door: several metrics by dimensions and over time, as JSON and CSV."""

import csv
import io

import pytest

from analytics.api import query as door
from analytics.metrics import DIMENSIONS, METRICS
from analytics.metrics import query as layer
from analytics.tests.versions import at, company, log_load, ticket, version
from analytics.warehouse.errors import QueryTimeout
from analytics.warehouse.tenant_reader import TenantReader
from tenants.models import ApiToken

JUNE = {"start": "2026-06-01", "end": "2026-06-10"}
MINUTES = {"High": [0, 10, 60], "Low": [20, 30], "Medium": [240], None: [1]}


@pytest.fixture
def filled(acme, put_rows, warehouse):
    """Tickets of June 2 to 4 and of the period before; each was answered after some minutes."""
    put_rows(acme, "companies", [company("1", name="=Acme", is_active=True), company("2", name="")])
    tickets = []
    for priority, answers in MINUTES.items():
        for number, minutes in enumerate(answers):
            opened = f"2026-06-0{number + 2}T12:00:00"
            answered = f"2026-06-0{number + 2}T{12 + minutes // 60}:{minutes % 60:02d}:00"
            tickets.append(
                ticket(
                    f"{priority}{number}",
                    created_date=opened,
                    first_response_date=at(answered),
                    priority=priority,
                    company_id=f"{number + 1}",
                    board_name="Help",
                )
            )
    tickets.append(ticket("old", created_date="2026-05-25T12:00:00", priority="Low"))
    put_rows(acme, "tickets", tickets)
    for table in ("companies", "tickets", "time_entries"):
        log_load(warehouse, acme, table)


@pytest.fixture
def ask(client, acme, filled):
    headers = {"Authorization": f"Bearer {ApiToken.issue(acme, 'test')[1]}"}

    def send(path="query", **parameters):
        return client.get(f"/api/v1/tenants/{acme.id}/{path}", parameters, headers=headers)

    return send


@pytest.fixture
def answer(ask):
    def found(path="query", **parameters):
        response = ask(path, **parameters)
        assert response.status_code == 200, response.content
        return response.json()

    return found


def figures(rows, name):
    return [(*row["labels"], row["figures"][name]) for row in rows]


# --- Rows


def test_metrics_without_a_dimension_are_one_row(answer):
    found = answer(metric=["tickets_opened", "first_response_median"], **JUNE)
    expected = {"tickets_opened": 7.0, "first_response_median": 0.33}
    assert [row["figures"] for row in found["rows"]] == [expected]
    assert found["total"]["figures"] == expected
    assert (found["other"], found["others"], found["buckets"]) == (None, 0, [])
    assert (found["rows"][0]["previous"], found["rows"][0]["series"]) == (None, None)
    assert found["period"] == {"first_day": "2026-06-01", "last_day": "2026-06-10"}
    assert found["previous_period"] == {"first_day": "2026-05-22", "last_day": "2026-05-31"}
    assert [each["title"] for each in found["metrics"]] == [
        "Tickets opened",
        METRICS["first_response_median"].title,
    ]
    assert {each["table"] for each in found["freshness"]} == {"tickets"}


def test_metrics_of_several_sources_share_rows(answer, acme, put_rows):
    worked = version("2026-06-01", entry_id="1", company_id="9", company_name="Nine",
                     time_start=at("2026-06-05"), actual_hours=2)  # fmt: skip
    put_rows(acme, "time_entries", [worked])
    found = answer(metric=["tickets_opened", "hours_worked"], by="company", **JUNE)
    rows = {row["values"][0]: row for row in found["rows"]}
    assert rows["1"]["labels"] == ["=Acme"]
    assert rows["1"]["figures"] == {"tickets_opened": 4.0, "hours_worked": 0.0}
    assert rows["9"]["labels"] == ["Nine"]
    assert rows["9"]["figures"] == {"tickets_opened": 0.0, "hours_worked": 2.0}


def test_rows_beyond_the_limit_are_one_row(answer):
    found = answer(
        metric=["tickets_opened", "first_response_median"], by="priority", limit=1,
        compare="before", **JUNE,
    )  # fmt: skip
    (high,) = found["rows"]
    assert high["figures"] == {"tickets_opened": 3.0, "first_response_median": 0.17}
    assert high["previous"] == {"tickets_opened": 0.0, "first_response_median": None}
    other = found["other"]
    assert (other["values"], other["labels"], found["others"]) == ([], ["Other"], 3)
    # The median of 1, 20, 30 and 240 minutes, which no median of a priority shows.
    assert other["figures"] == {"tickets_opened": 4.0, "first_response_median": 0.33}
    assert other["previous"] == {"tickets_opened": 1.0, "first_response_median": None}


def test_other_keeps_to_the_filters(answer):
    query = {"metric": "first_response_median", "by": "priority", "limit": 1, "sort": "label"}
    found = answer(**query, **{"priority!": "Low"}, **JUNE)
    assert figures(found["rows"], "first_response_median") == [("High", 0.17)]
    # The median of 1 and 240 minutes.
    assert figures([found["other"]], "first_response_median") == [("Other", 0.02)]
    assert found["filters"] == {"priority!": ["Low"]}


def test_medians_of_other_rows_are_unknown_by_two_dimensions(answer):
    found = answer(
        metric=["first_response_median", "tickets_opened"], by=["priority", "board"], limit=1,
        **JUNE,
    )  # fmt: skip
    assert found["other"]["figures"] == {"first_response_median": None, "tickets_opened": 6.0}
    assert found["others"] == 3


def test_an_answer_after_no_time_counts(answer):
    """A median of zero is a figure, not a missing one."""
    found = answer(metric="first_response_median", by="priority", company="1", **JUNE)
    assert ("High", 0.0) in figures(found["rows"], "first_response_median")


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", ["High", "Low", "Medium", ""]),
        ("tickets_opened", ["Medium", "", "Low", "High"]),
        ("-first_response_median", ["Medium", "Low", "High", ""]),
        ("label", ["High", "Low", "Medium", ""]),
        ("-label", ["", "Medium", "Low", "High"]),
    ],
)
def test_rows_are_ordered_by_any_metric_or_by_label(answer, sort, expected):
    metrics = ["tickets_opened", "first_response_median"]
    found = answer(metric=metrics, by="priority", sort=sort, **JUNE)
    assert [row["labels"][0] for row in found["rows"]] == expected


def test_rows_without_the_figure_come_last(answer):
    for sort in ("first_response_median", "-first_response_median"):
        query = {"metric": ["tickets_opened", "first_response_median"], "by": "board"}
        found = answer(**query, sort=sort, start="2026-05-20", end="2026-06-10")
        expected = [("Help", 0.33), ("", None)]
        assert figures(found["rows"], "first_response_median") == expected


def test_rows_of_the_period_before_are_for_comparison(answer):
    query = {"metric": "tickets_opened", "by": "board", **JUNE}
    assert figures(answer(**query)["rows"], "tickets_opened") == [("Help", 7)]
    compared = answer(**query, compare="before")["rows"]
    assert figures(compared, "tickets_opened") == [("Help", 7), ("", 0)]
    assert [row["previous"]["tickets_opened"] for row in compared] == [0, 1]
    a_year_before = answer(**query | {"start": "2027-05-25", "end": "2027-06-03"}, compare="year")
    assert a_year_before["previous_period"] == {"first_day": "2026-05-25", "last_day": "2026-06-03"}
    assert [row["previous"]["tickets_opened"] for row in a_year_before["rows"]] == [6, 1]


def test_a_dimension_with_an_order_keeps_it(answer):
    found = answer(metric="tickets_opened", by="weekday", limit=3, **JUNE)
    assert figures(found["rows"], "tickets_opened") == [
        ("Monday", 0.0), ("Tuesday", 4.0), ("Wednesday", 2.0)
    ]  # fmt: skip
    assert found["other"]["figures"] == {"tickets_opened": 1.0}
    descending = answer(metric="tickets_opened", by="weekday", sort="-label", **JUNE)
    assert descending["rows"][0]["labels"] == ["Sunday"]


def test_filters_take_several_values_and_exclude(answer):
    count = {"metric": "tickets_opened", **JUNE}
    for filters, expected in (
        ({"priority": ["High", "Low"]}, 5),
        ({"priority!": ["High", "Low"]}, 2),
        ({"priority": "~"}, 1),
        ({"priority!": "~", "company": "1"}, 3),
        ({"weekday": "2"}, 4),
    ):
        assert answer(**count, **filters)["total"]["figures"] == {"tickets_opened": expected}


# --- Over time


def test_a_series_for_each_value(answer):
    found = answer(metric="tickets_opened", by="priority", buckets="day", limit=2, **JUNE)
    assert len(found["buckets"]) == 10
    days = {row["labels"][0]: row["series"]["tickets_opened"][1:5] for row in found["rows"]}
    assert days == {"High": [1, 1, 1, 0], "Low": [1, 1, 0, 0]}
    assert found["other"]["series"]["tickets_opened"][1:5] == [2, 0, 0, 0]
    assert found["total"]["series"]["tickets_opened"][1:5] == [4, 2, 1, 0]


def test_series_come_from_the_cache_the_second_time(answer, monkeypatch):
    query = {"metric": ["tickets_opened", "backlog"], "by": "priority", "buckets": "day", **JUNE}
    found = answer(**query, limit=2)
    monkeypatch.setattr("analytics.metrics.run.TenantReader", None)
    again = answer(**query, limit=2)
    assert (again["rows"], again["other"]) == (found["rows"], found["other"])


def test_a_thousand_rows_over_time(answer, acme, put_rows):
    many = [
        ticket(f"{n}", created_date="2026-06-02", team_name=f"{n:04d} " + "x" * 150)
        for n in range(1_003)
    ]
    put_rows(acme, "tickets", many)
    query = {"metric": ["tickets_opened", "first_response_median"], "by": "team"}
    days = {"start": "2026-06-01", "end": "2026-06-05"}
    found = answer(**query, **days, buckets="day", limit=1_000, sort="-label", **{"team!": "~"})
    assert (len(found["rows"]), found["others"]) == (1_000, 3)
    assert all(sum(row["series"]["tickets_opened"]) == 1 for row in found["rows"])
    assert sum(found["other"]["series"]["tickets_opened"]) == 3


def test_medians_and_states_over_time(answer):
    found = answer(
        metric=["first_response_median", "backlog"], by="priority", buckets="auto", limit=1,
        sort="-backlog", **JUNE,
    )  # fmt: skip
    (high,) = found["rows"]
    assert high["series"]["first_response_median"][:5] == [None, 0.0, 0.17, 1.0, None]
    assert high["series"]["backlog"][:5] == [3, 3, 3, 3, 3]
    assert found["other"]["series"]["first_response_median"][:4] == [None, 0.33, 0.5, None]
    assert found["other"]["series"]["backlog"][0] == 5


@pytest.mark.parametrize(("unit", "count"), [("day", 62), ("week", 10), ("month", 2), ("auto", 10)])
def test_buckets_of_any_unit(answer, unit, count):
    query = {
        "metric": "tickets_opened",
        "buckets": unit,
        "start": "2026-05-01",
        "end": "2026-07-01",
    }
    found = answer(**query)
    assert len(found["buckets"]) == (3 if unit == "month" else count)
    assert sum(found["total"]["series"]["tickets_opened"]) == 8
    assert found["rows"][0]["series"] == found["total"]["series"]


def test_what_was_open_only_for_some_days_is_among_the_others(answer, acme, put_rows):
    closed = ticket("1", "2026-06-03", created_date="2026-06-03", closed_date="2026-06-06",
                    team_name="A")  # fmt: skip
    put_rows(acme, "tickets", [
        ticket("1", "2026-06-03", "2026-06-06", created_date="2026-06-03", team_name="A"),
        closed | {"effective_date": at("2026-06-06")},
    ])  # fmt: skip
    found = answer(metric="backlog", by="team", buckets="day", team="A", **JUNE)
    assert (found["rows"], found["others"]) == ([], 0)
    assert found["other"]["series"]["backlog"] == [0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert found["other"]["series"] == found["total"]["series"]


def test_nothing_to_show_over_time(answer):
    found = answer(
        metric="tickets_opened", by="team", buckets="auto", start="2020-01-01", end="2020-01-02"
    )
    assert (found["rows"], found["other"]) == ([], None)


def test_a_query_can_be_asked_as_of_a_date(answer, acme, put_rows):
    changed = [
        ticket("1", "2026-06-05", "2026-06-08", created_date="2026-06-05", team_name="A"),
        ticket("1", "2026-06-08", created_date="2026-06-05", team_name="B"),
    ]
    put_rows(acme, "tickets", changed)
    query = {"metric": "tickets_opened", "by": "team", "team!": "~", "buckets": "day", **JUNE}
    assert [row["values"] for row in answer(**query)["rows"]] == [["B"]]
    then = answer(**query, as_of="2026-06-06")
    assert [row["values"] for row in then["rows"]] == [["A"]]
    assert len(then["buckets"]) == 6


# --- CSV


def read_csv(response):
    assert response.status_code == 200, response.content
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in response["Content-Disposition"]
    return list(csv.reader(io.StringIO(response.getvalue().decode("utf-8-sig"), newline="")))


def test_csv_has_a_line_for_each_row(ask):
    query = {"metric": ["tickets_opened", "first_response_median"], "by": "company", "limit": 1}
    assert read_csv(ask(**query, **JUNE, format="csv", compare="before")) == [
        ["company", "company_label", "tickets_opened", "first_response_median",
         "tickets_opened_previous", "first_response_median_previous"],
        ["1", "'=Acme", "4", "0.02", "0", ""],
        ["", "Other", "3", "0.50", "1", ""],
    ]  # fmt: skip


def test_csv_over_time_has_a_line_for_each_bucket(ask):
    query = {"metric": "tickets_opened", "by": "priority", "buckets": "week", "limit": 1}
    assert read_csv(ask(**query, **JUNE, format="csv")) == [
        ["priority", "priority_label", "first_day", "last_day", "tickets_opened"],
        ["High", "High", "2026-06-01", "2026-06-07", "3"],
        ["High", "High", "2026-06-08", "2026-06-10", "0"],
        ["", "Other", "2026-06-01", "2026-06-07", "4"],
        ["", "Other", "2026-06-08", "2026-06-10", "0"],
    ]


# --- What would be valid


@pytest.mark.parametrize(
    ("query", "field", "valid"),
    [
        ({"metric": []}, "metric", "required"),
        ({"metric": ""}, "metric", "Use one of tickets_opened, "),
        ({"metric": "tickets"}, "metric", "Use one of tickets_opened, "),
        ({"metric": list(METRICS)[:11]}, "metric", "at most 10"),
        ({"by": "age"}, "by", "Use one of company, contact, board"),
        ({"by": "nope"}, "by", "Use one of company, contact, board"),
        ({"metric": ["backlog", "hours_worked"], "by": "board"}, "by", "Use one of company, tech"),
        ({"metric": ["utilization", "companies_new"], "by": "company"}, "by", "share none"),
        ({"by": ["board", "team", "type"]}, "by", "at most 2"),
        ({"by": ["board", "board"]}, "by", "at most 2"),
        ({"by": ["board", "team"], "buckets": "auto"}, "by", "at most one"),
        ({"age": "Under 1 day"}, "age", "Use one of company, contact, board"),
        ({"work_type!": "x"}, "work_type!", "Use one of company, contact, board"),
        ({"prioritty": "High"}, "prioritty", "Use one of period, start, end, as_of, compare"),
        ({"priority": "x" * 301}, "priority", "not a valid value"),
        ({"priority": [f"{n}" for n in range(101)]}, "priority", "at most 100"),
        ({"sort": "backlog"}, "sort", "Use one of label, tickets_opened"),
        ({"limit": 0}, "limit", "from 1 to 1,000"),
        ({"limit": 1001}, "limit", "from 1 to 1,000"),
        ({"limit": 501, "buckets": "day"}, "limit", "from 1 to 500 with 10 buckets"),
        ({"limit": "many"}, "limit", "integer"),
        ({"buckets": "hour"}, "buckets", "Use one of auto, day, week, month"),
        ({"buckets": "day", "start": "2024-06-01"}, "buckets", "Use at most 400: week or month"),
        ({"buckets": "day", "compare": "before"}, "compare", "without buckets"),
        ({"compare": "maybe"}, "compare", "Use before or year"),
        ({"format": "xlsx"}, "format", "Use one of json, csv"),
        ({"start": "2020-01-01"}, "start", "at most 1,096 days"),
        ({"start": "", "end": "", "period": "nope"}, "period", "Use one of yesterday"),
        ({"as_of": "yesterday"}, "as_of", "such as 2026-03-31"),
    ],
    ids=str,
)
def test_errors_name_the_field_and_what_would_be_valid(ask, query, field, valid):
    response = ask(**{"metric": "tickets_opened", **JUNE, **query})
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")
    (error,) = response.json()["errors"]
    assert error["field"] == field
    assert valid in error["message"]


def test_too_many_combinations_are_refused(ask, monkeypatch):
    monkeypatch.setattr("analytics.metrics.answers.MAX_GROUPS", 3)
    response = ask(metric="tickets_opened", by=["company", "priority"], **JUNE)
    assert response.status_code == 400
    (error,) = response.json()["errors"]
    assert error["field"] == "by"
    assert "Tickets opened by company and priority may have more than" in error["message"]


def test_a_query_that_takes_too_long_has_a_clear_error(ask, monkeypatch):
    def slow(*args):
        raise QueryTimeout("a secret")

    monkeypatch.setattr(TenantReader, "select", slow)
    response = ask(metric="tickets_opened", **JUNE)
    assert response.status_code == 503
    assert "Choose a shorter period" in response.json()["detail"]


def test_the_document_names_metrics_dimensions_and_limits(client, db):
    document = client.get("/api/openapi.json").json()
    operation = document["paths"]["/api/v1/tenants/{tenant_id}/query"]["get"]
    parameters = {each["name"]: each for each in operation["parameters"]}
    assert parameters["metric"]["schema"]["items"]["enum"] == list(METRICS)
    assert parameters["by"]["schema"]["items"]["enum"] == list(DIMENSIONS)
    assert {"priority", "priority!"} <= set(parameters)
    written = {name: f"{each}" for name, each in parameters.items()}
    assert f"1 to {layer.MAX_METRICS} metrics" in written["metric"]
    assert "10,000 combinations" in written["by"]
    assert f"{layer.MAX_ROWS:,}" in written["limit"]
    assert f"{layer.MAX_CELLS:,} buckets" in written["limit"]
    assert f"At most {layer.MAX_BUCKETS} buckets" in written["buckets"]
    assert "1,096 days" in written["start"]
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/csv"}
    assert set(door.QueryIn.model_json_schema()["required"]) == {"metric"}


# --- Dimensions


def test_dimensions_are_listed_with_their_metrics(answer):
    listed = answer("dimensions")
    assert [each["name"] for each in listed] == list(DIMENSIONS)
    (age,) = (each for each in listed if each["name"] == "age")
    assert age["is_fixed"]
    assert "backlog" in age["metrics"]
    assert "tickets_opened" not in age["metrics"]


def test_values_of_a_dimension_most_used_first(answer):
    found = answer("dimensions/priority")
    assert [(each["value"], each["records"]) for each in found] == [
        ("High", 3), ("Low", 3), ("", 1), ("Medium", 1)
    ]  # fmt: skip
    assert {each["value"]: each["filter"] for each in found}[""] == "~"
    assert [each["value"] for each in answer("dimensions/priority", limit=1)] == ["High"]
    assert [each["value"] for each in answer("dimensions/priority", q="MED")] == ["Medium"]
    assert answer("dimensions/priority", as_of="2025-01-01") == []


def test_companies_are_found_by_their_names(answer):
    found = answer("dimensions/company", q="acme")
    assert [(each["value"], each["label"]) for each in found] == [("1", "=Acme")]
    assert found[0]["records"] == 5  # four tickets and the company itself
    assert answer("dimensions/company", q="2")[0]["label"] == "2"


def test_values_of_a_fixed_list_keep_their_order(answer):
    found = answer("dimensions/weekday", q="s")
    assert [each["label"] for each in found] == [
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Saturday",
        "Sunday",
    ]
    assert found[0]["filter"] == "2"
    assert found[0]["records"] is None


@pytest.mark.parametrize("name", DIMENSIONS)
def test_every_dimension_has_values(answer, name):
    assert isinstance(answer(f"dimensions/{name}"), list)


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("dimensions/nope", {}, 404),
        ("dimensions/board", {"limit": 1001}, 400),
        ("dimensions/board", {"q": "x" * 301}, 400),
        ("dimensions/board", {"as_of": "x"}, 400),
    ],
)
def test_wrong_requests_for_values(ask, path, query, status):
    assert ask(path, **query).status_code == status
