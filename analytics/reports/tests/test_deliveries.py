"""From due to delivered: exactly once where that can be had, and the truth where it cannot."""

import base64
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, time, timedelta
from itertools import chain

import pytest
from django.db import connection, connections
from django.urls import include, path
from django.utils import timezone

from analytics.reports import deliveries, mails, occurrences, tasks
from analytics.reports.models import Delivery, Occurrence, Schedule, Unsubscription
from analytics.reports.tests.conftest import OUTSIDE, states_of, work
from avesa_site.urls import anymail_urls
from common.renderers import RenderingFailed
from common.tests.queues import lose, make_due
from tenants.models import Alert, Membership, Tenant
from tenants.signals import data_arrived

ALICE = "alice@example.com"
BOTH_SENT = {ALICE: "sent", OUTSIDE: "sent"}

pytestmark = pytest.mark.django_db


def plan_after(report, days):
    """Plan as if nothing had run for so many days; returns the moment of planning."""
    zone = report.tenant.zone
    yesterday = timezone.localdate(timezone=zone) - timedelta(days=1)
    now = datetime.combine(yesterday, time(7, 5), zone)
    Schedule.objects.filter(report=report).update(planned_until=now - timedelta(days=days))
    occurrences.plan(now)
    return now


# --- Planning


def test_what_is_due_is_planned_once(report):
    now = plan_after(report, 1)
    [occurrence] = report.occurrences.all()
    assert occurrence.due_at == now - timedelta(minutes=5)
    assert occurrences.plan(now) == 0
    assert occurrences.plan(now + timedelta(hours=1)) == 0
    assert report.occurrences.count() == 1


def test_after_downtime_the_latest_is_sent_late_and_says_so(report, mailbox):
    plan_after(report, 4)
    latest, *missed = report.occurrences.order_by("-due_at")
    assert [each.state for each in missed] == ["skipped"] * 3
    assert all("Missed" in each.note for each in missed)
    Occurrence.objects.filter(pk=latest.pk).update(due_at=timezone.now() - timedelta(hours=1))
    work()
    assert states_of(latest) == BOTH_SENT
    assert "is sent late" in mailbox.sent_to(OUTSIDE)[0].get_body(("plain",)).get_content()


def test_what_was_due_while_paused_or_removed_is_not_sent(report, client, alice):
    client.force_login(alice)
    url = f"/t/{report.tenant_id}/reports/{report.pk}"
    client.post(f"{url}/pause/")
    plan_after(report, 2)
    client.post(f"{url}/resume/")
    assert not report.occurrences.exists()
    assert not occurrences.plan(timezone.now())
    client.post(f"{url}/remove/")
    plan_after(report, 2)
    assert not report.occurrences.exists()


def test_a_mail_whose_renderer_crashes_is_tried_again(report, due, mailbox, monkeypatch):
    def crash(*arguments, **options):
        raise RenderingFailed("The renderer crashed (SIGABRT).")

    with monkeypatch.context() as patch:
        patch.setattr(mails, "rendered", crash)
        assert work() == ["sending", "queued", "queued"]
    reason = "The mail could not be made. The renderer crashed (SIGABRT)."
    assert set(due.deliveries.values_list("reason", flat=True)) == {reason}
    make_due(Delivery)
    work()
    assert states_of(due) == BOTH_SENT


def test_what_a_mail_server_answers_can_be_stored(report, due, mailbox):
    mailbox.answers[OUTSIDE] = "550 no\x01 such user"
    work()
    assert "550 no\ufffd such user" in due.deliveries.get(address=OUTSIDE).reason


def test_the_sweep_wakes_workers_for_everything_there_is(report, due, mailbox, sent_tasks):
    assert tasks.sweep_reports() == 1
    assert sent_tasks == [("analytics.reports.tasks.run_occurrence", due.pk)]
    occurrences.run(due.pk)
    sent_tasks.clear()
    assert tasks.sweep_reports() == 2
    assert set(sent_tasks) == {
        ("analytics.reports.tasks.send_delivery", key)
        for key in due.deliveries.values_list("pk", flat=True)
    }


# --- Sending


def test_everybody_gets_one_mail(due, mailbox):
    assert work() == ["sending", "sent", "sent"]
    due.refresh_from_db()
    assert (due.state, states_of(due)) == ("done", BOTH_SENT)
    assert work() == []
    assert len(mailbox.mails) == 2


def test_a_member_who_is_also_an_address_gets_one_mail(report, due, mailbox):
    report.tenant.report_domains = "example.com"
    report.tenant.save()
    report.recipients.filter(address=OUTSIDE).update(address="Alice@Example.com")
    work()
    assert len(mailbox.mails) == 1


def test_a_refused_recipient_has_failed_with_the_servers_words(report, due, mailbox):
    mailbox.answers[OUTSIDE] = "550 5.1.1 No such user here"
    work()
    failed = due.deliveries.get(address=OUTSIDE)
    assert (failed.state, failed.reason) == ("failed", "550 5.1.1 No such user here")
    assert states_of(due)[ALICE] == "sent"
    [alert] = Alert.objects.filter(tenant=report.tenant, kind="report", over_at=None)
    assert f"{OUTSIDE}: failed. 550 5.1.1 No such user here" in alert.text
    due.refresh_from_db()
    assert due.state == "done"


def test_the_alert_is_over_when_everybody_was_reached_again(report, due, mailbox):
    mailbox.answers[OUTSIDE] = "550 no"
    work()
    mailbox.answers.clear()
    report.occurrences.create(due_at=timezone.now())
    work()
    assert not Alert.objects.filter(over_at=None).exists()


def test_a_server_that_is_busy_is_tried_again_later(due, mailbox):
    mailbox.answers[OUTSIDE] = ["451 4.7.1 Try again later"]
    work()
    waiting = due.deliveries.get(address=OUTSIDE)
    assert (waiting.state, waiting.reason) == ("queued", "451 4.7.1 Try again later")
    assert work() == []
    make_due(Delivery)
    assert work() == ["sent"]
    assert states_of(due) == BOTH_SENT


def test_a_server_that_stays_busy_has_failed_in_the_end(due, mailbox):
    mailbox.answers[OUTSIDE] = "451 4.7.1 Try again later"
    for _ in range(Delivery.RETRY.attempts):
        make_due(Delivery)
        work()
    assert states_of(due)[OUTSIDE] == "failed"


def test_no_mail_server_at_all_is_tried_again(due, mailbox, settings):
    settings.EMAIL_PORT = 1
    work()
    assert states_of(due) == {ALICE: "queued", OUTSIDE: "queued"}
    assert "refused" in due.deliveries.first().reason.lower()


def test_silence_after_the_mail_is_unknown_and_never_tried_again(report, due, mailbox):
    mailbox.hangs_up = True
    work()
    assert states_of(due) == {ALICE: "unknown", OUTSIDE: "unknown"}
    assert "It is not known" in due.deliveries.first().reason
    mailbox.hangs_up = False
    assert deliveries.resend_failed(due) == 0
    make_due(Delivery)
    assert work(timedelta(days=1)) == []
    assert mailbox.mails == []


def test_only_the_failed_are_sent_again_with_the_same_id(due, mailbox):
    mailbox.answers[OUTSIDE] = "550 no"
    work()
    ids = dict(due.deliveries.values_list("address", "message_id"))
    mailbox.answers.clear()
    assert deliveries.resend_failed(due) == 1
    assert work() == ["sent"]
    assert {address: len(mailbox.sent_to(address)) for address in ids} == {ALICE: 1, OUTSIDE: 1}
    assert mailbox.sent_to(OUTSIDE)[0]["Message-ID"] == ids[OUTSIDE]


def test_five_failures_in_a_row_pause_the_schedule_and_tell_the_owner(report, mailbox):
    mailbox.answers = {ALICE: ["550 no"] * 10, OUTSIDE: "550 no"}
    for number in range(5):
        assert report.schedule.paused_at is None, number
        report.occurrences.create(due_at=timezone.now() - timedelta(minutes=5 - number))
        if number == 4:
            mailbox.answers[ALICE] = ["550 no"]
        work()
        report.schedule.refresh_from_db()
    assert report.schedule.pause_reason == "it failed 5 times in a row."
    [mail] = mailbox.sent_to(ALICE)
    assert mail["Subject"] == "Acme – Tickets is paused"
    assert "https://avesa.example/t/" in mail.get_content()


def test_one_dead_address_does_not_pause_the_others(report, mailbox):
    mailbox.answers[OUTSIDE] = "550 no"
    for number in range(6):
        report.occurrences.create(due_at=timezone.now() - timedelta(minutes=number))
        work()
    report.schedule.refresh_from_db()
    assert report.schedule.paused_at is None
    assert len(mailbox.sent_to(ALICE)) == 6


# --- What providers report later


@pytest.fixture
def postmark(settings):
    """The webhook of one of django-anymail's providers."""
    settings.ANYMAIL = {"WEBHOOK_SECRET": "hook:secret"}
    urls = type(
        "Urls", (), {"urlpatterns": [*anymail_urls(), path("", include("avesa_site.urls"))]}
    )
    settings.ROOT_URLCONF = urls


def bounce(client, delivery, secret="hook:secret"):
    event = {
        "RecordType": "Bounce",
        "Type": "HardBounce",
        "MessageID": "theirs",
        "Email": delivery.address,
        "Description": "The server was unable to deliver your message",
        "Details": "smtp;550 mailbox is gone",
        "BouncedAt": "2026-11-23T10:00:00Z",
        "Metadata": {"delivery": str(delivery.pk)},
    }
    login = base64.b64encode(secret.encode()).decode()
    return client.post(
        "/anymail/postmark/tracking/",
        event,
        content_type="application/json",
        headers={"Authorization": f"Basic {login}"},
    )


def test_a_bounce_reported_later_is_in_the_ledger(report, due, mailbox, client, postmark):
    work()
    delivery = due.deliveries.get(address=OUTSIDE)
    assert bounce(client, delivery).status_code == 200
    delivery.refresh_from_db()
    assert delivery.state == "bounced"
    assert "mailbox is gone" in delivery.reason
    assert Alert.objects.filter(kind="report", over_at=None).exists()


def test_a_bounce_without_the_secret_is_refused(due, mailbox, client, postmark):
    work()
    delivery = due.deliveries.get(address=OUTSIDE)
    assert bounce(client, delivery, "hook:wrong").status_code == 400
    delivery.refresh_from_db()
    assert delivery.state == "sent"


def test_without_a_secret_there_is_no_webhook(client, db):
    assert anymail_urls() == []
    assert client.post("/anymail/postmark/tracking/").status_code == 404


# --- Rights at the time of delivery


def test_an_owner_who_is_no_admin_any_more_sends_nothing(report, due, mailbox, alice):
    Membership.objects.filter(user=alice).update(role=Membership.Role.VIEWER)
    assert work() == ["failed"]
    due.refresh_from_db()
    assert "no longer an admin" in due.note
    assert mailbox.mails == []


def test_rights_lost_between_composing_and_sending_count(report, due, mailbox, alice):
    occurrences.run(due.pk)
    report.tenant.report_domains = ""
    report.tenant.save()
    work()
    assert states_of(due) == {ALICE: "sent", OUTSIDE: "withheld"}
    again = report.occurrences.create(due_at=timezone.now())
    occurrences.run(again.pk)
    Membership.objects.filter(user=alice).delete()
    work()
    assert set(states_of(again).values()) == {"withheld"}
    assert len(mailbox.mails) == 1


def test_a_suspended_tenant_sends_nothing(report, due, mailbox):
    report.tenant.is_active = False
    report.tenant.save()
    assert work() == ["failed"]
    plan_after(report, 2)
    assert report.occurrences.count() == 1
    assert mailbox.mails == []


def test_whoever_unsubscribed_is_sent_nothing_but_a_test_of_their_own(report, due, alice, mailbox):
    Unsubscription.objects.create(tenant=report.tenant, address=ALICE)
    work()
    assert states_of(due) == {ALICE: "unsubscribed", OUTSIDE: "sent"}
    test = occurrences.test(report, alice)
    work()
    assert states_of(test) == {ALICE: "sent"}


def test_a_test_goes_to_whoever_asked_and_leaves_the_schedule_alone(report, alice, mailbox):
    test = occurrences.test(report, alice)
    test_again = occurrences.test(report, alice)
    work()
    assert states_of(test) == states_of(test_again) == {ALICE: "sent"}
    assert len(mailbox.mails) == 2


# --- Hold, don't lie


def make_old(report):
    report.freshness_hours = 0
    report.save()


def test_old_data_keep_it_waiting_and_then_it_says_so(report, due, mailbox):
    make_old(report)
    assert work() == ["waiting"]
    due.refresh_from_db()
    assert due.note.startswith("Waiting for better data. The newest data for tickets is 0 hours")
    assert work() == []
    Occurrence.objects.update(due_at=due.due_at - timedelta(hours=3), try_at=timezone.now())
    assert work() == ["sending", "sent", "sent"]
    text = mailbox.sent_to(OUTSIDE)[0].get_body(("plain",)).get_content()
    assert "NOTE: Please note: The newest data for tickets is" in text


def test_it_goes_out_without_a_notice_if_better_data_come(report, due, mailbox):
    make_old(report)
    work()
    report.freshness_hours = 24
    report.save()
    Occurrence.objects.update(try_at=timezone.now())
    work()
    text = mailbox.sent_to(OUTSIDE)[0].get_body(("plain",)).get_content()
    assert "NOTE" not in text


def test_it_is_held_if_the_tenant_wants_that_and_can_be_released(report, due, mailbox):
    make_old(report)
    report.when_stale, report.wait_minutes = report.WhenStale.HOLD, 0
    report.save()
    assert work() == ["held"]
    assert Alert.objects.filter(kind="report", over_at=None).exists()
    assert work(timedelta(days=1)) == []
    due.refresh_from_db()
    assert occurrences.release(due)
    assert not occurrences.release(due)
    assert work() == ["sending", "sent", "sent"]
    assert "NOTE" in mailbox.sent_to(OUTSIDE)[0].get_body(("plain",)).get_content()


def test_it_waits_for_the_pipeline_and_goes_out_once_that_has_ended(
    report, due, mailbox, django_capture_on_commit_callbacks, sent_tasks
):
    Tenant.objects.update(loading_since=timezone.now())
    assert work() == ["waiting"]
    assert "being loaded" in report.occurrences.get(state="waiting").note
    Tenant.objects.update(loading_since=None)
    assert work() == [], "it is looked at again in some minutes"
    sent_tasks.clear()
    with django_capture_on_commit_callbacks(execute=True):
        data_arrived.send(sender=None, tenant=report.tenant, tables=["tickets"])
    assert [name for name, *_ in sent_tasks] == ["analytics.reports.tasks.run_occurrence"]
    assert "sent" in work()
    assert "being loaded" not in mailbox.mails[0][1].as_string()


def test_a_pipeline_that_never_ends_is_not_waited_for(report, due, mailbox):
    Tenant.objects.update(loading_since=timezone.now() - timedelta(hours=3))
    assert "waiting" not in work()


def test_unsound_history_keeps_it_waiting(report, due, mailbox):
    Alert.objects.create(tenant=report.tenant, kind="integrity", subject="tickets")
    assert work() == ["waiting"]
    assert mailbox.mails == []


def test_a_warehouse_that_does_not_answer_is_waited_for(report, due, mailbox, settings):
    right = settings.CLICKHOUSE_URL
    settings.CLICKHOUSE_URL = "clickhouse://default@127.0.0.1:1/avesa"
    assert work() == ["waiting"]
    settings.CLICKHOUSE_URL = right
    Occurrence.objects.update(try_at=timezone.now())
    assert work() == ["sending", "sent", "sent"]


# --- Races and crashes


@pytest.fixture
def committed(transactional_db):
    """For what other connections must see."""


def at_once(count, call):
    """So many threads call it at the same moment."""
    start = threading.Barrier(count)

    def one(number):
        start.wait()
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


@pytest.mark.postgres
def test_two_beats_and_ten_workers_send_one(committed, report, mailbox):
    now = timezone.now()
    zone = report.tenant.zone
    mark = datetime.combine(timezone.localdate(timezone=zone), time(6), zone) - timedelta(days=1)
    Schedule.objects.update(planned_until=mark)
    at_once(4, lambda: occurrences.plan(now))
    waiting = report.occurrences.exclude(state="skipped")
    occurrence = waiting.get()
    states = at_once(6, lambda: occurrences.run(occurrence.pk))
    assert sorted(states) == [""] * 5 + ["sending"]
    keys = list(occurrence.deliveries.values_list("pk", flat=True))
    states = at_once(10, lambda: [deliveries.send(key) for key in keys])
    assert sorted(chain(*states)) == [""] * 18 + ["sent"] * 2
    assert len(mailbox.mails) == 2


DIES = """
import os, signal, sys
import django
django.setup()
from django.core.mail.backends.smtp import EmailBackend
from analytics.reports import deliveries
def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)
where, key = sys.argv[1:]
if where == "claimed":
    deliveries.mails.report_mail = die
elif where == "handing over":
    EmailBackend.send_messages = die
else:
    deliveries._record = die
deliveries.send(int(key))
"""


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize(
    ("where", "state", "mails"),
    [("claimed", "sent", 1), ("handing over", "unknown", 0), ("sent", "unknown", 1)],
)
def test_kill_9(committed, due, mailbox, settings, where, state, mails):
    """Before the mail is handed over it is sent again; after that, its outcome stays unknown."""
    occurrences.run(due.pk)
    delivery = due.deliveries.get(address=OUTSIDE)
    database = connection.settings_dict
    env = os.environ | {
        "DJANGO_SETTINGS_MODULE": "avesa_site.settings",
        "DATABASE_URL": f"postgres://{database['USER']}@{database['HOST']}:{database['PORT']}"
        f"/{database['NAME']}",
        "CLICKHOUSE_URL": settings.CLICKHOUSE_URL,
        "EMAIL_URL": f"smtp://127.0.0.1:{settings.EMAIL_PORT}",
        "FROM_EMAIL": settings.DEFAULT_FROM_EMAIL,
    }
    dead = subprocess.run(
        [sys.executable, "-c", DIES, where, str(delivery.pk)], env=env, check=False
    )
    assert dead.returncode == -signal.SIGKILL
    assert Delivery.objects.get(pk=delivery.pk).state == "sending"
    assert deliveries.recover(timezone.now()) == 0
    lose(Delivery)
    assert deliveries.recover(timezone.now()) == (where != "claimed")
    work()
    work(timedelta(days=1))
    assert states_of(due)[OUTSIDE] == state
    assert len(mailbox.sent_to(OUTSIDE)) == mails


def test_a_worker_that_was_given_up_may_not_write_any_more(due, mailbox, monkeypatch):
    """Its claim was taken over while it slept: what it composed is thrown away."""
    occurrences.run(due.pk)
    slow = due.deliveries.get(address=OUTSIDE)
    real = deliveries.mails.report_mail

    def taken_over(composed, delivery):
        if delivery.pk == slow.pk:
            lose(Delivery)
            overtaken.undo()
            assert deliveries.send(slow.pk) == "sent"
        return real(composed, delivery)

    with monkeypatch.context() as overtaken:
        overtaken.setattr(deliveries.mails, "report_mail", taken_over)
        assert deliveries.send(slow.pk) == ""
    assert len(mailbox.sent_to(OUTSIDE)) == 1


def test_an_occurrence_whose_worker_died_at_its_end_is_ended(report, due, mailbox, monkeypatch):
    mailbox.answers[OUTSIDE] = "550 no"
    with monkeypatch.context() as dying:
        dying.setattr(deliveries.after_delivery, "record_outcome", lambda *arguments: None)
        work()
    assert Occurrence.objects.get(pk=due.pk).state == "sending"
    tasks.sweep_reports()
    assert Occurrence.objects.get(pk=due.pk).state == "done"
    assert Alert.objects.filter(kind="report", over_at=None).exists()


def test_composing_that_was_given_up_is_taken_up_again(due, mailbox):
    Occurrence.objects.update(state="composing", claimed_at=timezone.now())
    assert work() == []
    lose(Occurrence)
    work()
    assert states_of(due) == BOTH_SENT
