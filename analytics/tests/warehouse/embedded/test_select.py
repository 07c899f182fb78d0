"""Reading through clickhouse-driver."""

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from clickhouse_driver.errors import ServerException


def test_rows_columns_and_types(client):
    sql = "SELECT number AS n, toString(number) AS s FROM numbers(3)"
    expected = [(0, "0"), (1, "1"), (2, "2")]
    assert client.execute(sql) == expected
    assert client.execute(sql, columnar=True) == [(0, 1, 2), ("0", "1", "2")]
    assert client.execute(sql, with_column_types=True) == (
        expected,
        [("n", "UInt64"), ("s", "String")],
    )


def test_an_empty_result_keeps_its_column_types(client):
    rows, columns = client.execute(
        "SELECT toDateTime64(0, 3, 'Asia/Tokyo') AS t FROM numbers(0)", with_column_types=True
    )
    assert rows == []
    assert columns == [("t", "DateTime64(3, 'Asia/Tokyo')")]


def test_a_big_result_streams_without_piling_up(endpoint, client):
    client.execute("SELECT 1")
    before = _resident(endpoint.pid)
    rows = client.execute_iter(
        "SELECT repeat('x', 1000) FROM numbers(600000)",
        settings={"max_block_size": 10000},
        chunk_size=10000,
    )
    count = sum(len(chunk) for chunk in rows)
    assert count == 600000
    assert _resident(endpoint.pid) - before < 300 * 2**20


def test_a_format_clause_is_ignored(client):
    assert client.execute("SELECT 1 AS format FORMAT JSON;") == [(1,)]
    assert client.execute("SHOW TABLES FORMAT Pretty") == []
    rows = [(1,), (0,)]
    assert client.execute("SELECT number AS format FROM numbers(2) ORDER BY format DESC") == rows


def test_an_expression_may_be_named_totals(client):
    sql = "WITH totals AS (SELECT 3 AS a) SELECT a FROM totals"
    assert client.execute(sql) == [(3,)]


def test_comments_and_strings_do_not_confuse(client):
    sql = """-- INSERT; DROP
        /* ; */ SELECT 'a;b FORMAT x', "one" FROM (SELECT 1 AS "one") -- end"""
    assert client.execute(sql) == [("a;b FORMAT x", 1)]


def test_two_statements_at_once_are_refused(client):
    for sql in ("SELECT 1; SELECT 2", "CREATE TABLE a (x Int8) ENGINE = Null; SELECT 1"):
        with pytest.raises(ServerException) as caught:
            client.execute(sql)
        assert caught.value.code == 62


def test_server_side_parameters(connect):
    client = connect(settings={"server_side_params": True})
    nasty = "a'b\\c\t\n{x} ünï"
    sql = "SELECT {s:String}, {i:Int32}, {d:DateTime64(3, 'UTC')}, {a:Array(String)}"
    moment = "2026-01-02 03:04:05.678"
    values = {"s": nasty, "i": -5, "d": moment, "a": ["x", "y"]}
    expected = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert client.execute(sql, values) == [(nasty, -5, expected, ["x", "y"])]


def test_parameters_do_not_leak_into_the_next_query(connect):
    client = connect(settings={"server_side_params": True})
    client.execute("SELECT {s:String}", {"s": "x"})
    with pytest.raises(ServerException) as caught:
        client.execute("SELECT {s:String}")
    assert caught.value.code == 456


def test_parameterized_views(connect):
    client = connect(settings={"server_side_params": True})
    client.execute("CREATE TABLE t (tenant String, n Int32) ENGINE = MergeTree ORDER BY n")
    client.execute("INSERT INTO t VALUES ('a', 1), ('b', 2)")
    client.execute("CREATE VIEW v AS SELECT n FROM t WHERE tenant = {tenant_id:String}")
    sql = "SELECT * FROM v(tenant_id={t:String})"
    assert client.execute(sql, {"t": "b"}) == [(2,)]


def test_progress_is_reported_while_the_query_runs(client):
    progress = client.execute_with_progress(
        "SELECT max(sleepEachRow(0.001)) FROM numbers(500)", settings={"max_block_size": 50}
    )
    seen = list(progress)
    assert len(seen) > 2
    assert seen[-1][0] == 500
    assert progress.get_result() == [(0,)]


def test_progress_of_a_short_query(client):
    client.execute("SELECT number FROM numbers(10)")
    assert client.last_query.progress.rows == 10
    assert client.last_query.progress.total_rows == 10
    assert client.last_query.profile_info.rows == 10
    assert client.last_query.progress.elapsed_ns > 0


def test_the_last_progress_packet_comes_at_the_end(client):
    assert list(client.execute_with_progress("SELECT 2")) == [(1, 1), (1, 1)]


def test_external_tables(client):
    tables = [
        {
            "name": "given",
            "structure": [("n", "Int32"), ("s", "String")],
            "data": [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}],
        }
    ]
    assert client.execute("SELECT sum(n), max(s) FROM given", external_tables=tables) == [(3, "b")]
    with pytest.raises(ServerException):
        client.execute("SELECT * FROM given")


def test_statements_that_return_rows(client):
    client.execute("CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a")
    assert client.execute("SHOW TABLES") == [("t",)]
    assert client.execute("EXISTS TABLE t") == [(1,)]
    assert client.execute("DESCRIBE TABLE t")[0][:2] == ("a", "Int8")
    assert "SelectQuery" in str(client.execute("EXPLAIN AST SELECT a FROM t"))
    client.execute("INSERT INTO t VALUES (1)")
    assert "ReadFromMergeTree" in str(client.execute("EXPLAIN SELECT a FROM t"))


def test_system_tables(client):
    client.execute("CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a")
    client.execute("INSERT INTO t VALUES (1)")
    for table, condition in {
        "tables": "database = currentDatabase()",
        "columns": "database = currentDatabase()",
        "parts": "database = currentDatabase() AND active",
        "settings": "name = 'max_threads'",
        "processes": "1",
    }.items():
        assert client.execute(f"SELECT count() > 0 FROM system.{table} WHERE {condition}") == [(1,)]


def test_readers_run_at_the_same_time(connect):
    started = time.monotonic()
    clients = [connect() for _ in range(8)]
    threads = [threading.Thread(target=c.execute, args=("SELECT sleep(0.5)",)) for c in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 3


def test_a_hundred_clients_at_once(connect):
    clients = [connect() for _ in range(100)]
    results = []

    def ask(number):
        results.append(clients[number].execute(f"SELECT {number}")[0][0])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(100))


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
