"""The health endpoints, and the alerts about silent processes."""

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from avesa_site import health, tasks
from common.models import Heartbeat
from tenants import alerting
from tenants.models import Alert

pytestmark = pytest.mark.django_db


@pytest.fixture
def no_database(monkeypatch):
    def refuse(*arguments):
        raise OperationalError("secret-host refuses")

    monkeypatch.setattr(connection, "cursor", refuse)


def test_live_needs_no_other_part(client, no_database):
    answer = client.get("/health/live/")
    assert (answer.status_code, answer.json()) == (200, {"live": True})


def test_ready_needs_only_the_database(client, settings):
    settings.CLICKHOUSE_URL = "clickhouse://default@127.0.0.1:1/avesa"
    settings.CELERY_BROKER_URL = settings.CACHE_URL = "redis://127.0.0.1:1/0"
    assert client.get("/health/ready/").status_code == 200


def test_not_ready_without_the_database_and_no_reason_is_given(client, no_database):
    for path in ("ready", "workers"):
        answer = client.get(f"/health/{path}/")
        assert answer.status_code == 503
        assert "secret-host" not in answer.content.decode()


def test_workers_that_never_sent_a_heartbeat(client):
    answer = client.get("/health/workers/")
    assert answer.status_code == 503
    assert answer.json() == {"working": False, "beat": None, "worker": None}


def test_heartbeats_of_beat_and_worker(client):
    Heartbeat.record("beat")
    tasks.canary()
    answer = client.get("/health/workers/")
    assert answer.status_code == 200
    assert answer.json() == {"working": True, "beat": 0, "worker": 0}
    tasks.canary()
    assert Heartbeat.objects.count() == 2


@pytest.mark.parametrize("name", ["beat", "worker"])
def test_an_old_heartbeat(client, name):
    Heartbeat.record("beat")
    Heartbeat.record("worker")
    Heartbeat.objects.filter(name=name).update(at=timezone.now() - timedelta(minutes=10))
    answer = client.get("/health/workers/")
    assert answer.status_code == 503
    assert answer.json()[name] == 600


@pytest.mark.parametrize("name", ["beat", "worker"])
def test_a_silent_process_raises_one_alert_until_its_next_heartbeat(name, settings, mailoutbox):
    settings.ADMINS = [("ops", "ops@example.com")]
    open_alerts = Alert.objects.filter(kind=Alert.Kind.SILENT, over_at=None)
    assert not health.watch(name)
    Heartbeat.record(name)
    assert health.watch(name)
    assert not open_alerts.exists()
    Heartbeat.objects.update(at=timezone.now() - timedelta(minutes=10))
    assert not health.watch(name)
    assert not health.watch(name)
    alert = open_alerts.get()
    assert (alert.tenant, alert.subject) == (None, name)
    assert "no heartbeat for 600 seconds" in alert.text
    assert Alert.objects.count() == 2


@pytest.mark.parametrize("name", ["beat", "worker"])
def test_the_watching_process_retries_alerts_that_could_not_be_sent(
    name, settings, mailoutbox, monkeypatch, django_capture_on_commit_callbacks
):
    """No other process would: without beat no task is sent, without workers none is run."""

    def fail(subject, text):
        raise ConnectionRefusedError("no mail server")

    def watch():
        with django_capture_on_commit_callbacks(execute=True):
            health.watch(name)

    settings.ADMINS = [("ops", "ops@example.com")]
    with monkeypatch.context() as patch:
        patch.setattr(alerting, "mail_admins", fail)
        watch()
    watch()
    assert not mailoutbox, "not at once"
    Alert.objects.update(try_at=timezone.now())
    watch()
    watch()
    assert len(mailoutbox) == 1


def test_probes_need_no_tls(client, settings):
    settings.SECURE_SSL_REDIRECT = True
    assert client.get("/health/live/").status_code == 200
    assert client.get("/login/").status_code == 301
