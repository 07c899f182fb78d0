"""Loads survive broken connections to the database."""

import psycopg
import pytest
from django.db import connection

from analytics.warehouse.catalog import TABLES
from common.tests.queues import impatient
from loaders.jobs import queue, worker
from loaders.models import LoadJob
from loaders.tests.crashing import before_statement
from loaders.tests.histories import history, row
from loaders.tests.lakes import put_jsonl
from loaders.tests.thoroughness import statements

pytestmark = pytest.mark.slow
OLD = [("A", 1, None)]
MAX_STATEMENTS = 40


@pytest.mark.django_db(transaction=True)
def test_loads_survive_connections_that_break_before_any_statement(
    acme, lake, warehouse, monkeypatch
):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no connections that could break")
    monkeypatch.setattr(LoadJob, "RETRY", impatient(LoadJob.RETRY))
    for number in statements(MAX_STATEMENTS):
        key = str(number)
        put_jsonl(lake, acme, "companies", "a.jsonl", [row("A", 1, id=key)])
        job = queue.request_load(acme, TABLES["companies"])
        with monkeypatch.context() as patch:
            broken = before_statement(patch, number, break_connections)
            worker.run(job.pk)
        while (state := LoadJob.objects.get(pk=job.pk).state) in LoadJob.ACTIVE:
            assert worker.run(job.pk) is not None, state
        assert state == LoadJob.State.SUCCEEDED
        assert history(acme, key) == OLD
        if not broken():
            return
    pytest.fail("not every statement was tried")


def break_connections():
    database = connection.settings_dict
    with psycopg.connect(
        host=database["HOST"],
        port=database["PORT"] or 5432,
        user=database["USER"],
        password=database["PASSWORD"],
        dbname=database["NAME"],
    ) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
