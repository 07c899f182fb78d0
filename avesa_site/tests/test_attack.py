"""Slow clients and greedy users: pages of other tenants and liveness probes stay quick.

The real web server (gunicorn, waitress), Redis, PostgreSQL and the embedded warehouse. `make test`
runs each load for a moment and checks the limits; `make attack` runs it for longer, checks the
times, too, and writes them into docs/reliability.md.
"""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlencode

import pytest
from django.utils import timezone

from analytics.reports.tests.test_pages import form
from analytics.warehouse.catalog import TABLES
from avesa_site.tests import probing
from avesa_site.tests.site import CSRF, Site, cookies_of
from benchmarks.histories import fill
from loaders.tests.recording import record
from tenants.models import Membership, Tenant, User

SECONDS = float(os.environ.get("AVESA_ATTACK_SECONDS", "3"))  # of each load
REPORT = os.environ.get("AVESA_ATTACK_REPORT")
GREEDY, QUIET = (50_000, 10_000) if REPORT else (2_500, 1_000)  # tickets
FACTOR = 3  # of its quiet time, for a page of another tenant
LIVE = 0.2  # seconds for a liveness probe
PAUSE = 1.0  # seconds after which a greedy user tries again

pytestmark = [
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(600),
]


@pytest.fixture
def site(settings, tmp_path, warehouse):
    running = Site(tmp_path)
    yield running
    assert running.stop() == 0


@pytest.fixture
def greedy(warehouse):
    return _member("greedy", GREEDY)


@pytest.fixture
def quiet(warehouse):
    return _member("quiet", QUIET)


def _member(name, tickets):
    """(tenant, its admin); with tickets of two years."""
    tenant = Tenant.objects.create(id=f"{name}-{os.getpid()}-{next(_numbers)}", name=name)
    user = User.objects.create_user(tenant.id, f"{name}@example.com")
    Membership.objects.create(user=user, tenant=tenant, role=Membership.Role.ADMIN)
    fill(tenant.id, tickets)
    return tenant, user


_numbers = itertools.count(1)


# --- The loads. Each is a context, and gives the statuses of its responses.


@contextmanager
def _clients(number, request):
    """So many clients, each with its next request as soon as it has a response."""
    statuses, stopped = [], threading.Event()

    def run(client):
        for turn in itertools.count():
            if stopped.is_set():
                return
            response = request(client, turn)
            statuses.append(response.status)
            if response.status == 429:
                assert int(response.headers["Retry-After"]) >= 1
                stopped.wait(PAUSE)

    threads = [threading.Thread(target=run, args=(each,)) for each in range(number)]
    for each in threads:
        each.start()
    try:
        yield statuses
    finally:
        stopped.set()
        for each in threads:
            each.join()


def exports(site, greedy):
    """20 parallel XLSX exports of all columns"""
    tenant, user = greedy
    cookies = cookies_of(user)
    query = urlencode([("columns", name) for name in TABLES["tickets"].column_names])
    path = f"/t/{tenant.id}/explore/tickets.xlsx?{query}"
    return _clients(20, lambda *_: site.get(path, cookies))


def previews(site, greedy):
    """50 report previews with PDF"""
    tenant, user = greedy
    body = urlencode(form(tenant, user, period="last-12-months"), doseq=True)
    headers = {"X-CSRFToken": CSRF, "Content-Type": "application/x-www-form-urlencoded"}
    cookies, path = cookies_of(user), f"/t/{tenant.id}/reports/preview/"
    return _clients(50, lambda *_: site.request("POST", path, cookies, body=body, headers=headers))


def dashboards(site, greedy):
    """20 dashboards of three years, each with other days"""
    tenant, user = greedy
    cookies, today = cookies_of(user), timezone.now().date()

    def request(client, turn):
        start = today - timedelta(days=1095 - (client * 40 + turn) % 800)
        return site.get(f"/t/{tenant.id}/board/service/?start={start}&end={today}", cookies)

    return _clients(20, request)


@contextmanager
def _connections(site, number, sent, receive_buffer=None):
    with ExitStack() as stack:
        connections = [stack.enter_context(site.socket(receive_buffer)) for _ in range(number)]
        for each in connections:
            each.sendall(sent)
        time.sleep(0.5)
        yield []


def half_headers(site, greedy, number=16):
    """16 half-sent headers"""
    return _connections(site, number, b"GET /login/ HTTP/1.1\r\nHost: a\r\nX-Long: ")


def many_half_headers(site, greedy):
    """500 half-sent headers"""
    return half_headers(site, greedy, 500)


def slow_bodies(site, greedy):
    """64 slowly sent forms"""
    head = b"POST /login/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\nusername="
    return _connections(site, 64, head)


def slow_readers(site, greedy):
    """12 slowly read CSV exports"""
    tenant, _ = greedy
    users = [User.objects.create_user(f"{tenant.id}-{each}") for each in range(12)]
    with_access = [Membership(user=each, tenant=tenant) for each in users]
    Membership.objects.bulk_create(with_access)
    query = urlencode([("columns", name) for name in TABLES["tickets"].column_names])
    requests = [
        f"GET /t/{tenant.id}/explore/tickets.csv?{query} HTTP/1.1\r\nHost: a\r\n"
        f"Cookie: {cookies_of(each)}\r\n\r\n".encode()
        for each in users
    ]

    @contextmanager
    def read():
        statuses = []
        with ExitStack() as stack:
            connections = [stack.enter_context(site.socket(4096)) for _ in users]
            for connection, request in zip(connections, requests, strict=True):
                connection.sendall(request)
            readers = [
                threading.Thread(target=lambda c=each: statuses.append(int(c.recv(12)[9:12])))
                for each in connections
            ]
            for each in readers:
                each.start()
            yield statuses
            for each in readers:
                each.join()

    return read()


LOADS = [
    exports, previews, dashboards, half_headers, many_half_headers, slow_bodies, slow_readers
]  # fmt: skip
LIMITED = {exports, previews, dashboards, slow_readers}


def _times(site, quiet, seconds):
    """(seconds of each page of the quiet tenant, of each liveness probe)"""
    tenant, user = quiet
    colleagues = [User.objects.create_user(f"{user}-{next(_numbers)}") for _ in range(3)]
    for each in colleagues:
        Membership.objects.create(user=each, tenant=tenant)
    command = [sys.executable, str(Path(probing.__file__)), str(site.port), str(seconds)]
    command += [f"/t/{tenant.id}/", "/health/live/", *map(cookies_of, colleagues)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    pages, probes = zip(*json.loads(output), strict=True)
    assert {tuple(each[2:]) for each in pages} == {(12, 0)}
    assert {each[0] for each in (*pages, *probes)} == {200}
    return [each[1] for each in pages], [each[1] for each in probes]


def test_no_load_starves_other_tenants_or_probes(site, greedy, quiet):
    _times(site, quiet, 1)
    pages, probes = _times(site, quiet, SECONDS)
    calm = _p95(pages)
    rows = [["none", _ms(median(pages)), _ms(calm), "1.0", _ms(max(probes)), ""]]
    slow = []
    for load in LOADS:
        with load(site, greedy) as statuses:
            time.sleep(min(3, SECONDS / 3))  # its processes have started
            pages, probes = _times(site, quiet, SECONDS)
        assert set(statuses) <= {200, 429}, load.__name__
        assert (429 in statuses) == (load in LIMITED), load.__name__
        factor = _p95(pages) / calm
        answered = f"{statuses.count(200)} / {statuses.count(429)}" if statuses else ""
        rows.append(
            [load.__doc__, _ms(median(pages)), _ms(_p95(pages)), f"{factor:.1f}",
             _ms(max(probes)), answered]
        )  # fmt: skip
        print(rows[-1])  # noqa: T201
        if factor > FACTOR or max(probes) > LIVE:
            slow.append(load.__doc__)
    if REPORT:
        assert not slow
        _write(rows)


def _write(rows):
    heading = ["Load", "Page of another tenant, median", "p95", "p95 / quiet p95",
               "`/health/live/`, longest", "Responses 200 / 429"]  # fmt: skip
    record(REPORT, "attack", f"{len(rows) - 1} loads of {SECONDS:g} seconds", heading, rows)


def _p95(values):
    return quantiles(values, n=20, method="inclusive")[-1]


def _ms(seconds):
    return f"{seconds * 1000:,.0f} ms"
