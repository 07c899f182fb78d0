"""Messages leave after the commit, name tasks that exist, and are done without if need be."""

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
def test_it_says_what_the_task_itself_would(
    send, arguments, monkeypatch, db, django_capture_on_commit_callbacks
):
    """What `delay` on the task would send: the name, fitting arguments, when it expires."""
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
def test_it_leaves_after_the_commit_and_not_after_a_rollback(sent_tasks):
    with transaction.atomic():
        send_after_commit("some.task", 1, "two")
        assert sent_tasks == []
    assert sent_tasks == [("some.task", 1, "two")]
    with transaction.atomic():
        send_after_commit("some.task", 3)
        transaction.set_rollback(True)
    assert sent_tasks == [("some.task", 1, "two")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError("away"), ConnectionRefusedError("away")])
def test_a_broker_that_is_away_is_worth_a_line_in_the_log(error, monkeypatch, caplog):
    def refuse(*message, **options):
        raise error

    monkeypatch.setattr(app, "send_task", refuse)
    send_after_commit("some.task")
    assert "some.task was not sent" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_what_is_wrong_with_a_message_is_not_hidden(monkeypatch):
    with pytest.raises(Exception, match="not JSON serializable"):
        send_after_commit("some.task", object())
