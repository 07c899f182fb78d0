import os
import socket
import threading

import pytest
from django.test import override_settings

from analytics.warehouse import errors
from analytics.warehouse import pool as connection
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.pool import WarehouseAddress
from analytics.warehouse.tenant_reader import TenantReader


@pytest.mark.parametrize(
    ("url", "port", "secure", "database"),
    [
        ("clickhouse://u:p%40ss@h/d", 9000, False, "d"),
        ("clickhouses://u:p%40ss@h/d", 9440, True, "d"),
        ("clickhouse://u:p%40ss@h:19000", 19000, False, "avesa"),
    ],
)
def test_urls_name_native_ports(url, port, secure, database):
    at = WarehouseAddress.from_url(url)
    assert (at.host, at.port, at.secure, at.database) == ("h", port, secure, database)
    assert (at.user, at.password) == ("u", "p@ss")


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("http://h:8123/d", "clickhouse://"),
        ("clickhouse://h:8123/d", "HTTP"),
        ("clickhouses://h:8443/d", "HTTP"),
        ("clickhouse:///d", "host"),
        ("", "clickhouse://"),
        ("clickhouse://user:sec/ret@host/d", "not a number"),
    ],
)
def test_wrong_urls_have_a_specific_message(url, hint):
    with pytest.raises(ValueError, match=hint):
        WarehouseAddress.from_url(url)


def test_nothing_connects_before_the_first_statement():
    with override_settings(CLICKHOUSE_URL="clickhouse://127.0.0.1:1/avesa"):
        client = WarehouseClient()
        with pytest.raises(errors.Unreachable, match=r"refused.*CLICKHOUSE_URL"):
            client.rows("SELECT 1")


def test_a_silent_server_times_out(settings):
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.CLICKHOUSE_READ_TIMEOUT = settings.CLICKHOUSE_CONNECT_TIMEOUT = 1
        at = WarehouseAddress.from_url(f"clickhouse://127.0.0.1:{server.getsockname()[1]}")
        pool = connection.Pool(at, 1, 1)
        with pytest.raises(errors.QueryTimeout, match="firewall"), pool.client() as client:
            client.execute("SELECT 1")


@pytest.mark.parametrize(
    ("sql", "kind", "remedy"),
    [
        ("SELECT * FROM nowhere", errors.UnknownTable, "warehouse_schema apply"),
        ("SELECT * FROM nodb.t", errors.UnknownTable, "warehouse_schema apply"),
        (
            "SELECT groupArray(number) FROM numbers(100000000) SETTINGS max_memory_usage = 1000000",
            errors.OutOfMemory,
            "shorter period",
        ),
        ("SELECT sleep(1) SETTINGS max_execution_time = 0.1", errors.QueryTimeout, "Request less"),
        ("SELEC", errors.StatementFailed, "refused a statement"),
    ],
)
def test_server_errors_come_with_cause_and_remedy(warehouse, sql, kind, remedy):
    with pytest.raises(kind, match=remedy) as caught:
        warehouse.rows(sql)
    assert "Stack trace" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Memory limit (for query) exceeded: would use 9 GiB", errors.OutOfMemory),
        ("Query memory limit exceeded: would use 9 GiB", errors.OutOfMemory),
        ("Memory limit (for user) exceeded: would use 9 GiB", errors.Unavailable),
        ("User memory limit exceeded: would use 9 GiB", errors.Unavailable),
        ("Memory limit (total) exceeded: would use 9 GiB", errors.Unavailable),
        ("(total) memory limit exceeded: would use 9 GiB", errors.Unavailable),
    ],
)
def test_memory_used_by_other_statements_counts_as_an_outage(text, kind):
    error = errors.translate(errors.driver.ServerException(f"DB::Exception: {text}", 241))
    assert type(error) is kind


def test_the_pool_works_after_an_error(warehouse):
    with pytest.raises(errors.UnknownTable):
        warehouse.rows("SELECT * FROM nowhere")
    assert warehouse.rows("SELECT 1") == [(1,)]


def test_errors_hide_the_lakes_credentials(warehouse):
    with pytest.raises(errors.WarehouseError) as caught:
        warehouse.rows(
            "SELECT * FROM s3('http://127.0.0.1:1/b/k.csv', 'AKIAKEY', 'TOPSECRET', 'CSV', 'a X')"
        )
    assert "TOPSECRET" not in str(caught.value)


def test_a_wrong_password_names_the_setting(tmp_path, settings):
    from analytics.warehouse.embedded.process import EmbeddedClickHouse

    with EmbeddedClickHouse(tmp_path, password="right") as process:
        settings.CLICKHOUSE_URL = f"clickhouse://default:wrong@127.0.0.1:{process.port}/default"
        with pytest.raises(errors.AuthenticationFailed, match="CLICKHOUSE_URL"):
            WarehouseClient().rows("SELECT 1")


def test_denied_s3_names_the_lakes_credentials():
    class Denied(errors.driver.ServerException):
        pass

    error = errors.translate(Denied("DB::Exception: Access Denied. HTTP code 403", 499))
    assert isinstance(error, errors.LakeAccessError)
    assert "LAKE_ACCESS_KEY_ID" in str(error)


def test_a_read_survives_a_restart_of_the_server(tmp_path, settings, acme):
    from analytics.warehouse import schema
    from analytics.warehouse.embedded.process import EmbeddedClickHouse

    with EmbeddedClickHouse(tmp_path) as first:
        port = first.port
        settings.CLICKHOUSE_URL = f"clickhouse://127.0.0.1:{port}/avesa"
        schema.apply(schema.plan())
        count = "SELECT count() AS n FROM load_log_of(tenant_id = {tenant_id:String})"
        assert TenantReader(acme).select(count).one() == {"n": 0}
    with EmbeddedClickHouse(tmp_path, port=port):
        assert TenantReader(acme).select(count).one() == {"n": 0}


def test_a_write_is_never_repeated(monkeypatch, warehouse):
    sent = []

    def fail(self, sql, *args, **kwargs):
        sent.append(sql)
        raise EOFError("connection lost")

    monkeypatch.setattr("clickhouse_driver.Client.execute", fail)
    with pytest.raises(errors.Unreachable):
        warehouse.run("INSERT INTO x SELECT 1")
    assert len(sent) == 1


def test_a_forked_process_gets_connections_of_its_own(warehouse):
    warehouse.rows("SELECT 1")
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:  # the child only reports whether it could read, then exits without clean-up
        ok = WarehouseClient().rows("SELECT 42") == [(42,)]
        os.write(write_end, b"1" if ok else b"0")
        os._exit(0)
    os.close(write_end)
    assert os.read(read_end, 1) == b"1"
    os.close(read_end)
    os.waitpid(child, 0)
    assert warehouse.rows("SELECT 43") == [(43,)]


def test_threads_share_the_pool_without_mixing_answers(warehouse):
    wrong = []

    def ask(number):
        for _ in range(20):
            if WarehouseClient().rows("SELECT {n:UInt32}", {"n": number}) != [(number,)]:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
