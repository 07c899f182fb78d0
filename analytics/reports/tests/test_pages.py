"""Composing and managing reports in the portal, and the permissions for it."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import get_resolver
from django.utils import timezone

from analytics.reports import documents
from analytics.reports.content import compose, scoped_tiles
from analytics.reports.models import Report
from analytics.reports.tests.conftest import OUTSIDE, states_of, work
from common import limits
from common.renderers import RenderingFailed
from tenants.models import Tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def portal(client, alice):
    client.force_login(alice)
    return client


def url(tenant, path=""):
    return f"/t/{tenant.id}/reports/{path}"


def form(tenant, alice, tiles=(), **changed):
    """What the composer's form sends."""
    sent = {
        "name": "Monday figures",
        "dashboard": "service",
        "period": "last-week",
        "as_pdf": "on",
        "freshness_hours": 26,
        "wait_minutes": 60,
        "when_stale": "hold",
        "members": [alice.pk],
        "addresses": "",
        "frequency": "weekly",
        "weekday": 0,
        "day": 1,
        "at": "08:30",
        "tiles-TOTAL_FORMS": len(tiles),
        "tiles-INITIAL_FORMS": 0,
    }
    for number, tile in enumerate(tiles):
        sent |= {f"tiles-{number}-{name}": value for name, value in tile.items()}
    return sent | changed


def test_a_report_is_made_and_shows_its_next_dates(loaded, alice, portal):
    sent = form(loaded, alice, addresses=f"{OUTSIDE}, {OUTSIDE.upper()}", priority="High")
    answer = portal.post(url(loaded, "new/"), sent, follow=True)
    report = Report.objects.get()
    assert (report.owner, report.filters) == (alice, {"priority": "High"})
    assert [str(each) for each in report.recipients.all()] == [alice.email, OUTSIDE.upper()]
    page = answer.content.decode()
    assert "Every Monday at 08:30 (America/New_York)" in page
    assert page.count("<li>Monday, ") == 5
    assert report.schedule.planned_until > timezone.now() - timedelta(minutes=1)


def test_a_report_with_selected_tiles(loaded, alice, portal):
    tiles = [
        {"tile": "chart:tickets_opened+tickets_closed", "period": "last-90-days"},
        {"tile": "", "period": ""},
        {"tile": "figure:backlog", "by": "company", "value": "müller & <sons>"},
    ]
    portal.post(url(loaded, "new/"), form(loaded, alice, tiles, dashboard=""))
    chart, figure = Report.objects.get().tiles.all()
    assert (chart.metrics, chart.period) == (["tickets_opened", "tickets_closed"], "last-90-days")
    assert (figure.type, figure.filters) == ("figure", {"company": "1"})
    shown = portal.get(url(loaded, f"{Report.objects.get().pk}/edit/")).content.decode()
    assert shown.count("selected>Tickets opened and closed") == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": ""}, "This field is required"),
        ({"members": []}, "Choose at least one recipient"),
        ({"dashboard": ""}, "Choose at least one tile"),
        ({"addresses": "someone"}, "Enter a valid email address"),
        ({"addresses": "eve@elsewhere.example"}, "Reports may not be sent to eve@"),
        ({"period": "for-ever"}, "Select a valid choice"),
        ({"priority": "Nonsense"}, "Select a valid choice"),
        ({"freshness_hours": 0}, "greater than or equal to 1"),
        ({"at": "25:00"}, "Enter a valid time"),
    ],
)
def test_errors_are_shown_at_their_fields_and_nothing_is_saved(
    loaded, alice, portal, changed, message
):
    answer = portal.post(url(loaded, "new/"), form(loaded, alice, **changed))
    assert answer.status_code == 400
    assert message in answer.content.decode()
    assert not Report.objects.exists()


def test_a_tile_with_an_unknown_filter_is_refused(loaded, alice, portal):
    tiles = [{"tile": "figure:backlog", "by": "company", "value": "Unknown Inc."}]
    answer = portal.post(url(loaded, "new/"), form(loaded, alice, tiles, dashboard=""))
    assert "There is no company “Unknown Inc.”." in answer.content.decode()


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        ({"tile": "parts:sla_met"}, "Choose what to break SLA met down by."),
        ({"tile": "parts:backlog", "dimension": "hour"}, "Open tickets can be broken down by Comp"),
        ({"tile": "figure:backlog", "dimension": "board"}, "Choose a breakdown, or leave"),
    ],
)
def test_a_breakdown_needs_a_dimension_of_its_metric(loaded, alice, portal, tile, message):
    answer = portal.post(url(loaded, "new/"), form(loaded, alice, [tile], dashboard=""))
    assert message in answer.content.decode()
    assert not Report.objects.exists()


def test_any_metric_can_be_broken_down_by_any_of_its_dimensions(loaded, alice, portal):
    tiles = [{"tile": "parts:sla_met", "dimension": "weekday"}]
    portal.post(url(loaded, "new/"), form(loaded, alice, tiles, dashboard=""))
    report = Report.objects.get()
    (tile,) = compose(report, scoped_tiles(report), timezone.now(), timezone.now()).tiles
    assert (tile.title, tile.heading[0]) == ("SLA met by weekday", "Weekday")
    assert [row[0] for row in tile.rows][:2] == ["Monday", "Tuesday"]


def test_a_member_of_another_tenant_cannot_be_a_recipient(loaded, alice, charlie, portal):
    answer = portal.post(url(loaded, "new/"), form(loaded, alice, members=[charlie.pk]))
    assert answer.status_code == 400
    assert not Report.objects.exists()


def test_saving_makes_an_owner_and_a_new_schedule_does_not_apply_to_the_past(report, alice, portal):
    report.owner = None
    report.save()
    report.schedule.planned_until -= timedelta(days=3)
    report.schedule.save()
    key, tenant = report.pk, report.tenant
    portal.post(url(tenant, f"{key}/edit/"), form(tenant, alice, name="Renamed"))
    report = Report.objects.get()
    assert (report.name, report.owner, report.pk) == ("Renamed", alice, key)
    assert report.schedule.planned_until > timezone.now() - timedelta(minutes=1)


def test_the_preview_shows_mail_and_document_and_saves_nothing(loaded, alice, portal):
    chosen = form(loaded, alice, members=[], period="last-7-days")
    answer = portal.post(url(loaded, "preview/"), chosen)
    page = answer.content.decode()
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    assert "script" not in answer["Content-Security-Policy"]
    assert "Acme – Monday figures – " in page
    assert page.count("data:image/png;base64,") >= 3
    assert "cid:" not in page
    assert not Report.objects.exists()


def test_the_preview_shows_markup_in_names_as_text(loaded, alice, portal):
    hostile = '</pre><form action="http://evil.example"><b>x</b>'
    answer = portal.post(url(loaded, "preview/"), form(loaded, alice, name=hostile))
    page = answer.content.decode()
    assert "Plain text version" in page
    assert "<form" not in page
    assert "</pre><" not in page.replace("</pre>\n", "")
    assert "&lt;/pre&gt;&lt;form" in page


def test_the_preview_allows_no_form_and_no_base_address(loaded, alice, portal):
    answer = portal.post(url(loaded, "preview/"), form(loaded, alice))
    policy = dict(each.split(None, 1) for each in answer["Content-Security-Policy"].split("; "))
    assert policy["form-action"] == policy["base-uri"] == policy["default-src"] == "'none'"
    assert "'unsafe-inline'" not in policy.get("script-src", policy["default-src"])


def test_a_preview_that_cannot_be_rendered_shows_why(loaded, alice, portal, monkeypatch):
    def crash(*arguments):
        raise RenderingFailed("The renderer crashed (SIGABRT).")

    monkeypatch.setattr(documents, "pages_as_png", crash)
    answer = portal.post(url(loaded, "preview/"), form(loaded, alice))
    assert answer.status_code == 503
    assert "The renderer crashed (SIGABRT)." in answer.content.decode()


def test_the_preview_of_an_unfinished_form_lists_what_is_missing(loaded, alice, portal):
    answer = portal.post(url(loaded, "preview/"), form(loaded, alice, name=""))
    assert "There is no preview yet" in answer.content.decode()


def test_send_me_a_test_now(report, alice, portal, mailbox):
    page = portal.post(url(report.tenant, f"{report.pk}/test/"), follow=True).content.decode()
    assert "A test is on its way to alice@example.com." in page
    work()
    assert len(mailbox.sent_to(alice.email)) == 1


def test_deliveries_and_files_of_an_occurrence(report, due, portal, mailbox):
    mailbox.answers[OUTSIDE] = "550 5.1.1 No such user"
    work()
    tenant = report.tenant
    page = portal.get(url(tenant, f"{report.pk}/")).content.decode()
    assert "1 sent, 1 failed" in page
    page = portal.get(url(tenant, f"{report.pk}/of/{due.pk}/")).content.decode()
    due.refresh_from_db()
    for expected in ("550 5.1.1 No such user", "Resend failed emails", due.digest, "tickets-12"):
        assert expected in page
    mailbox.answers.clear()
    portal.post(url(tenant, f"{report.pk}/of/{due.pk}/resend/"))
    work()
    assert set(states_of(due).values()) == {"sent"}
    for kind, start in (("pdf", b"%PDF"), ("csv", b"\xef\xbb\xbfTile"), ("xlsx", b"PK")):
        file = portal.get(url(tenant, f"{report.pk}/of/{due.pk}/report.{kind}"))
        assert file.content.startswith(start)
    assert portal.get(url(tenant, f"{report.pk}/of/{due.pk}/report.exe")).status_code == 404


def test_a_held_report_is_released_by_a_button(report, due, portal, mailbox):
    due.state, due.note = "held", "The newest data are old."
    due.save()
    page = portal.get(url(report.tenant, f"{report.pk}/of/{due.pk}/")).content.decode()
    assert "Send with a notice" in page
    portal.post(url(report.tenant, f"{report.pk}/of/{due.pk}/release/"))
    work()
    assert len(mailbox.mails) == 2


def test_deliveries_are_filtered(report, due, portal, mailbox):
    mailbox.answers[OUTSIDE] = "550 no"
    work()
    path = url(report.tenant, "deliveries/")
    assert OUTSIDE in portal.get(path).content.decode()
    sent = portal.get(path, {"state": "sent"}).content.decode()
    assert "alice@example.com" in sent
    assert OUTSIDE not in sent
    assert OUTSIDE in portal.get(path, {"report": report.pk, "address": "BOSS"}).content.decode()
    for odd in ({"report": "9" * 30}, {"report": "x"}, {"address": "\0"}, {"page": "x"}):
        assert portal.get(path, odd).status_code == 200


# --- Permissions


def report_urls(report, occurrence):
    """Every URL of the portal under reports/, with the keys of real rows."""
    tenant = f"t/{report.tenant_id}/reports/"
    keys = {"<int:report_key>": report.pk, "<slug:kind>": "pdf", "<slug:tenant_id>": ""}
    keys |= {"<int:number>": 0, "<slug:name>": "tickets_opened"}
    found = []
    for pattern in get_resolver("analytics.urls").url_patterns:
        route = str(pattern.pattern)
        if not route.startswith("t/<slug:tenant_id>/reports/"):
            continue
        path = route.removeprefix("t/<slug:tenant_id>/reports/")
        is_of_occurrence = "<int:report_key>" in path
        for name, value in keys.items():
            path = path.replace(name, str(value))
        path = path.replace("<int:key>", str(occurrence.pk if is_of_occurrence else report.pk))
        action = "resend" if is_of_occurrence else "pause"
        found.append(f"/{tenant}{path.replace('<slug:action>', action)}")
    return found


def test_users_of_other_tenants_find_no_reports(report, due, client, charlie, globex, mailbox):
    work()
    client.force_login(charlie)
    paths = report_urls(report, due)
    assert len(paths) == 12
    theirs = [path.replace(f"/t/{report.tenant_id}/", f"/t/{globex.id}/") for path in paths]
    with_keys = [path for path in theirs if f"/{report.pk}/" in path]
    for path in [*paths, *with_keys]:
        assert client.get(path).status_code in (404, 405), path
        assert client.post(path).status_code in (404, 405), path
    report.schedule.refresh_from_db()
    assert report.schedule.paused_at is None


def test_only_admins_see_where_the_warehouse_is(report, due, client, alice, bob, settings):
    settings.CLICKHOUSE_URL = "clickhouse://default@127.0.0.1:1/avesa"
    work()
    paths = [url(report.tenant, each) for each in (f"{report.pk}/", f"{report.pk}/of/{due.pk}/")]
    client.force_login(bob)
    for path in paths:
        page = client.get(path).content.decode()
        assert "The warehouse does not answer." in page
        assert "127.0.0.1" not in page
    client.force_login(alice)
    for path in paths:
        assert "127.0.0.1" in client.get(path).content.decode()


def test_actions_leave_entries_in_the_history(report, due, portal, alice, mailbox):
    mailbox.answers[OUTSIDE] = "550 no"
    work()
    tenant, key = report.tenant, report.pk
    held = report.occurrences.create(due_at=timezone.now() - timedelta(days=1), state="held")
    for _ in range(2):  # the second time there is nothing to pause, to resend, to release
        for path in ("pause/", f"of/{due.pk}/resend/", f"of/{held.pk}/release/"):
            portal.post(url(tenant, f"{key}/{path}"))
    for path in ("resume/", "resume/", "test/", "remove/"):
        portal.post(url(tenant, f"{key}/{path}"))
    entries = LogEntry.objects.filter(user=alice).order_by("pk")
    assert [(each.object_id, each.change_message) for each in entries] == [
        (str(key), "Paused."),
        (str(due.pk), "Failed emails resent: 1."),
        (str(held.pk), "Released."),
        (str(key), "Resumed."),
        (str(report.occurrences.get(kind="test").pk), "Test requested."),
        (str(key), "Removed."),
    ]


def test_an_occurrence_of_another_report_is_not_found(report, due, portal, alice):
    other = Report.objects.create(tenant=report.tenant, owner=alice, name="Other")
    assert portal.get(url(report.tenant, f"{other.pk}/of/{due.pk}/")).status_code == 404


def test_viewers_read_reports_but_change_nothing_and_see_no_addresses(
    report, due, client, bob, mailbox
):
    work()
    client.force_login(bob)
    tenant = report.tenant
    for path in ("", f"{report.pk}/", f"{report.pk}/of/{due.pk}/"):
        page = client.get(url(tenant, path)).content.decode()
        assert "Tickets" in page
        assert OUTSIDE not in page
        assert "Send me a test now" not in page
    for path in ("new/", f"{report.pk}/edit/", "deliveries/"):
        assert client.get(url(tenant, path)).status_code == 403
    for path in (f"{report.pk}/pause/", f"{report.pk}/of/{due.pk}/resend/", "preview/"):
        assert client.post(url(tenant, path)).status_code == 403


def test_actions_are_never_taken_by_a_link(report, due, portal):
    for path in (f"{report.pk}/remove/", f"{report.pk}/of/{due.pk}/resend/", "preview/"):
        assert portal.get(url(report.tenant, path)).status_code == 405
    assert portal.post(url(report.tenant, f"{report.pk}/explode/")).status_code == 404


def test_a_removed_report_is_gone_but_its_deliveries_stay_on_record(report, due, portal, mailbox):
    work()
    portal.post(url(report.tenant, f"{report.pk}/remove/"))
    assert portal.get(url(report.tenant, f"{report.pk}/")).status_code == 404
    assert portal.get(url(report.tenant, f"{report.pk}/of/{due.pk}/")).status_code == 200
    assert OUTSIDE in portal.get(url(report.tenant, "deliveries/")).content.decode()


def test_staff_see_deliveries_and_no_figures(report, due, client, dora, mailbox):
    mailbox.answers[OUTSIDE] = "550 5.1.1 No such user"
    work()
    client.force_login(dora)
    for path in (
        "report/",
        f"report/{report.pk}/change/",
        "occurrence/?state__exact=done",
        f"occurrence/{due.pk}/change/",
        "delivery/?state__exact=failed",
        "unsubscription/",
    ):
        page = client.get(f"/admin/reports/{path}")
        assert page.status_code == 200
        assert "Tickets opened" not in page.content.decode()
    assert OUTSIDE in client.get("/admin/reports/delivery/?q=boss").content.decode()


def test_logo_domains_and_color_are_set_by_staff(loaded, client, dora):
    from io import BytesIO

    from django.core.files.uploadedfile import SimpleUploadedFile
    from PIL import Image

    client.force_login(dora)
    output = BytesIO()
    Image.new("RGB", (1200, 300), "green").save(output, "JPEG")
    page = client.get(f"/admin/tenants/tenant/{loaded.id}/change/")
    sent = {
        name: value
        for name, value in page.context["adminform"].form.initial.items()
        if value not in (None, "", b"") and name != "logo"
    }
    for formset in page.context["inline_admin_formsets"]:
        for field in formset.formset.management_form:
            sent[field.html_name] = 0
    sent |= {"color": "#123456", "report_domains": "a.example\nb.example"}
    upload = SimpleUploadedFile("logo.jpg", output.getvalue(), "image/jpeg")
    answer = client.post(page.request["PATH_INFO"], sent | {"new_logo": upload})
    assert answer.status_code == 302, answer.context["adminform"].errors
    tenant = Tenant.objects.get(id=loaded.id)
    with Image.open(BytesIO(bytes(tenant.logo))) as logo:
        assert (logo.format, logo.size) == ("PNG", (480, 120))
    assert tenant.allows_address("x@B.example")
    assert not tenant.allows_address("x@evil-b.example")
    bad = SimpleUploadedFile("logo.png", b"<svg onload=alert(1)>", "image/png")
    answer = client.post(page.request["PATH_INFO"], sent | {"new_logo": bad, "color": "red;"})
    assert set(answer.context["adminform"].form.errors) == {"new_logo", "color"}


# --- Limits


@pytest.fixture
def few(settings, tmp_path, monkeypatch):
    """Set limits whose counts are this test's own, in a minute that does not end."""
    settings.CACHE_URL, settings.VAR_DIR = "", tmp_path
    monkeypatch.setattr(limits, "now", lambda: 1_800_000_010.0)
    return lambda numbers: setattr(settings, "REQUEST_LIMITS", numbers)


def test_only_a_few_tests_may_be_requested_a_minute(report, portal, few):
    few({"test": (2, 3, 4, 10)})
    path = url(report.tenant, f"{report.pk}/test/")
    assert [portal.post(path).status_code for _ in range(5)] == [302, 302, 302, 429, 429]
    assert report.occurrences.count() == 3


def test_a_preview_that_is_one_too_many_is_refused_in_its_frame(loaded, alice, portal, few):
    few({"preview": (1, 1, 1, 1)})
    assert portal.post(url(loaded, "preview/"), form(loaded, alice)).status_code == 200
    refused = portal.post(url(loaded, "preview/"), form(loaded, alice))
    assert refused.status_code == 429
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert "Too many requests" in refused.content.decode()
    assert refused["X-Frame-Options"] == "SAMEORIGIN"


def test_files_of_occurrences_count_as_exports(due, portal, few):
    work()
    few({"export": (1, 1, 1, 1)})
    path = url(due.report.tenant, f"{due.report.pk}/of/{due.pk}/report.csv")
    assert [portal.get(path).status_code for _ in range(2)] == [200, 429]
