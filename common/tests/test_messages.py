"""Messages are sent after the commit and name existing tasks; a broker that is down is no error."""

from types import SimpleNamespace

import pytest
from django.db import transaction
from kombu.exceptions import OperationalError

import analytics.reports.messages
import loaders.messages
from avesa_site.celery import app
from common.messages import send_after_commit

JOB = SimpleNamespace(pk=7, tenant_id="acme", table="tickets")
SENDERS = [
    (loaders.messages.wake_loader, ()),
    (loaders.messages.advance_soon, (7,)),
    (loaders.messages.tidy_soon, (JOB,)),
    (analytics.reports.messages.compose_soon, (JOB,)),
    (analytics.reports.messages.send_soon, (7,)),
]


@pytest.mark.parametrize(("send", "arguments"), SENDERS, ids=[each.__name__ for each, _ in SENDERS])
def test_a_message_equals_the_one_that_delay_sends(
    send, arguments, monkeypatch, db, django_capture_on_commit_callbacks
):
    """The same name, arguments and expiry as `delay` on the task."""
    sent = []
    monkeypatch.setattr(
        app,
        "send_task",
        lambda name, args, kwargs=None, expires=None, **options: sent.append(
            (name, tuple(args), expires)
        ),
    )
    with django_capture_on_commit_callbacks(execute=True):
        send(*arguments)
    [(name, passed, _)] = sent
    app.loader.import_default_modules()
    app.tasks[name].delay(*passed)  # which checks the arguments
    assert sent[0] == sent[1]


@pytest.mark.django_db(transaction=True)
def test_a_message_is_sent_after_the_commit_and_not_after_a_rollback(sent_tasks):
    with transaction.atomic():
        send_after_commit("some.task", 1, "two")
        assert sent_tasks == []
    assert sent_tasks == [("some.task", 1, "two")]
    with transaction.atomic():
        send_after_commit("some.task", 3)
        transaction.set_rollback(True)
    assert sent_tasks == [("some.task", 1, "two")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError("down"), ConnectionRefusedError("down")])
def test_a_broker_that_is_down_is_logged_and_no_error(error, monkeypatch, caplog):
    def refuse(*message, **options):
        raise error

    monkeypatch.setattr(app, "send_task", refuse)
    send_after_commit("some.task")
    assert "some.task was not sent" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_an_invalid_message_raises(monkeypatch):
    with pytest.raises(Exception, match="not JSON serializable"):
        send_after_commit("some.task", object())
