"""The real web server, as in production, for tests that send it what browsers do not send."""

import os
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

ROOT = Path(__file__).resolve().parents[2]
CSRF = "c" * 32


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Site:
    """Two web processes on the test database and the warehouse of the settings."""

    def __init__(self, folder, **environment):
        self.port = free_port()
        self.log = folder / "web.log"
        database = settings.DATABASES["default"]
        known = {
            "DATABASE_URL": f"postgres://{database['USER']}:{database['PASSWORD']}"
            f"@{database['HOST']}:{database['PORT']}/{database['NAME']}",
            "CLICKHOUSE_URL": settings.CLICKHOUSE_URL,
            "CACHE_URL": settings.CACHE_URL,
            "LOG_LEVEL": "WARNING",
        }
        command = [sys.executable, "-m", "gunicorn", "avesa_site.wsgi"]
        command += ["--bind", f"127.0.0.1:{self.port}"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | known | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait()

    @property
    def pid(self):
        return self._process.pid

    def _wait(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            try:
                assert self.get("/health/live/", timeout=5).status == 200
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(self.log.read_text()[-3000:])

    def stop(self):
        """End it as an init system would; returns its exit status."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(30)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def socket(self, receive_buffer=None):
        """A connection whose client sends and reads what it likes, as slowly as it likes."""
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def get(self, path, cookies="", timeout=120, **options):
        """The response, read to its end, with `body` and `seconds`."""
        return self.request("GET", path, cookies, timeout, **options)

    def request(self, method, path, cookies="", timeout=120, body=None, headers=()):
        started = time.perf_counter()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {"Cookie": cookies, **dict(headers)})
            response = connection.getresponse()
            response.body = response.read()
        finally:
            connection.close()
        response.seconds = time.perf_counter() - started
        return response


def cookies_of(user):
    """The cookies of a user who is logged in, without the cost of a password."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return f"sessionid={session.session_key}; csrftoken={CSRF}"
