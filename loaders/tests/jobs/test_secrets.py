"""No secret is written anywhere by loads that succeed or fail: all their output is scanned."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.apps import apps
from django.core.serializers import serialize
from django.urls import get_resolver, reverse

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.errors import WarehouseError
from avesa_site.doctor import checks
from common import logs
from loaders.jobs import queue, worker
from loaders.models import LoadJob, PipelineRun
from loaders.pipelines import runs
from loaders.tests.injuries import after_staging
from loaders.tests.lakes import put_bytes, put_jsonl, put_parquet

SECRETS = {
    "LAKE_SECRET_ACCESS_KEY": "lake-key-that-must-stay-secret",
    "SECRET_KEY": "signing-key-that-must-stay-secret",
}
MARK = "must-stay-secret"
BROKEN = "clickhouse://me:warehouse-password-must-stay-secret@127.0.0.1:1/avesa"


@pytest.fixture
def written(settings, caplog):
    """All log lines, as the handlers of a process would write them."""
    for name, secret in SECRETS.items():
        setattr(settings, name, secret)
    logs.forget_secrets()
    lines = []
    handler = logging.Handler(logging.DEBUG)
    formatter = logs.LineFormatter("%(levelname)s %(message)s")
    handler.emit = lambda record: lines.append(formatter.format(record))
    logging.getLogger().addHandler(handler)
    caplog.set_level(logging.DEBUG)
    yield lines
    logging.getLogger().removeHandler(handler)
    logs.forget_secrets()


def rows_of_every_model():
    return "".join(
        serialize("json", model.objects.all())
        for model in apps.get_models()
        if model._meta.app_label in ("loaders", "tenants", "reports", "common")
    )


@pytest.mark.django_db(transaction=True)
def test_no_secret_is_written_anywhere(
    acme, lake, warehouse, written, settings, client, dora, monkeypatch, mailoutbox, sent_tasks
):
    settings.ADMINS = [("ops", "ops@example.com")]
    put_parquet(lake, acme, "companies", "a.parquet", [{"id": "1"}])
    put_jsonl(lake, acme, "contacts", "a.jsonl", [{"id": "1"}, {"id": None}])
    put_bytes(lake, acme, "tickets", "a.parquet", b"broken")
    run = runs.request_run(acme, PipelineRun.Trigger.COMMAND)
    under_way = _statements_under_way(run)
    run.refresh_from_db()
    assert run.state == PipelineRun.State.FAILED  # tickets
    assert run.rows_loaded == 2
    _fail_in_every_way(acme, settings, monkeypatch)
    pages = list(_pages(client, dora))
    findings = [each.message for each in checks.examine([acme])]
    mails = [f"{mail.subject} {mail.body}" for mail in mailoutbox]
    assert len(written) > 20
    assert len(under_way) > 0
    assert len(mails) > 1
    for where in (written, under_way, pages, findings, mails, [rows_of_every_model()], _notes()):
        assert [_around(text) for text in where if MARK in text] == []


def _around(text):
    return text[max(0, text.index(MARK) - 200) :][:300]


def _statements_under_way(run):
    """The texts of running statements, polled from the warehouse while loads run."""
    seen, done = set(), threading.Event()

    def look():
        while not done.is_set():
            seen.update(
                text for (text,) in WarehouseClient().rows("SELECT query FROM system.processes")
            )
        return seen

    with ThreadPoolExecutor(1) as threads:
        looking = threads.submit(look)
        runs.advance(run.pk)
        while worker.run_next():
            runs.advance(run.pk)
        done.set()
        return looking.result()


def _fail_in_every_way(acme, settings, monkeypatch):
    """The lake is down, the warehouse is down, an unexpected error holds a secret."""
    right = settings.LAKE_ENDPOINT_URL, settings.CLICKHOUSE_URL

    def fail_unforeseen(scratch):
        raise RuntimeError(f"it was {SECRETS['LAKE_SECRET_ACCESS_KEY']}")

    settings.LAKE_ENDPOINT_URL = "http://127.0.0.1:1"
    _load(acme)
    settings.LAKE_ENDPOINT_URL, settings.CLICKHOUSE_URL = right[0], BROKEN
    _load(acme)
    with pytest.raises(WarehouseError) as error:
        WarehouseClient().run("SELECT 1")
    assert MARK not in str(error.value)
    settings.CLICKHOUSE_URL = right[1]
    with monkeypatch.context() as patch:
        after_staging(patch, fail_unforeseen)
        _load(acme)


def _load(acme):
    worker.run(queue.request_load(acme, TABLES["companies"]).pk)
    LoadJob.objects.filter(state__in=LoadJob.ACTIVE).update(state=LoadJob.State.FAILED)


def _pages(client, dora):
    """Staff pages about these loads, and an error page."""
    client.force_login(dora)
    client.raise_request_exception = False
    for model in ("loadjob", "pipelinerun", "loadedfile"):
        yield client.get(reverse(f"admin:loaders_{model}_changelist")).content.decode()
    for job in LoadJob.objects.all():
        yield client.get(reverse("admin:loaders_loadjob_change", args=[job.pk])).content.decode()
    for run in PipelineRun.objects.all():
        url = reverse("admin:loaders_pipelinerun_change", args=[run.pk])
        yield client.get(url).content.decode()
    yield client.get(reverse("admin:index")).content.decode()
    yield client.get(reverse("doctor")).content.decode()
    answer = get_resolver().resolve_error_handler(500)(client.get("/health/live/").wsgi_request)
    yield answer.content.decode()


def _notes():
    """What the warehouse records about loads and errors."""
    tables = ("load_log", "load_rejects")
    texts = [str(WarehouseClient().rows(f"SELECT * FROM {table}")) for table in tables]
    return [*texts, str(WarehouseClient().rows("SELECT last_error_message FROM system.errors"))]


def test_the_scan_would_find_a_secret(acme, written):
    logging.getLogger("loaders").warning("password=%s", MARK)
    assert any(MARK in line for line in written)
    PipelineRun.objects.create(
        tenant=acme, trigger="command", try_at=acme.created_at, error=f"key {MARK}"
    )
    assert MARK in rows_of_every_model()
