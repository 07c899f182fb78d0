"""What could not be told is told later, and never for ever."""

from datetime import timedelta

import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

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
    Alert.objects.update(tell_at=timezone.now())


def test_an_alert_that_was_told_is_not_told_again(
    acme, settings, mailoutbox, django_capture_on_commit_callbacks
):
    settings.ADMINS = [("ops", "ops@example.com")]
    alert = raise_one(django_capture_on_commit_callbacks, acme)
    assert (alert.untold, alert.tell_at) == ([], None)
    assert tasks.tell_alerts() == 0
    assert len(mailoutbox) == 1


def test_what_could_not_be_told_is_tried_again_later(
    acme, away, mailoutbox, django_capture_on_commit_callbacks
):
    alert = raise_one(django_capture_on_commit_callbacks, acme)
    assert alert.untold == ["mail"]
    assert tasks.tell_alerts() == 0, "not at once"
    later()
    assert tasks.tell_alerts() == 1
    alert.refresh_from_db()
    assert alert.tell_at > timezone.now() + timedelta(minutes=4)
    away()
    later()
    assert tasks.tell_alerts() == 1
    assert [each.subject for each in mailoutbox] == [f"[AVESA] {alert}"]
    alert.refresh_from_db()
    assert (alert.untold, alert.tell_at) == ([], None)


def test_a_process_that_died_before_it_told_is_made_up_for(acme, settings, mailoutbox):
    settings.ADMINS = [("ops", "ops@example.com")]
    alerting.raise_alert(Alert.Kind.LOAD, acme.id, "tickets", "It failed.")  # nothing is committed
    assert mail.outbox == []
    later()
    assert tasks.tell_alerts() == 1
    assert len(mailoutbox) == 1


def test_waits_grow_with_the_age_of_the_alert(acme, away, django_capture_on_commit_callbacks):
    alert = raise_one(django_capture_on_commit_callbacks, acme)
    Alert.objects.update(raised_at=timezone.now() - timedelta(hours=3))
    later()
    alerting.tell_untold()
    alert.refresh_from_db()
    assert alert.tell_at > timezone.now() + timedelta(hours=2)


def test_a_fault_that_is_over_needs_no_telling(
    acme, away, mailoutbox, django_capture_on_commit_callbacks
):
    raise_one(django_capture_on_commit_callbacks, acme)
    alerting.all_clear(Alert.Kind.LOAD, acme.id, "tickets")
    away()
    later()
    assert tasks.tell_alerts() == 0
    assert mailoutbox == []


def test_a_way_that_is_set_up_wrongly_keeps_no_other_from_telling(
    acme, monkeypatch, django_capture_on_commit_callbacks
):
    posted = []

    def fail(alerts):
        raise ImproperlyConfigured("no key")

    monkeypatch.setitem(alerting._WAYS, "mail", fail)
    monkeypatch.setitem(alerting._WAYS, "webhook", posted.append)
    alert = raise_one(django_capture_on_commit_callbacks, acme)
    assert len(posted) == 1
    assert alert.untold == ["mail"]


def test_a_burst_is_told_in_one_message(
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
    assert not Alert.objects.exclude(tell_at=None).exists()


def test_a_silent_process_is_told_at_once_even_in_a_burst(
    acme, settings, mailoutbox, django_capture_on_commit_callbacks
):
    settings.ADMINS = [("ops", "ops@example.com")]
    for number in range(alerting.FEW):
        raise_one(django_capture_on_commit_callbacks, acme, f"table {number}")
    with django_capture_on_commit_callbacks(execute=True):
        alerting.raise_alert(Alert.Kind.SILENT, None, "worker", "It is silent.")
    assert mailoutbox[-1].subject == "[AVESA] A process is silent: worker"


def test_a_way_that_fails_is_tried_again_and_no_other(
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
    assert alert.untold == ["mail"]
    away()
    later()
    tasks.tell_alerts()
    assert (len(posted), len(mailoutbox)) == (1, 1)
    assert posted[0]["alerts"][0]["subject"] == "tickets"
