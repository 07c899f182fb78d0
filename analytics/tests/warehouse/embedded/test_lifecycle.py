"""Starting, stopping, crashing, and the reasons for not starting."""

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import Error, ServerException

from analytics.warehouse.embedded import EmbeddedClickHouse
from analytics.warehouse.embedded.spool import clean

pytestmark = pytest.mark.slow

ENDLESS = "SELECT count() FROM system.numbers WHERE cityHash64(number) = 1"


def start(*arguments):
    """Runs the server in the foreground, as a user would; for starts that fail."""
    return subprocess.run(
        [sys.executable, "-m", "analytics.warehouse.embedded", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def assert_refused(result, *words):
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1
    for word in words:
        assert str(word) in result.stderr


@pytest.mark.parametrize("how", ["stop", "interrupt"])
def test_a_stop_is_quick_and_clean_even_during_a_query(tmp_path, how):
    server = EmbeddedClickHouse(tmp_path)
    with Client(server.host, port=server.port) as client:
        progress = client.execute_with_progress(ENDLESS)
        next(progress)
        started = time.monotonic()
        assert getattr(server, how)() == 0
        assert time.monotonic() - started < 2.5
    assert "Traceback" not in server.log.read_text()


def test_it_ends_with_the_process_that_started_it(tmp_path):
    script = (
        "import os, pathlib; from analytics.warehouse.embedded import EmbeddedClickHouse\n"
        f"print(EmbeddedClickHouse(pathlib.Path({str(tmp_path)!r})).pid, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    parent = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False)
    deadline = time.monotonic() + 5
    while _lives(int(parent.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lives(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_data_stay_after_a_stop(tmp_path):
    for expected in ([], [(1,)], [(1,), (1,)]):
        with (
            EmbeddedClickHouse(tmp_path) as server,
            Client(server.host, port=server.port) as client,
        ):
            client.execute("CREATE TABLE IF NOT EXISTS t (a Int8) ENGINE = MergeTree ORDER BY a")
            assert client.execute("SELECT * FROM t") == expected
            client.execute("INSERT INTO t VALUES", [(1,)])


def test_nothing_acknowledged_is_lost_in_a_crash(tmp_path):
    acknowledged = set()
    for crash in range(3):
        server = EmbeddedClickHouse(tmp_path)
        with Client(server.host, port=server.port) as client:
            client.execute("CREATE TABLE IF NOT EXISTS t (a UInt32) ENGINE = MergeTree ORDER BY a")
            assert acknowledged <= {a for (a,) in client.execute("SELECT a FROM t")}
            threading.Timer(0.5, server.kill).start()
            with suppress(Error, EOFError, OSError):
                for number in range(crash * 10000, (crash + 1) * 10000):
                    client.execute("INSERT INTO t VALUES", [(number,)])
                    acknowledged.add(number)
        server.kill()
    assert acknowledged
    with EmbeddedClickHouse(tmp_path) as server, Client(server.host, port=server.port) as client:
        found = {a for (a,) in client.execute("SELECT a FROM t")}
    assert acknowledged <= found
    assert len(found - acknowledged) <= 3  # written, but the answer did not arrive


def test_spool_files_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / "left.native").write_bytes(b"x")
    (tmp_path / "other").write_bytes(b"x")
    clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_second_process_on_the_directory_is_refused(endpoint):
    result = start("--path", endpoint.directory, "--port", 0)
    assert_refused(result, endpoint.directory, endpoint.pid, "--path")


def test_a_taken_port_is_refused(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_refused(start("--path", tmp_path, "--port", port), port, "--port")


def test_a_directory_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "data"
    assert_refused(start("--path", path, "--port", 0), path, "--path")


def test_an_open_host_without_a_password_is_refused(tmp_path):
    result = start("--path", tmp_path, "--port", 0, "--host", "0.0.0.0")
    assert_refused(result, "0.0.0.0", "--password", "127.0.0.1")


def test_the_process_object_reports_why_it_could_not_start(tmp_path):
    with EmbeddedClickHouse(tmp_path), pytest.raises(RuntimeError, match="in use by process"):
        EmbeddedClickHouse(tmp_path, log=tmp_path / "second.log")


def test_a_full_disk_is_reported_and_the_server_keeps_running(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system to fill can be mounted by root only")
    try:
        with EmbeddedClickHouse(disk, log=tmp_path / "log") as server:
            _fill(server)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)  # noqa: S607


def _fill(server):
    with Client(server.host, port=server.port) as client:
        client.execute("CREATE TABLE t (s String) ENGINE = MergeTree ORDER BY tuple()")
        client.execute("INSERT INTO t VALUES", [("kept",)])
        rows = [(os.urandom(50_000).hex(),) for _ in range(400)]
        for statement, data in (
            ("INSERT INTO t VALUES", rows),
            ("INSERT INTO t SELECT randomString(1000000) FROM numbers(100)", None),
        ):
            with pytest.raises(
                ServerException, match="disk of the data directory is full"
            ) as caught:
                client.execute(statement, data)
            assert caught.value.code == 243
        assert client.execute("SELECT * FROM t") == [("kept",)]


def test_a_file_that_may_not_grow_is_reported_as_a_full_disk(tmp_path):
    with EmbeddedClickHouse(tmp_path) as server:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (200_000, 200_000))
        with Client(server.host, port=server.port) as client:
            client.execute("CREATE TABLE t (s String) ENGINE = MergeTree ORDER BY s")
            rows = [("x" * 1000,) for _ in range(1000)]
            with pytest.raises(ServerException) as caught:
                client.execute("INSERT INTO t VALUES", rows)
            assert caught.value.code == 243
            assert client.execute("SELECT count() FROM t") == [(0,)]
