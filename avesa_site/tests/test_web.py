"""The web server, with clients that are slow, send too much, or hang in the warehouse."""

import json
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from avesa_site import web
from avesa_site.tests.site import Site, cookies_of
from tenants.models import Membership, Tenant, User

pytestmark = [
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.django_db(transaction=True),
]
THREADS = 32  # in gunicorn.conf.py: of all processes


@pytest.fixture
def black_hole(settings):
    """A warehouse that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        port = server.getsockname()[1]
        settings.CLICKHOUSE_URL = f"clickhouse://default@127.0.0.1:{port}/avesa"
        yield server


@pytest.fixture
def site(tmp_path):
    no_limits = json.dumps(dict.fromkeys(["figures", "listing"], [1000] * 4))
    running = Site(
        tmp_path,
        REQUEST_LIMITS=no_limits,
        CLICKHOUSE_POOL_SIZE="1000",
        CLICKHOUSE_READ_TIMEOUT="4",
    )
    yield running
    assert running.stop() == 0


def members(count):
    """The path of an overview and the cookies of so many users."""
    tenant = Tenant.objects.create(id=f"web-{os.getpid()}", name="Web")
    users = [User.objects.create_user(f"{tenant.id}-{each}") for each in range(count)]
    Membership.objects.bulk_create(Membership(user=each, tenant=tenant) for each in users)
    return f"/t/{tenant.id}/", [cookies_of(each) for each in users]


def test_probes_are_answered_while_every_thread_hangs_in_the_warehouse(black_hole, site):
    path, cookies = members(3 * THREADS)  # however they are spread over the processes
    answers = []
    threads = [
        threading.Thread(target=lambda c=each: answers.append(site.get(path, c).status))
        for each in cookies
    ]
    for each in threads:
        each.start()
    time.sleep(1)
    assert not answers, "every page waits"
    with pytest.raises(TimeoutError):
        site.get("/login/", timeout=1)
    for _ in range(20):
        probe = site.get("/health/live/", timeout=5)
        assert (probe.status, json.loads(probe.body)) == (200, {"live": True})
    assert not answers
    for each in threads:
        each.join()
    assert set(answers) <= {429, 503}


def test_clients_that_send_slowly_hold_no_thread_and_are_cut_off(site):
    half = b"POST /login/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n"
    headers = [site.socket() for _ in range(2 * THREADS)]
    bodies = [site.socket() for _ in range(2 * THREADS)]
    for each in headers:
        each.sendall(half)
    for each in bodies:
        each.sendall(half + b"\r\nusername=")
    assert site.get("/login/", timeout=5).status == 200
    begun = time.monotonic()
    for _ in range(web.HEADER_SECONDS):
        time.sleep(1)
        for each in headers:  # a byte now and then keeps no connection open
            with suppress(OSError):
                each.sendall(b"x")
    for each in headers:
        each.settimeout(10)
        with suppress(ConnectionResetError):
            assert each.recv(1) == b""
    assert time.monotonic() - begun >= web.HEADER_SECONDS - 1
    for each in bodies:
        each.sendall(b"x")
        each.setblocking(False)
        with pytest.raises(BlockingIOError):
            each.recv(1)
    for each in headers + bodies:
        each.close()


def test_requests_that_are_too_large_or_broken_are_refused(site):
    for sent, status in (
        (b"GET /login/ HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (web.MAX_HEADERS + 1), b"431"),
        (b"POST /login/ HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", b"413"),
        (b"nonsense\r\n\r\n", b"400"),
    ):
        with site.socket() as connection:
            connection.sendall(sent)
            assert connection.recv(1000).split()[1] == status
    assert site.get("/login/").status == 200


def test_a_process_that_dies_is_replaced(site):
    children = Path(f"/proc/{site.pid}/task/{site.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    time.sleep(0.5)
    for _ in range(20):
        assert site.get("/health/live/", timeout=30).status == 200
