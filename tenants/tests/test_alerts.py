"""What could not be sent is sent later, and never without end."""

from datetime import timedelta

import pytest
import requests
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from common.tests.queues import lose, make_due
from tenants import alerting, tasks
from tenants.models import Alert

pytestmark = pytest.mark.django_db


@pytest.fixture
def away(settings, monkeypatch):
    """A mail server that is away until it is called."""
    settings.ADMINS = [("ops", "ops@example.com")]
    sent = alerting.mail_admins

    def refuse(subject, text):
        raise ConnectionRefusedError("no mail server")

    monkeypatch.setattr(alerting, "mail_admins", refuse)
    return lambda: monkeypatch.setattr(alerting, "mail_admins", sent)


def raise_one(callbacks, tenant, subject="tickets"):
    with callbacks(execute=True):
        alerting.raise_alert(Alert.Kind.LOAD, tenant.id, subject, "It failed.")
    return Alert.objects.get(subject=subject)


def later():
    make_due(Alert)


def test_an_alert_that_was_sent_is_not_sent_again(
    acme, settings, mailoutbox, django_capture_on_commit_callbacks
):
    settings.ADMINS = [("ops", "ops@example.com")]
    alert = raise_one(django_capture_on_commit_callbacks, acme)
    assert (alert.pending_channels, alert.claimed_at) == ([], None)
    assert tasks.tell_alerts() == 0
    assert len(mailoutbox) == 1


def test_what_could_not_be_sent_is_tried_again_later(
    acme, away, mailoutbox, django_capture_on_commit_callbacks
):
    alert = raise_one(django_capture_on_commit_callbacks, acme)
    assert alert.pending_channels == ["mail"]
    assert tasks.tell_alerts() == 0, "not at once"
    later()
    assert tasks.tell_alerts() == 1
    alert.refresh_from_db()
    assert alert.try_at > timezone.now() + timedelta(minutes=4)
    away()
    later()
    assert tasks.tell_alerts() == 1
    assert [each.subject for each in mailoutbox] == [f"[AVESA] {alert}"]
    alert.refresh_from_db()
    assert (alert.pending_channels, alert.claimed_at) == ([], None)


def test_an_alert_of_a_process_that_died_before_it_sent_it_is_sent(acme, settings, mailoutbox):
    settings.ADMINS = [("ops", "ops@example.com")]
    alerting.raise_alert(Alert.Kind.LOAD, acme.id, "tickets", "It failed.")  # nothing is committed
    assert mail.outbox == []
    assert tasks.tell_alerts() == 0, "it may still send it"
    lose(Alert)
    assert tasks.tell_alerts() == 1
    assert len(mailoutbox) == 1


def test_waits_grow_while_an_alert_cannot_be_sent(acme, away, django_capture_on_commit_callbacks):
    alert = raise_one(django_capture_on_commit_callbacks, acme)
    for _ in range(6):
        later()
        assert alerting.send_pending() == 1
    alert.refresh_from_db()
    assert alert.try_at > timezone.now() + timedelta(hours=2)


def test_an_alert_that_is_over_is_sent_no_more(
    acme, away, mailoutbox, django_capture_on_commit_callbacks
):
    raise_one(django_capture_on_commit_callbacks, acme)
    alerting.all_clear(Alert.Kind.LOAD, acme.id, "tickets")
    away()
    later()
    assert tasks.tell_alerts() == 0
    assert mailoutbox == []


def test_a_channel_that_is_set_up_wrongly_keeps_no_other_from_sending(
    acme, monkeypatch, django_capture_on_commit_callbacks
):
    posted = []

    def fail(alerts):
        raise ImproperlyConfigured("no key")

    monkeypatch.setitem(alerting.CHANNELS, "mail", fail)
    monkeypatch.setitem(alerting.CHANNELS, "webhook", posted.append)
    alert = raise_one(django_capture_on_commit_callbacks, acme)
    assert len(posted) == 1
    assert alert.pending_channels == ["mail"]


def test_a_burst_is_sent_in_one_message(
    acme, settings, mailoutbox, django_capture_on_commit_callbacks
):
    settings.ADMINS = [("ops", "ops@example.com")]
    for number in range(alerting.MAX_SHOWN + alerting.FEW + 2):
        raise_one(django_capture_on_commit_callbacks, acme, f"table {number}")
    assert len(mailoutbox) == alerting.FEW
    assert tasks.tell_alerts() == alerting.MAX_SHOWN + 2
    assert len(mailoutbox) == alerting.FEW + 1
    message = mailoutbox[-1]
    assert message.subject == f"[AVESA] {alerting.MAX_SHOWN + 2} alerts"
    assert f"{acme.id}/table {alerting.FEW}\n\nIt failed." in message.body
    assert "And 2 more" in message.body
    assert tasks.tell_alerts() == 0
    assert not Alert.objects.exclude(pending_channels=[], claimed_at=None).exists()


def test_a_silent_process_is_reported_at_once_even_in_a_burst(
    acme, settings, mailoutbox, django_capture_on_commit_callbacks
):
    settings.ADMINS = [("ops", "ops@example.com")]
    for number in range(alerting.FEW):
        raise_one(django_capture_on_commit_callbacks, acme, f"table {number}")
    with django_capture_on_commit_callbacks(execute=True):
        alerting.raise_alert(Alert.Kind.SILENT, None, "worker", "It is silent.")
    assert mailoutbox[-1].subject == "[AVESA] A process is silent: worker"


def test_a_channel_that_fails_is_tried_again_and_no_other(
    acme, away, mailoutbox, settings, monkeypatch, django_capture_on_commit_callbacks
):
    posted = []
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:1/hook"

    class Answer:
        def raise_for_status(self):
            pass

    def post(url, json, timeout):
        posted.append(json)
        return Answer()

    monkeypatch.setattr(alerting.requests, "post", post)
    alert = raise_one(django_capture_on_commit_callbacks, acme)
    assert alert.pending_channels == ["mail"]
    away()
    later()
    tasks.tell_alerts()
    assert (len(posted), len(mailoutbox)) == (1, 1)
    assert posted[0]["alerts"][0]["subject"] == "tickets"


HOSTILE = "<!channel> <!here|x> <@U012> <http://evil.example|Open> [Open](http://evil.example) ```"


def test_markup_of_chat_programs_in_a_text_is_inert(
    acme, settings, monkeypatch, django_capture_on_commit_callbacks
):
    posted = []
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:1/hook"
    answer = requests.Response()
    answer.status_code = 200

    def post(url, json, timeout):
        posted.append(json)
        return answer

    monkeypatch.setattr(alerting.requests, "post", post)
    with django_capture_on_commit_callbacks(execute=True):
        alerting.raise_alert(Alert.Kind.LOAD, acme.id, "tickets", f"{HOSTILE} A & B @channel")
    text = posted[0]["text"]
    assert "<" not in text
    assert ">" not in text
    assert "&lt;!channel&gt; " in text
    assert "A &amp; B" in text
    assert "](" not in text
    assert text.startswith("```\n")
    assert text.endswith("\n```")
    assert text.count("```") == 2, "the text cannot end the block"
    assert posted[0]["unfurl_links"] is False
