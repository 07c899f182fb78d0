"""Large downloads: made once by a worker, for one member only, whatever dies in between."""

import csv
import io
import smtplib
from datetime import timedelta

import openpyxl
import pytest
from django.conf import settings as configured
from django.core import mail
from django.core.files.base import ContentFile
from django.utils import timezone

from analytics.downloads import jobs, tasks
from analytics.downloads.models import Download
from analytics.tests.versions import ticket
from analytics.warehouse.exports import ExportStopped
from analytics.warehouse.tenant_reader import TenantReader
from common.spreadsheets import Column, Sheet
from common.tests.queues import lose, make_due
from tenants.models import Membership

ROWS = 6


@pytest.fixture(autouse=True)
def _small(settings, tmp_path, sent_tasks):
    settings.DOWNLOAD_JOB_ROWS = 5
    settings.SITE_URL = "https://avesa.example"
    settings.STORAGES = configured.STORAGES | {
        "downloads": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path)},
        }
    }


@pytest.fixture
def filled(acme, globex, put_rows):
    """Each tenant has its tickets; the other's are canaries."""
    put_rows(acme, "tickets", [ticket(f"mine-{n}", status="ab"[n % 2]) for n in range(ROWS)])
    put_rows(globex, "tickets", [ticket(f"theirs-{n}") for n in range(ROWS)])


@pytest.fixture
def as_bob(client, bob):
    client.force_login(bob)
    return client


def path(tenant, end=""):
    return f"/t/{tenant.id}/downloads/{end}"


def ordered(client, tenant, kind="csv", **query):
    answer = client.post(path(tenant, f"new/tickets.{kind}"), query_params=query)
    assert answer.status_code == 302
    return Download.objects.latest("pk")


def content_of(client, tenant, download):
    return client.get(path(tenant, f"{download.pk}/file"))


@pytest.mark.usefixtures("filled")
def test_a_long_list_is_prepared_by_a_worker_and_only_has_ones_own_rows(
    as_bob, acme, sent_tasks, mailoutbox
):
    asked = as_bob.get(f"/t/{acme.id}/explore/tickets.csv", {"sort": "ticket_id"})
    assert "Content-Disposition" not in asked
    assert "6 rows" in asked.content.decode()
    download = ordered(as_bob, acme, sort="ticket_id", columns="ticket_id")
    assert ordered(as_bob, acme, sort="ticket_id", columns="ticket_id") == download
    assert content_of(as_bob, acme, download).status_code == 404, "not ready yet"
    assert tasks.run_download(download.pk) == "ready"
    assert tasks.run_download(download.pk) == "", "a message may arrive twice"
    file = content_of(as_bob, acme, download)
    assert "attachment" in file["Content-Disposition"]
    rows = list(csv.reader(io.StringIO(file.getvalue().decode("utf-8-sig"))))
    assert rows == [["ticket_id"], *([f"mine-{n}"] for n in range(ROWS))]
    page = as_bob.get(path(acme)).content.decode()
    assert f"/downloads/{download.pk}/file" in page
    assert "data-open" not in page


@pytest.mark.usefixtures("filled")
def test_a_workbook_keeps_types_and_shows_what_it_covers(as_bob, acme):
    download = ordered(as_bob, acme, "xlsx", where="status~is~a", columns=["ticket_id", "status"])
    tasks.run_download(download.pk)
    book = openpyxl.load_workbook(io.BytesIO(content_of(as_bob, acme, download).getvalue()))
    assert "Status is a" in book["Tickets"]["A2"].value
    assert len(list(book["Tickets"].iter_rows(min_row=5))) == ROWS / 2


@pytest.mark.usefixtures("filled")
def test_a_short_list_is_sent_at_once(as_bob, acme, settings):
    settings.DOWNLOAD_JOB_ROWS = ROWS
    answer = as_bob.get(f"/t/{acme.id}/explore/tickets.csv")
    assert "attachment" in answer["Content-Disposition"]
    assert len(answer.getvalue().splitlines()) == ROWS + 1


@pytest.mark.usefixtures("filled")
def test_one_mail_with_a_link_and_no_file(as_bob, acme, bob, mailoutbox):
    download = ordered(as_bob, acme)
    tasks.run_download(download.pk)
    assert [tasks.mail_download(download.pk) for _ in range(2)] == [True, False]
    assert tasks.sweep_downloads() == 0
    (sent,) = mailoutbox
    assert (sent.to, sent.attachments) == ([bob.email], [])
    assert f"https://avesa.example{path(acme)}" in sent.body
    assert "is ready" in sent.subject


@pytest.mark.usefixtures("filled")
def test_a_worker_that_dies_is_followed_by_another(as_bob, acme, sent_tasks, monkeypatch):
    download = ordered(as_bob, acme)
    with monkeypatch.context() as broken:
        broken.setattr(jobs, "_store", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            jobs.run(download.pk)
    assert tasks.run_download(download.pk) == "", "its lease still holds"
    lose(Download)
    sent_tasks.clear()
    assert tasks.sweep_downloads() == 1
    assert tasks.run_download(download.pk) == "ready"
    download.refresh_from_db()
    assert download.claims == 2
    assert len(content_of(as_bob, acme, download).getvalue().splitlines()) == ROWS + 1


@pytest.mark.usefixtures("filled")
def test_a_worker_that_was_given_up_leaves_no_second_file(as_bob, acme, monkeypatch, tmp_path):
    download = ordered(as_bob, acme)
    store = jobs._store

    def too_late(slow, file):
        monkeypatch.setattr(jobs, "_store", store)
        lose(Download)
        assert jobs.run(slow.pk) == "ready"
        return store(slow, file)

    monkeypatch.setattr(jobs, "_store", too_late)
    assert jobs.run(download.pk) == ""
    assert len([each for each in tmp_path.rglob("*") if each.is_file()]) == 1


@pytest.mark.usefixtures("filled")
def test_a_worker_that_dies_each_time_ends_in_words(as_bob, acme):
    download = ordered(as_bob, acme)
    for _ in range(Download.RETRY.attempts):
        assert jobs._claim(download.pk) is not None
        lose(Download)
    assert tasks.run_download(download.pk) == "failed"
    assert "Ask for it again" in as_bob.get(path(acme)).content.decode()


@pytest.mark.usefixtures("filled")
def test_only_so_many_run_at_once(as_bob, acme):
    first, second = ordered(as_bob, acme), ordered(as_bob, acme, q="mine")
    assert jobs._claim(first.pk) is not None
    assert tasks.run_download(second.pk) == ""
    lose(Download)
    assert tasks.run_download(first.pk) == "ready"
    assert tasks.run_download(second.pk) == "ready"


@pytest.mark.usefixtures("filled")
def test_a_user_has_a_few_open_ones(as_bob, acme):
    for number in range(jobs.MAX_OPEN):
        ordered(as_bob, acme, q=f"mine-{number}")
    page = as_bob.post(path(acme, "new/tickets.csv"), query_params={"q": "more"}, follow=True)
    assert "Wait for one, or cancel it." in page.content.decode()
    assert Download.objects.count() == jobs.MAX_OPEN


@pytest.mark.usefixtures("filled")
def test_a_canceled_one_is_not_made(as_bob, acme):
    download = ordered(as_bob, acme)
    claimed = jobs._claim(download.pk)
    as_bob.post(path(acme, f"{download.pk}/cancel/"))
    assert not claimed.beat(progress=1), "its worker stops"
    lose(Download)
    assert tasks.run_download(download.pk) == ""
    download.refresh_from_db()
    assert download.state == "canceled"


def test_an_export_stops_when_its_job_is_canceled(acme, warehouse, monkeypatch):
    monkeypatch.setattr("analytics.warehouse.exports.WATCH_SECONDS", 0.01)
    seen = []

    def watch(rows):
        seen.append(rows)
        return False

    endless = "SELECT number FROM numbers(1000000000)"
    with pytest.raises(ExportStopped):
        TenantReader(acme).table_file(endless, {}, Sheet("n", [Column("n")], ()), "csv", watch)
    assert seen


# --- Whose file it is


@pytest.mark.usefixtures("filled")
def test_only_the_one_who_asked_can_open_it_while_a_member(client, as_bob, acme, alice, charlie):
    download = ordered(as_bob, acme)
    tasks.run_download(download.pk)
    assert content_of(as_bob, acme, download).getvalue()
    for other in (alice, charlie):
        client.force_login(other)
        assert content_of(client, acme, download).status_code == 404
        assert client.post(path(acme, f"{download.pk}/cancel/")).status_code == 404
    theirs = charlie.memberships.get().tenant
    assert content_of(client, theirs, download).status_code == 404
    client.force_login(download.user)
    Membership.objects.filter(user=download.user).delete()
    assert content_of(client, acme, download).status_code == 404
    client.logout()
    assert content_of(client, acme, download).status_code == 302


@pytest.mark.usefixtures("filled")
def test_nothing_is_made_or_mailed_for_a_former_member(as_bob, acme, bob, mailoutbox):
    first, second = ordered(as_bob, acme), ordered(as_bob, acme, q="mine")
    tasks.run_download(first.pk)
    Membership.objects.filter(user=bob).delete()
    assert tasks.run_download(second.pk) == "failed"
    for each in (first, second):
        assert not tasks.mail_download(each.pk)
    assert mailoutbox == []


@pytest.mark.parametrize("end", ["", "1/file", "1/cancel/", "new/tickets.csv"])
def test_no_page_is_for_outsiders(client, acme, charlie, warehouse, end):
    assert client.get(path(acme, end)).status_code in (302, 405)
    client.force_login(charlie)
    assert client.get(path(acme, end)).status_code in (404, 405)
    assert client.post(path(acme, end)).status_code in (404, 405)
    assert not Download.objects.exists()


@pytest.mark.parametrize(
    ("end", "query", "status"),
    [
        ("new/tickets.exe", {}, 404),
        ("new/nope.csv", {}, 404),
        ("new/tickets.csv", {"where": "nope~is~1"}, 400),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(as_bob, acme, warehouse, end, query, status):
    assert as_bob.post(path(acme, end), query_params=query).status_code == status
    assert not Download.objects.exists()


# --- Mail and end


@pytest.fixture
def ready(as_bob, acme, filled):
    download = ordered(as_bob, acme)
    tasks.run_download(download.pk)
    return download


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (smtplib.SMTPResponseException(451, b"later"), True),
        (smtplib.SMTPResponseException(550, b"no"), False),
        (smtplib.SMTPServerDisconnected("gone"), False),
        (TimeoutError(), False),
    ],
)
def test_a_mail_is_tried_again_only_if_it_certainly_did_not_go_out(
    ready, mailoutbox, monkeypatch, error, again
):
    def fail(*_):
        raise error

    with monkeypatch.context() as broken:
        broken.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", fail)
        assert not tasks.mail_download(ready.pk)
    make_due(Download)
    assert tasks.mail_download(ready.pk) is again
    assert len(mail.outbox) == again


def test_a_mail_that_was_handed_over_is_never_sent_again(ready, mailoutbox):
    Download.objects.update(handed_over_at=timezone.now(), claimed_at=timezone.now())
    lose(Download)
    assert tasks.sweep_downloads() == 0
    assert not tasks.mail_download(ready.pk)
    assert mailoutbox == []


def test_old_files_and_lost_ones_are_deleted(ready, as_bob, acme, settings, tmp_path):
    lost = jobs.storage().save(f"{acme.id}/99999-1.csv", ContentFile(b"x"))
    now = timezone.now()
    assert jobs.purge(now) == 0, "a worker may be about to record it"
    assert jobs.purge(now + timedelta(hours=2)) == 1
    assert not jobs.storage().exists(lost)
    Download.objects.update(ended_at=now - timedelta(days=settings.DOWNLOAD_DAYS, minutes=1))
    assert content_of(as_bob, acme, ready).status_code == 404
    assert jobs.purge(now + timedelta(hours=2)) == 1
    assert not Download.objects.exists()
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []
