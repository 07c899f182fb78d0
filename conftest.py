"""What all tests share: a warehouse, a lake, and the cast.

alice owns acme, bob views acme, charlie belongs to globex; dora is staff and member of nothing.
Each pytest process has one embedded endpoint and one S3 emulation; each test gets tenants of its
own, so that no test sees another's rows.
"""

import itertools
import logging

import pytest
from django.core.cache import cache
from django.test import override_settings
from moto.server import ThreadedMotoServer

from analytics.metrics import cache as answers
from analytics.warehouse import pool, schema
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.embedded.process import EmbeddedClickHouse
from avesa_site.celery import app
from common import aws, logs
from loaders.lake.s3 import Lake
from tenants.models import Membership, Tenant, User

_numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords():
    """Hashing passwords well takes most of the time of a test that logs in."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(autouse=True)
def _empty_cache(settings):
    """Tests share no cache, neither with each other nor with other processes."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    cache.clear()
    answers.reset_hit_counts()
    aws.clear_cache()


@pytest.fixture(autouse=True)
def _no_limits(settings):
    """Test processes share the counts of requests; tests of limits set their own."""
    settings.REQUEST_LIMITS = {}


@pytest.fixture(autouse=True)
def _no_ids_on_lines():
    """A response that a test does not read to its end leaves its ids in the log context."""
    logs._ids.set({})


@pytest.fixture
def sent_tasks(monkeypatch):
    """Name and arguments of each task sent from now on; nothing leaves this process."""
    sent = []
    monkeypatch.setattr(
        app, "send_task", lambda name, args=(), *_, **options: sent.append((name, *args))
    )
    return sent


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory):
    """An embedded endpoint for this pytest process, stopped at its end."""
    with EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse")) as process:
        yield process
        pool.close_all()


_schemas = []


@pytest.fixture(scope="session")
def _schema(endpoint):
    with override_settings(CLICKHOUSE_URL=_url(endpoint)):
        schema.apply(schema.plan())
        _schemas.append(_url(endpoint))
        yield
        pool.close_all()


@pytest.fixture(scope="module", autouse=True)
def _emptied():
    """Hundreds of tenants' partitions would slow down the statements of later modules."""
    yield
    for url in _schemas:
        with override_settings(CLICKHOUSE_URL=url):
            for table in (*(each.shared_name for each in TABLES.values()), "load_log"):
                WarehouseClient().run(f"TRUNCATE TABLE {table}")


def _url(endpoint):
    return f"clickhouse://default@127.0.0.1:{endpoint.port}/avesa"


@pytest.fixture
def warehouse(endpoint, _schema, settings):
    """The warehouse with AVESA's schema, and settings that point to it."""
    settings.CLICKHOUSE_URL = _url(endpoint)
    return WarehouseClient()


@pytest.fixture(scope="module")
def module_warehouse(endpoint, _schema):
    """The same for a whole module, for data that is costly to load."""
    with override_settings(CLICKHOUSE_URL=_url(endpoint)):
        yield WarehouseClient()


@pytest.fixture(scope="session")
def _s3():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def lake(_s3, settings):
    """An S3 bucket of this test's own."""
    settings.LAKE_ENDPOINT_URL = _s3
    settings.LAKE_BUCKET = f"lake-{next(_numbers)}"
    bucket = Lake()
    bucket.create_bucket()
    yield bucket
    bucket.client.close()


@pytest.fixture(scope="module")
def module_lake(_s3):
    """An S3 bucket for a whole module."""
    with override_settings(LAKE_ENDPOINT_URL=_s3, LAKE_BUCKET=f"lake-{next(_numbers)}"):
        bucket = Lake()
        bucket.create_bucket()
        yield bucket
        bucket.client.close()


@pytest.fixture
def acme(db):
    return _tenant("acme", "America/New_York")


@pytest.fixture
def globex(db):
    return _tenant("globex", "Australia/Sydney")


def _tenant(name, time_zone):
    tenant_id = f"{name}-{next(_numbers)}"
    return Tenant.objects.create(id=tenant_id, name=name.title(), time_zone=time_zone)


@pytest.fixture
def alice(acme):
    return _member("alice", acme, Membership.Role.ADMIN)


@pytest.fixture
def bob(acme):
    return _member("bob", acme, Membership.Role.VIEWER)


@pytest.fixture
def charlie(globex):
    return _member("charlie", globex, Membership.Role.ADMIN)


@pytest.fixture
def dora(db):
    return User.objects.create_superuser("dora", "dora@example.com", "pass")


def _member(name, tenant, role):
    user = User.objects.create_user(name, f"{name}@example.com", "pass")
    Membership.objects.create(user=user, tenant=tenant, role=role)
    return user


@pytest.fixture
def put_rows(warehouse):
    """Insert versions straight into the warehouse: put_rows(tenant, "tickets", [...])."""

    def put(tenant, table_name, rows):
        table = TABLES[table_name]
        names = sorted({name for row in rows for name in row} | {"tenant_id"})
        columns = [[row.get(name) for row in rows] for name in names if name != "tenant_id"]
        columns.insert(names.index("tenant_id"), [tenant.id] * len(rows))
        warehouse.insert(table.shared_name, names, columns)

    return put
