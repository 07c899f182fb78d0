"""Helpers that load rows and read the resulting history."""

from datetime import UTC, datetime

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.client import WarehouseClient
from loaders.jobs import queue, worker
from loaders.models import LoadJob
from loaders.tests.lakes import key, put_jsonl


def day(number):
    return datetime(2026, 1, number, tzinfo=UTC)


def row(status, at, **more):
    """A version of a company that took effect on the `at`th of January."""
    return {"id": "1", "status": status, "updated_at": f"2026-01-{at:02d}T00:00:00Z", **more}


def load(tenant, table="companies", **options):
    """Run a load job (incremental by default) and return it."""
    job = queue.request_load(tenant, TABLES[table], **options)
    worker.run(job.pk)
    job.refresh_from_db()
    return job


def deliver(lake, tenant, name, *rows, **options):
    """Put one file of companies and load it."""
    put_jsonl(lake, tenant, "companies", name, list(rows))
    job = load(tenant, **options)
    assert job.state == LoadJob.State.SUCCEEDED, job.error
    return job


def remove(lake, tenant, name, table="companies"):
    lake.client.delete_object(Bucket=lake.bucket, Key=key(tenant, table, name))


def history(tenant, company="1", columns="status"):
    """[(status, from day, until day or None)] of the visible versions, in order."""
    rows = WarehouseClient().rows(
        f"""SELECT {columns}, effective_date, expiry_date FROM shared_companies
        WHERE tenant_id = {{t:String}} AND company_id = {{c:String}}
        AND effective_date < expiry_date ORDER BY effective_date""",
        {"t": tenant.id, "c": company},
    )
    return [
        (*values, start.day, None if end.year == 2999 else end.day) for *values, start, end in rows
    ]


def stored(tenant, columns="count()"):
    """Rows of `columns`, sorted: merges may change their order."""
    rows = WarehouseClient().rows(
        f"SELECT {columns} FROM shared_companies WHERE tenant_id = {{t:String}}", {"t": tenant.id}
    )
    return sorted(rows, key=repr)


def current(tenant):
    return {
        company
        for (company,) in WarehouseClient().rows(
            "SELECT company_id FROM companies_current WHERE tenant_id = {t:String}",
            {"t": tenant.id},
        )
    }
