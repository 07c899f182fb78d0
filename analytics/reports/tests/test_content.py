"""The content of a report, and that it never changes."""

import csv
import io
import json
import re
from datetime import datetime, timedelta

import openpyxl
import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone
from pypdf import PdfReader

from analytics.reports import documents, mails, sheets
from analytics.reports.content import Content, compose, data_problems, scoped_tiles
from analytics.reports.models import Report
from analytics.reports.views import stored_content
from analytics.tests.versions import log_load, ticket
from tenants.models import Alert

pytestmark = pytest.mark.django_db


def composed(report, **options):
    now = timezone.now()
    return compose(report, scoped_tiles(report), now, now, **options)


def text_of(pdf):
    return " ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)


def test_figures_trends_and_breakdowns(report):
    figure, chart, parts = composed(report).tiles
    assert (figure.title, figure.figure, figure.change) == ("Tickets opened", "3", "previously 0")
    assert (chart.title, chart.heading[1:]) == (
        "Tickets opened and closed",
        ["Tickets opened", "Tickets closed"],
    )
    assert ["3", "0"] in [row[1:] for row in chart.rows]
    assert chart.alt.startswith("Tickets opened: 3 over the period, lowest 0 (")
    assert parts.rows == [["High", "1", "0"], ["Low", "1", "0"]]


def test_a_dashboard_with_period_and_filters(report):
    report.dashboard, report.filters = "overview", {"company": "1", "priority": "Low"}
    content = composed(report)
    opened = next(tile for tile in content.tiles if tile.title == "Tickets opened")
    assert (opened.figure, opened.filters) == ("2", "Company: Müller & <Sons> · Priority: Low")
    companies = next(tile for tile in content.tiles if tile.title == "Active companies")
    assert companies.notes == ["Active companies: not filtered by priority."]


def test_a_tile_may_have_a_period_and_a_filter_of_its_own(report):
    report.tiles.create(
        position=3,
        type="figure",
        metrics=["tickets_opened"],
        period="last-12-months",
        filters={"priority": "High"},
    )
    content = composed(report)
    own = content.tiles[-1]
    assert own.figure == "1"
    assert documents.aside(own, content) == f"{own.period} · Priority: High"


def test_it_survives_json_unchanged(report):
    content = composed(report, notices=["Café"])
    again = Content.from_json(json.loads(json.dumps(content.to_json())))
    assert again == content
    assert again.digest == content.digest


def test_what_was_sent_opens_again_with_the_same_figures(report, due, put_rows, warehouse):
    """Even when a late file changes the figures of that time."""
    content = composed(report)
    due.content, due.digest, due.as_of = content.to_json(), content.digest, content.as_of
    due.save()
    pdf = documents.pdf(content, report.tenant)
    late = (timezone.now() - timedelta(days=1)).isoformat()
    put_rows(report.tenant, "tickets", [ticket("9", late, created_date=late)])
    log_load(warehouse, report.tenant, "tickets", 13, timezone.now().isoformat())
    assert composed(report).tiles[0].figure == "4"
    due.refresh_from_db()
    assert stored_content(due).tiles[0].figure == "3"
    assert documents.pdf(stored_content(due), report.tenant) == pdf


def test_content_that_was_changed_is_refused(report, due):
    content = composed(report)
    due.content, due.digest = content.to_json(), content.digest
    due.content["tiles"][0]["figure"] = "300"
    with pytest.raises(PermissionDenied):
        stored_content(due)


def test_the_document_has_everything_and_numbers_its_pages(report):
    content = composed(report, notices=["Please note: old."])
    pdf = documents.pdf(content, report.tenant)
    text = text_of(pdf)
    for expected in ("Acme", "Tickets opened and closed", "Please note: old.", "Page 1 of"):
        assert expected in text
    assert content.digest in text.replace("\n", "")
    assert "As of" in text
    assert b"/Image" not in pdf.replace(b"/ImageB", b"").replace(b"/ImageC", b"")


def test_a_table_repeats_its_heading_on_every_page(report, put_rows):
    since = (timezone.now() - timedelta(days=1)).isoformat()
    rows = [
        ticket(f"p{n}", since, created_date=since, company_id=f"{n}", company_name=f"Company {n}")
        for n in range(100)
    ]
    put_rows(report.tenant, "tickets", rows)
    report.tiles.all().delete()
    report.tiles.create(position=0, type="parts", metrics=["tickets_by_company"])
    pages = PdfReader(io.BytesIO(documents.pdf(composed(report), report.tenant))).pages
    with_rows = [text for page in pages if re.search(r"Company \d", text := page.extract_text())]
    assert len(with_rows) >= 2
    assert all("Previous period" in text for text in with_rows)


def test_sheets_have_exact_values(report):
    content = composed(report)
    rows = list(csv.DictReader(io.StringIO(sheets.csv(content).decode("utf-8-sig"))))
    total = next(row for row in rows if row["Tile"] == "Tickets opened")
    assert (total["Value"], total["Previous period"], total["Unit"]) == ("3", "0", "tickets")
    trend = [row for row in rows if row["Tile"] == "Tickets opened and closed"]
    assert sum(int(row["Value"]) for row in trend if row["Figure"] == "Tickets opened") == 3
    book = openpyxl.load_workbook(io.BytesIO(sheets.xlsx(content)))
    assert book.sheetnames[0] == "Total"
    total = {row[0]: row[4:6] for row in book["Total"].iter_rows(min_row=5, values_only=True)}
    assert total["Tickets opened"] == (3, 0)
    assert "Acme" in book["Total"]["A2"].value
    trend = book["Tickets opened and closed"]
    rows = list(trend.iter_rows(min_row=5, values_only=True))
    assert sum(row[2] for row in rows) == 3
    assert isinstance(rows[0][0], datetime)


def test_names_from_data_cannot_break_mail_or_document(report):
    report.name = 'A "quoted" <b>&amp;</b> #strong[name] $x$ \\ {{ report }}'
    report.tiles.create(position=3, type="parts", metrics=["tickets_by_company"])
    content = composed(report)
    text, html = mails.rendered(
        mails.composed_mail(report, content),
        mails.Links("https://a/?x=1&y=2", "https://u", "https://p"),
    )
    assert "&lt;b&gt;&amp;amp;&lt;/b&gt;" in html
    assert "Müller &amp; &lt;Sons&gt;" in html
    assert "Müller & <Sons>" in text
    assert report.name in text
    assert "#strong[name] $x$" in text_of(documents.pdf(content, report.tenant))


@pytest.mark.parametrize("character", ["\0", "\x01", "\x1f", "\ufffe"])
def test_control_characters_break_neither_mail_nor_document(report, due, put_rows, character):
    """In names from people, and in rows that were stored before loads replaced such characters."""
    since = (timezone.now() - timedelta(days=1)).isoformat()
    name = f"Bell{character}Inc."
    named = ticket("8", since, created_date=since, company_id="8", company_name=name)
    put_rows(report.tenant, "tickets", [named])
    report.name, report.tenant.name = f"Tick{character}ets", f"Ac{character}me"
    report.tiles.create(position=3, type="parts", metrics=["tickets_by_company"])
    content = composed(report)
    due.content, due.digest = json.loads(json.dumps(content.to_json())), content.digest
    due.save()  # PostgreSQL stores no NUL in JSON
    due.refresh_from_db()
    stored = stored_content(due)
    mail = mails.composed_mail(report, stored)
    text, html = mails.rendered(mail, mails.Links("https://a", "https://u", "https://p"))
    document = text_of(documents.pdf(stored, report.tenant))
    for made in (text, html, document):
        assert "Bell\ufffdInc." in made
    assert mails.subject_of(content).startswith("Ac\ufffdme – Tick\ufffdets – ")
    assert sheets.xlsx(stored).startswith(b"PK")


# --- Problems with the data


def test_fresh_and_correct_data_has_no_problems(report):
    assert data_problems(report, scoped_tiles(report), timezone.now()) == []


def test_old_data_is_reported_with_its_age(report):
    later = timezone.now() + timedelta(hours=30)
    [old] = data_problems(report, scoped_tiles(report), later)
    assert old == "The newest data for tickets is 30 hours old (limit: 26 hours)."


def test_data_that_was_never_loaded(globex, warehouse):
    report = Report(tenant=globex, dashboard="customers")
    problems = data_problems(report, scoped_tiles(report), timezone.now())
    assert "Companies have never been loaded." in problems


def test_a_failed_load_is_reported(report):
    Alert.objects.create(tenant=report.tenant, kind="load", subject="tickets")
    [problem] = data_problems(report, scoped_tiles(report), timezone.now())
    assert problem == "The last load of tickets failed: newer data may be missing."


def test_history_errors_are_reported_until_they_are_fixed(report):
    fault = Alert.objects.create(tenant=report.tenant, kind="integrity", subject="tickets")
    [problem] = data_problems(report, scoped_tiles(report), timezone.now())
    assert problem == "The last check of tickets found errors that are not fixed yet."
    fault.over_at = timezone.now()
    fault.save()
    assert data_problems(report, scoped_tiles(report), timezone.now()) == []
