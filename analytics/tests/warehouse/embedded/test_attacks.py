"""Bare packets: what no driver sends. The endpoint answers with an exception, and serves others."""

import hashlib
import os
import resource
import struct
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException

from analytics.tests.warehouse.embedded.wire import BLOCK_INFO, END_OF_DATA, HELLO, Wire, block
from analytics.warehouse.embedded import EmbeddedClickHouse, compression, connection
from analytics.warehouse.embedded.byte_reader import Reader
from analytics.warehouse.embedded.connection import _equal
from analytics.warehouse.embedded.protocol import string, varint
from analytics.warehouse.embedded.server_errors import ServerError

# Before the login


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff" * 100, 117),  # a number without end
        (varint(0) + varint(1 << 62), 131),  # a name of many exabytes
        (varint(0) + varint(1 << 20) + b"x" * 100, 131),
        (HELLO + string("") + string("default") + varint(1 << 40), 131),
        (varint(1), 101),  # a query first
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 101),  # TLS
    ],
)
def test_before_its_login_a_client_cannot_make_the_endpoint_collect_data(wire, data, code):
    pending = wire().send(data)
    assert pending.error()[0] == code
    assert pending.read() == b""


@pytest.fixture
def impatient(tmp_path):
    """An endpoint that gives a client one second for its login."""
    with EmbeddedClickHouse(tmp_path, options=("--login-seconds", "1")) as server:
        yield server


def test_a_client_that_stops_before_its_login_is_disconnected(impatient):
    for sent in (b"", varint(0), HELLO):
        started = time.monotonic()
        with closing(Wire(impatient).send(sent)) as pending:
            assert pending.error()[0] == 209
        assert time.monotonic() - started < 2.5


def test_a_client_that_drips_bytes_before_its_login_is_disconnected(impatient):
    started = time.monotonic()
    with closing(Wire(impatient).send(varint(0) + varint(60000))) as pending, suppress(OSError):
        while time.monotonic() - started < 6:
            pending.send(b"x")
            time.sleep(0.1)
    assert time.monotonic() - started < 5


def test_a_client_that_has_logged_in_may_wait(impatient):
    with Client(impatient.host, port=impatient.port) as client:
        assert client.execute("SELECT 1") == [(1,)]
        time.sleep(1.5)
        assert client.execute("SELECT sleep(1.5)") == [(0,)]
        assert client.execute("SELECT 1") == [(1,)]
        assert client.connection.connected


def test_many_clients_before_their_login_do_not_keep_another_out(endpoint, wire):
    pending = [wire() for _ in range(400)]
    started = time.monotonic()
    with Client(endpoint.host, port=endpoint.port) as client:
        assert client.execute("SELECT 1") == [(1,)]
    assert time.monotonic() - started < 3
    gone = [one for one in pending if _is_closed(one.socket)]
    assert len(gone) >= 100


def test_connections_have_a_limit(tmp_path):
    with EmbeddedClickHouse(tmp_path, options=("--max-connections", "3")) as server:
        clients = [Client(server.host, port=server.port) for _ in range(4)]
        for client in clients[:3]:
            assert client.execute("SELECT 1") == [(1,)]
        with pytest.raises(ServerException) as caught:
            clients[3].execute("SELECT 1")
        assert caught.value.code == 202
        clients[0].disconnect()
        time.sleep(0.3)
        assert clients[3].execute("SELECT 1") == [(1,)]
        for client in clients:
            client.disconnect()


def test_user_and_password_are_compared_separately(tmp_path):
    with EmbeddedClickHouse(tmp_path, password="b:c") as server:
        for user, password in (("default:b", "c"), ("", "default:b:c"), ("default", "b:c\0")):
            with closing(Wire(server, user, password)) as pending:
                assert pending.send(pending.login).error()[0] == 516
        with closing(Wire(server, "default", "b:c").logged_in()) as client:
            assert client.lives()


def test_secrets_are_compared_as_digests(monkeypatch):
    compared = []
    monkeypatch.setattr(
        connection.hmac, "compare_digest", lambda *given: compared.append(given) or True
    )
    assert _equal("x" * 1000, "secret")
    assert [len(digest) for digest in compared[0]] == [hashlib.sha256().digest_size] * 2


@pytest.fixture
def hasty(tmp_path):
    """An endpoint that waits one second in the middle of a packet."""
    with EmbeddedClickHouse(tmp_path, options=("--packet-seconds", "1")) as server:
        yield server


def test_a_client_that_stops_in_the_middle_of_a_packet_gets_an_exception(hasty):
    for packet in (varint(1) + varint(100), varint(1), varint(2) + string("") + BLOCK_INFO):
        with closing(Wire(hasty).logged_in()) as client:
            assert client.send(packet).error()[0] == 209


def test_a_client_that_stops_reading_is_disconnected(hasty):
    running = "SELECT count() FROM system.processes WHERE query LIKE '%numbers(1e10)%'"
    running += " AND query NOT LIKE '%processes%'"
    with (
        closing(Wire(hasty).logged_in()) as lazy,
        Client(hasty.host, port=hasty.port) as observer,
    ):
        lazy.query("SELECT number FROM numbers(1e10)")
        time.sleep(0.5)
        assert observer.execute(running) == [(1,)]
        time.sleep(1.5)
        deadline = time.monotonic() + 5
        while observer.execute(running) != [(0,)]:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_client_may_wait_between_packets(hasty):
    with Client(hasty.host, port=hasty.port) as client:
        assert client.execute("SELECT 1") == [(1,)]
        time.sleep(1.5)
        assert client.execute("SELECT sleep(1.5)") == [(0,)]
        assert client.connection.connected


# Statements


@pytest.mark.parametrize("sql", [";", " ; ; ", "", "-- x", "(", "INSERT", "INSERT INTO"])
def test_an_empty_or_broken_statement_is_refused_and_the_connection_stays(wire, sql):
    client = wire().logged_in().query(sql)
    assert client.error()[0] == 62
    assert client.lives()


def test_a_statement_need_not_be_utf8(wire):
    client = wire().logged_in().query(b"SELECT 'caf\xe9' AS `\xff`, length('\xfe\xff')")
    assert client.lives()
    assert client.query(b"SELECT \xff").error()[0] == 62
    assert client.query(b"INSERT INTO `n\xffpe` VALUES").error()[0] == 60
    assert client.query(b"USE `n\xffpe`").error()[0] == 81
    assert client.lives()


def test_a_database_need_not_be_utf8(wire):
    pending = wire()
    pending.send(HELLO + varint(2) + b"\xff\xfe" + string("default") + string(""))
    assert pending.error()[0] == 81


@pytest.mark.parametrize(
    "packet",
    [
        varint(1) + varint(1 << 50),  # a query id of a petabyte
        varint(1) + string("") + b"\x01" + b"\xff" * 40,  # a client info without end
        varint(99),
        varint(2) + varint(1 << 50),
    ],
)
def test_a_broken_packet_gets_an_exception(wire, packet):
    client = wire().logged_in().send(packet)
    assert client.error()[0] in (101, 117, 131)
    assert client.read() == b""


# Blocks


@pytest.fixture
def table(client, database):
    client.execute("CREATE TABLE t (a UInt8, s String) ENGINE = MergeTree ORDER BY a")
    return client


@pytest.mark.parametrize(
    "type_name",
    [
        "FixedString(-5)",
        "FixedString(x)",
        "FixedString()",
        "FixedString(99999999999)",
        "Decimal(99, 2)",
        "Decimal",
        "Nope",
        "Array(",
        "Array()",
        "Map(String)",
        "LowCardinality",
        "Array(" * 900 + "UInt8" + ")" * 900,
        "Array(" * 100_000,
        "x" * 1_000_000,
        "'" * 100_000,
        "",
        "\0",
    ],
)
def test_a_block_of_an_impossible_type_gets_an_exception(wire, table, database, type_name):
    client = wire(database=database).logged_in().query("INSERT INTO t VALUES")
    started = time.monotonic()
    client.send(block(("a", type_name, b"\x01" * 20), ("s", "String", b"\0")))
    assert client.error()[0] == 50
    assert time.monotonic() - started < 2
    assert table.execute("SELECT count() FROM t") == [(0,)]


@pytest.mark.parametrize("values", [struct.pack("<Q", 77) + b"\x01" * 50, b"\xff" * 100])
@pytest.mark.parametrize("type_name", ["JSON", "Dynamic", "Variant(UInt8, String)"])
def test_a_block_with_an_impossible_prefix_gets_an_exception(wire, database, type_name, values):
    client = (
        wire(database=database).logged_in().query("INSERT INTO FUNCTION null('a UInt8') VALUES")
    )
    client.send(block(("a", type_name, values)))
    assert client.error()[0] == 117


def _frame(method, body, data_size, size=None):
    frame = struct.pack("<BII", method, len(body) + 9 if size is None else size, data_size) + body
    return compression._checksum(frame) + frame


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\0" * 16 + _frame(compression.LZ4, b"body", 100)[16:], 40),  # a wrong checksum
        (_frame(0x77, b"body", 100), 89),
        (_frame(compression.LZ4, b"\xff\xff\xff\xff", 100), 271),
        (_frame(compression.ZSTD, b"garbage", 100), 271),
        (_frame(compression.NONE, b"body", 100), 271),
        (_frame(compression.LZ4, b"", 0, size=0), 271),
        (_frame(compression.LZ4, b"", 0xFFFFFFFF, size=0xFFFFFFFF), 271),
    ],
)
def test_a_damaged_frame_gets_an_exception(wire, table, database, frame, code):
    client = wire(database=database).logged_in()
    head = END_OF_DATA[2:]
    data = b"INSERT INTO t VALUES"
    client.send(varint(1) + string("") + b"\0" + string("") + string("") + varint(2) + varint(1))
    client.send(varint(len(data)) + data + string(""))
    client.send(varint(2) + string("") + compression.compress(head, compression.LZ4))
    client.send(varint(2) + string("") + frame + b"\0" * 100)
    assert client.error()[0] == code
    assert client.read() == b""


def test_columns_of_other_names_are_refused_and_the_connection_stays(wire, table, database):
    client = wire(database=database).logged_in()
    for wrong in (
        [("a", "UInt8", b"\x01"), ("other", "String", string("lost"))],
        [("a", "UInt8", b"\x01")],
        [("a", "UInt8", b"\x01"), ("a", "UInt8", b"\x01")],
        [("a", "UInt8", b"\x01"), ("s", "String", b"\0"), ("more", "UInt8", b"\x01")],
    ):
        client.query("INSERT INTO t VALUES").send(block(*wrong)).send(END_OF_DATA)
        code, text = client.error()
        assert code == 16
        assert "this INSERT takes a, s" in text
        assert client.lives()
    assert table.execute("SELECT count() FROM t") == [(0,)]


def test_columns_in_another_order_are_taken_by_their_names(wire, table, database):
    client = wire(database=database).logged_in().query("INSERT INTO t VALUES")
    client.send(block(("s", "String", string("x")), ("a", "UInt8", b"\x07"))).send(END_OF_DATA)
    assert client.lives()
    assert table.execute("SELECT * FROM t") == [(7, "x")]


def test_a_client_that_reads_nothing_delays_no_one(endpoint, wire, client):
    lazy = wire().logged_in()
    lazy.query("SELECT number FROM numbers(1e9)")
    time.sleep(0.5)
    assert client.execute("SELECT 1") == [(1,)]
    lazy.close()
    deadline = time.monotonic() + 5
    running = "SELECT count() FROM system.processes WHERE query LIKE '%numbers(1e9)%'"
    while client.execute(running + " AND query NOT LIKE '%processes%'") != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


# The reader of numbers and texts


def test_a_number_has_at_most_ten_bytes():
    assert Reader.of(varint(2**64 - 1)).varint() == 2**64 - 1
    with pytest.raises(ServerError, match="too long"):
        Reader.of(b"\x80" * 11).varint()


def test_nothing_is_left_behind_by_attacks(endpoint, wire):
    before = len(os.listdir(f"/proc/{endpoint.pid}/fd"))  # noqa: PTH208
    for _ in range(50):
        attacker = wire().logged_in().send(varint(99))
        attacker.error()
        attacker.close()
    deadline = time.monotonic() + 5
    while len(os.listdir(f"/proc/{endpoint.pid}/fd")) > before + 5:  # noqa: PTH208
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert list((endpoint.directory / "spool").iterdir()) == []
    assert "Traceback" not in endpoint.log.read_text()


def test_many_open_files_are_refused_one_by_one(tmp_path):
    with EmbeddedClickHouse(tmp_path) as server:
        limit = len(list(Path(f"/proc/{server.pid}/fd").iterdir())) + 20
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit))
        crowd = [Wire(server) for _ in range(60)]
        for one in crowd:
            one.close()
        time.sleep(0.5)
        with Client(server.host, port=server.port) as client:
            assert client.execute("SELECT 1") == [(1,)]


def _is_closed(client):
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
