"""The email as a mail server gets it."""

import re
from datetime import timedelta
from io import BytesIO

import pytest
from django.utils import timezone
from PIL import Image

from analytics.reports import mails
from analytics.reports.models import Delivery, Unsubscription
from analytics.reports.tests.conftest import OUTSIDE, states_of, work

pytestmark = pytest.mark.django_db


@pytest.fixture
def mail(mailbox, due):
    """The mail to the address outside."""
    work()
    [found] = mailbox.sent_to(OUTSIDE)
    return found


def part(mail, content_type):
    return next(each for each in mail.walk() if each.get_content_type() == content_type)


def logo():
    output = BytesIO()
    Image.new("RGB", (200, 50), "red").save(output, "PNG")
    return output.getvalue()


def test_headers(mail):
    assert re.fullmatch("Acme – Tickets – .+ – .+", mail["Subject"].strip())
    assert mail["From"] == "Acme <reports@avesa.example>"
    assert mail["To"] == OUTSIDE
    assert mail["Message-ID"] == Delivery.objects.get(address=OUTSIDE).message_id
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = r"<https://avesa\.example/r/[^/]+/unsubscribe/>"
    assert re.fullmatch(link, mail["List-Unsubscribe"].strip())


def test_pictures_stand_beside_the_html_and_files_beside_the_mail(mail):
    assert mail.get_content_type() == "multipart/mixed"
    alternative, pdf = mail.iter_parts()
    assert (pdf.get_content_type(), pdf.get_content_disposition()) == (
        "application/pdf",
        "attachment",
    )
    text, related = alternative.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert [each.get_content_type() for each in related.iter_parts()] == ["text/html", "image/png"]


def test_every_picture_is_there_and_has_a_text(mail):
    html = part(mail, "text/html").get_content()
    pictures = re.findall(r"<img[^>]*>", html)
    ids = {each["Content-ID"].strip("<>") for each in mail.walk() if each["Content-ID"]}
    assert {re.search(r'src="cid:([^"]+)"', each)[1] for each in pictures} == ids
    assert all(re.search(r'alt="[^"]{10,}"', each) for each in pictures)
    with Image.open(BytesIO(part(mail, "image/png").get_content())) as chart:
        assert chart.width == 2 * mails.CHART_WIDTH
        assert len(chart.convert("RGB").getcolors(100_000)) > 10, "the chart is blank"


def test_nothing_is_fetched_from_elsewhere(mail):
    html = part(mail, "text/html").get_content()
    fetched = re.findall(r"""(?:src|background)=["']([^"']*)|url\(([^)]*)\)|@import""", html)
    assert all(any(each.startswith("cid:") for each in found) for found in fetched)
    links = set(re.findall(r'href="([^"]+)"', html))
    assert links
    assert all(link.startswith("https://avesa.example/r/") for link in links)


def test_outlook_gets_tables_instead_of_what_it_cannot_do(mail):
    html = part(mail, "text/html").get_content()
    assert "<!--[if mso" in html
    for unknown_to_word in ("display:flex", "display:grid", "position:", "<svg", "data:"):
        assert unknown_to_word not in html


def test_the_text_stands_alone(mail):
    text = part(mail, "text/plain").get_content()
    for expected in ("Tickets opened: 3", "High: 1 (before: 0)", "As of ", "/unsubscribe/"):
        assert expected in text
    assert "<" not in text
    assert "cid:" not in text


def test_the_tenants_logo_and_color(mailbox, report, due):
    tenant = report.tenant
    tenant.logo, tenant.color = logo(), "#7a1fa2"
    tenant.save()
    work()
    mail = mailbox.sent_to(OUTSIDE)[0]
    html = part(mail, "text/html").get_content()
    assert "#7a1fa2" in html
    assert 'src="cid:logo@avesa"' in html
    assert 'alt="Acme"' in html


def test_a_whole_dashboard_with_all_attachments_is_below_a_megabyte(mailbox, report, due):
    report.dashboard, report.as_csv, report.as_xlsx = "service", True, True
    report.save()
    work()
    mail = mailbox.sent_to(OUTSIDE)[0]
    kinds = [each.get_content_type() for each in mail.iter_attachments()]
    assert kinds[-3:] == ["application/pdf", "text/csv", mails.XLSX]
    assert len(mail.as_bytes()) < 1_000_000


def test_attachments_that_are_too_large_are_omitted_with_a_note(mailbox, report, due, monkeypatch):
    monkeypatch.setattr(mails.documents, "pdf", lambda content, tenant: b"x" * 1_000_000)
    report.as_csv = True
    report.save()
    work()
    mail = mailbox.sent_to(OUTSIDE)[0]
    assert [each.get_content_type() for each in mail.iter_attachments()][-1] == "text/csv"
    assert "is too large to attach" in part(mail, "text/plain").get_content()
    assert len(mail.as_bytes()) < 1_000_000


# --- The links in the email


def path_of(mail, name):
    text = part(mail, "text/plain").get_content()
    return re.search(rf"https://avesa\.example(/r/\S+/{name})", text)[1]


def test_the_link_opens_exactly_this_report(mail, client):
    page = client.get(path_of(mail, "")).content.decode()
    assert "Tickets opened" in page
    assert Delivery.objects.get(address=OUTSIDE).occurrence.digest in page
    assert client.get(f"{path_of(mail, '')}report.pdf").content.startswith(b"%PDF")


def test_a_get_shows_a_button_and_a_post_unsubscribes(mail, client, report, mailbox):
    path = path_of(mail, "unsubscribe/")
    assert mail["List-Unsubscribe"].strip() == f"<https://avesa.example{path}>"
    assert "Unsubscribe?" in client.get(path).content.decode()
    assert not Unsubscription.objects.exists()
    answer = client.post(path, {"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    assert client.post(path, {"List-Unsubscribe": "One-Click"}).status_code == 200
    again = report.occurrences.create(due_at=report.created_at)
    work()
    assert states_of(again) == {OUTSIDE: "unsubscribed", "alice@example.com": "sent"}
    assert len(mailbox.sent_to(OUTSIDE)) == 1


def test_one_click_needs_no_cookie_and_no_token(mail, client):
    client.handler.enforce_csrf_checks = True
    path = path_of(mail, "unsubscribe/")
    assert client.post(path, {"List-Unsubscribe": "One-Click"}).status_code == 200
    assert client.post(path_of(mail, "preferences/"), {"none": "1"}).status_code == 403


def test_preferences_list_only_the_reports_that_a_reader_gets(mail, client, report, alice):
    other = type(report).objects.create(tenant=report.tenant, owner=alice, name="Only for alice")
    other.recipients.create(user=alice)
    path = path_of(mail, "preferences/")
    page = client.get(path).content.decode()
    assert "Tickets" in page
    assert "Only for alice" not in page
    client.post(path, {})
    assert Unsubscription.holds(report, OUTSIDE.upper())
    client.post(path, {"report": report.pk})
    assert not Unsubscription.holds(report, OUTSIDE)
    client.post(path, {"none": "1"})
    assert Unsubscription.holds(other, OUTSIDE)


@pytest.mark.parametrize("name", ["", "report.pdf", "unsubscribe/", "preferences/"])
def test_a_link_that_is_forged_or_revoked_is_not_found(mail, client, report, name):
    path = path_of(mail, "")
    key, _, rest = path.removeprefix("/r/").partition(":")
    assert client.get(f"/r/{int(key) + 1}:{rest}{name}").status_code == 404
    assert client.get(f"/r/x/{name}").status_code == 404
    assert client.get(f"{path}{name}").status_code == 200
    report.tenant.report_domains = ""
    report.tenant.save()
    assert client.get(f"{path}{name}").status_code == 404


def test_links_of_a_suspended_tenant_are_not_found(mail, client, report):
    report.tenant.is_active = False
    report.tenant.save()
    assert client.get(path_of(mail, "")).status_code == 404


@pytest.mark.parametrize("name", ["", "report.pdf", "preferences/"])
def test_links_expire(mail, client, settings, name):
    path = f"{path_of(mail, '')}{name}"
    settings.REPORT_LINK_DAYS = 30
    sent_at = timezone.now() - timedelta(days=29)
    Delivery.objects.update(handed_over_at=sent_at)
    assert client.get(path).status_code == 200
    Delivery.objects.update(handed_over_at=sent_at - timedelta(days=2))
    assert client.get(path).status_code == 404
    assert client.get(path_of(mail, "unsubscribe/")).status_code == 200


@pytest.mark.parametrize("name", ["", "report.pdf", "preferences/"])
def test_links_of_a_removed_report_do_not_open(mail, client, report, name):
    report.removed_at = timezone.now()
    report.save()
    assert client.get(f"{path_of(mail, '')}{name}").status_code == 404
    assert client.post(path_of(mail, "unsubscribe/")).status_code == 200


@pytest.mark.parametrize("name", ["", "report.pdf", "unsubscribe/", "preferences/"])
def test_links_are_never_sent_as_referrer(mail, client, name):
    assert client.get(f"{path_of(mail, '')}{name}")["Referrer-Policy"] == "no-referrer"
