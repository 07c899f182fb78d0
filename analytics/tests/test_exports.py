"""Downloads: complete, safe to open, and only for those who may see the page."""

import csv
import io
from datetime import timedelta
from decimal import Decimal

import openpyxl
import pytest
from django.utils import timezone

from analytics.charts import render
from analytics.tests.versions import at, company, ticket
from common import spreadsheets
from common.renderers import RenderingFailed
from tenants.models import Membership

FORMULAS = ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")']
FORMULAS += ["\n=1", "＝1+1", " =1", '"=1']


@pytest.fixture
def opened(client, alice, acme):
    client.force_login(alice)
    return lambda path, **query: client.get(f"/t/{acme.id}/{path}", query)


def read_csv(response):
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/csv")
    assert "attachment" in response["Content-Disposition"]
    return list(csv.reader(io.StringIO(response.getvalue().decode("utf-8-sig"), newline="")))


def read_xlsx(response, name=""):
    """The sheet, and its rows from the heading on."""
    assert response.status_code == 200
    if not hasattr(response, "book"):  # it can be read once
        response.book = openpyxl.load_workbook(io.BytesIO(response.getvalue()))
    book = response.book
    sheet = book[name] if name else book.active
    rows = [[cell.value for cell in row] for row in sheet.rows]
    return sheet, rows[spreadsheets.TITLE_ROWS :]


def test_no_cell_of_a_table_is_a_formula(opened, acme, put_rows):
    rows = [company(f"{n:02d}", name=text, city="ok") for n, text in enumerate(FORMULAS)]
    put_rows(acme, "companies", rows)
    wanted = {"columns": ["name", "city"], "sort": "company_id"}
    table = read_csv(opened("explore/companies.csv", **wanted))
    assert all(name.startswith("'") for name, _ in table[1:])
    assert [name.replace("'", "") for name, _ in table[1:]] == FORMULAS
    assert {city for _, city in table[1:]} == {"ok"}
    sheet, found = read_xlsx(opened("explore/companies.xlsx", **wanted))
    assert [row[0] for row in found[1:]] == [text.replace("\r", "_x000D_") for text in FORMULAS]
    first = spreadsheets.TITLE_ROWS + 1
    assert {cell.data_type for cell in list(sheet["A"])[first:]} == {"s"}
    assert all(cell.quotePrefix for cell in list(sheet["A"])[first:])
    assert not any(cell.quotePrefix for cell in sheet["B"])


def test_values_keep_their_types_and_instants_are_local(opened, acme, put_rows):
    row = company("1", name='a "quoted", \n text', annual_revenue=Decimal("-0.10"), is_active=True,
                  number_of_employees=-5, created_at=at("2026-07-01T03:30:00"))  # fmt: skip
    put_rows(acme, "companies", [row])
    columns = ["name", "annual_revenue", "is_active", "number_of_employees", "created_at", "city"]
    assert read_csv(opened("explore/companies.csv", columns=columns))[1] == [
        'a "quoted", \n text', "-0.1", "yes", "-5", "2026-06-30T23:30:00-04:00", "",
    ]  # fmt: skip
    _, table = read_xlsx(opened("explore/companies.xlsx", columns=columns))
    assert table[1][:4] == ['a "quoted", \n text', -0.1, True, -5]
    assert table[1][4].isoformat() == "2026-06-30T23:30:00"
    assert table[1][5] is None


def test_a_filtered_list_is_exported_completely(opened, acme, put_rows):
    put_rows(acme, "tickets", [ticket(f"{n:03d}", status="ab"[n % 2]) for n in range(400)])
    query = {"where": "status~is~a", "sort": "-ticket_id", "columns": ["ticket_id"]}
    table = read_csv(opened("explore/tickets.csv", **query))
    assert [row[0] for row in table[1:]] == [f"{n:03d}" for n in range(398, -1, -2)]


def test_a_figure_is_exported_over_time_and_broken_down(opened, acme, put_rows):
    day = timezone.now() - timedelta(days=1)
    rows = [ticket(f"{n}", created_date=day.isoformat(), type_name="=A") for n in range(3)]
    put_rows(acme, "tickets", rows)
    table = read_csv(opened("figures/tickets_by_category.csv", period="last-7-days", of="series"))
    assert table[0] == ["First day", "Last day", "Tickets by category (tickets)"]
    assert sum(int(row[2]) for row in table[1:]) == 3
    assert len(table) == 8
    file = opened("figures/tickets_by_category.xlsx", period="last-7-days")
    _, parts = read_xlsx(file, "By category")
    assert parts == [["Category", "Tickets by category (tickets)", "Previous period"], ["=A", 3, 0]]


@pytest.mark.parametrize("of", ["series", "parts"])
def test_a_figure_is_drawn_for_documents(opened, warehouse, acme, put_rows, of):
    put_rows(acme, "tickets", [ticket("1", created_date="2026-06-01", board_name="<b>")])
    png = opened("figures/backlog_by_board.png", of=of)
    assert png.content.startswith(b"\x89PNG")
    svg = opened("figures/backlog_by_board.svg", of=of)
    assert svg["Content-Type"] == "image/svg+xml"
    assert b"Open tickets by board" in svg.content
    assert b"<b>" not in svg.content


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_chart_that_cannot_be_drawn_is_an_error_with_its_reason(
    opened, warehouse, acme, monkeypatch, kind
):
    def crash(spec, title, source):
        raise RenderingFailed("The renderer crashed (SIGABRT).")

    monkeypatch.setattr(render, kind, crash)
    answer = opened(f"figures/backlog.{kind}")
    assert (answer.status_code, answer["Content-Type"]) == (503, "text/plain")
    assert answer.content == b"The renderer crashed (SIGABRT).\n"


@pytest.mark.parametrize(
    "path",
    [
        "explore/tickets.csv",
        "explore/tickets.xlsx",
        "figures/backlog.csv",
        "figures/backlog.png",
        "chart.png?metric=backlog",
    ],
)
def test_permission_is_checked_at_every_download(client, alice, opened, acme, warehouse, path):
    assert opened(path).getvalue()
    Membership.objects.filter(user=alice).delete()
    assert opened(path).status_code == 404
    client.logout()
    assert opened(path).status_code == 302


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("explore/tickets.exe", {}, 404),
        ("figures/backlog.exe", {}, 404),
        ("explore/tickets.csv", {"where": "nope~is~1"}, 400),
        ("figures/backlog.csv", {"start": "yesterday"}, 400),
        ("figures/backlog.csv", {"as_of": "x"}, 400),
    ],
)
def test_exports_that_are_not_possible_have_an_error(opened, warehouse, path, query, status):
    response = opened(path, **query)
    assert response.status_code == status
    assert "Content-Disposition" not in response


def test_a_sheet_that_would_be_too_long_is_refused(monkeypatch, acme):
    monkeypatch.setattr(spreadsheets, "MAX_SHEET_ROWS", 3)

    def of(rows):
        table = spreadsheets.Sheet("n", [spreadsheets.Column("n")], [[n] for n in range(rows)])
        return spreadsheets.xlsx_file([table], acme.zone)

    with of(3) as file:
        assert file.read(2) == b"PK"
    with pytest.raises(spreadsheets.TooManyRows, match="CSV"):
        of(4)


def test_a_workbook_has_named_sheets_with_types_and_what_it_covers(opened, acme, put_rows):
    rows = [
        ticket("1", created_date="2026-06-01T12:00:00", closed_date="2026-06-01T13:00:00",
               company_id="1", company_name="Möller", priority="High"),
        ticket("2", created_date="2026-06-02T12:00:00", closed_date="2026-06-04T13:00:00",
               company_id="1", company_name="Möller", priority="High"),
    ]  # fmt: skip
    put_rows(acme, "tickets", rows)
    scope = {"start": "2026-06-01", "end": "2026-06-30", "priority": "High"}
    file = opened("figures/same_day_rate.xlsx", by="priority", **scope)
    sheet, total = read_xlsx(file, "Total")
    assert sheet["A1"].value == "Closed on the same day"
    for text in ("Acme", "Jun 1, 2026 – Jun 30, 2026", "Priority: High", "as of", "no data loaded"):
        assert text in sheet["A2"].value
    assert total[1][2] == 0.5
    assert sheet["C5"].number_format == "0.0%"
    sheet, days = read_xlsx(file, "By day")
    assert (days[1][0].isoformat(), days[1][2]) == ("2026-06-01T00:00:00", 1)
    assert sheet["A5"].number_format == "yyyy-mm-dd"
    _, parts = read_xlsx(file, "By priority")
    assert parts[1][:2] == ["High", 0.5]


def test_a_list_in_a_workbook_shows_what_it_covers(opened, acme, put_rows):
    put_rows(acme, "companies", [company("1", name="Möller", annual_revenue=Decimal("1200.5"))])
    query = {"where": "name~is~Möller", "q": "mö", "columns": ["name", "annual_revenue"]}
    sheet, rows = read_xlsx(opened("explore/companies.xlsx", **query))
    assert (sheet.title, sheet["A1"].value) == ("Companies", "Companies")
    for text in ("Acme", "Name is Möller", "search: mö", "as of", "no data loaded"):
        assert text in sheet["A2"].value
    assert rows == [["name", "annual_revenue"], ["Möller", 1200.5]]
    assert sheet["B5"].number_format == "#,##0.00"


@pytest.mark.parametrize("kind", ["png", "svg", "csv", "xlsx"])
def test_what_a_tile_shows_is_downloaded(opened, acme, put_rows, kind):
    put_rows(acme, "tickets", [ticket("1", created_date="2026-06-01", priority="High")])
    scope = {"start": "2026-06-01", "end": "2026-06-30"}
    both = opened(f"chart.{kind}", metric=["tickets_opened", "tickets_closed"], **scope)
    part = opened(f"chart.{kind}", metric="backlog_by_priority", of="parts", by="priority", **scope)
    assert both.status_code == part.status_code == 200
    if kind == "svg":
        assert "Tickets opened and Tickets closed" in both.content.decode()
        assert "AVESA · Acme · Jun 1, 2026 – Jun 30, 2026" in part.content.decode()
    if kind == "csv":
        assert len(read_csv(both)[0]) == 4
        assert read_csv(part)[1][0] == "High"
    if kind == "xlsx":
        assert len(read_xlsx(both, "Total")[1]) == 3
        assert read_xlsx(part, "By priority")[1][1][0] == "High"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 404),
        ({"metric": "nope"}, 404),
        ({"metric": ["backlog", "tickets_opened", "tickets_closed"]}, 400),
        ({"metric": ["backlog", "tickets_opened"], "of": "parts"}, 400),
        ({"metric": "backlog", "of": "parts", "by": "nope"}, 400),
        ({"metric": "backlog", "start": "x"}, 400),
    ],
)
def test_charts_that_do_not_exist_have_an_error(opened, warehouse, query, status):
    assert opened("chart.png", **query).status_code == status


def test_csv_is_sent_row_by_row(acme):
    rows = iter([["a"], ["b"]])
    lines = spreadsheets.csv_lines(["x"], rows, acme.zone)
    assert next(lines) == b"\xef\xbb\xbfx\r\n"
    assert next(lines) == b"a\r\n"
    assert next(rows) == ["b"], "nothing is read ahead"
