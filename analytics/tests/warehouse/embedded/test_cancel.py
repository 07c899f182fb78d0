"""Queries end when they are canceled or killed, or their client disconnects."""

import socket
import threading
import time

import pytest
from clickhouse_driver.errors import ServerException

from analytics.warehouse.embedded.watcher import Outcome, Watcher

ENDLESS = "SELECT count() FROM system.numbers WHERE cityHash64(number) = 1"
MARKED = "SELECT count() FROM system.processes WHERE query LIKE '%{}%' AND query NOT LIKE '%proc%'"


def wait_until_running(client, mark, expected=1):
    deadline = time.monotonic() + 5
    while client.execute(MARKED.format(mark)) != [(expected,)]:
        assert time.monotonic() < deadline, f"still not {expected} queries with {mark}"
        time.sleep(0.05)


def test_kill_query_by_our_id(connect):
    victim, killer, caught = connect(), connect(), []

    def run():
        try:
            victim.execute(ENDLESS + " AND 'mark_kill' != ''", query_id="our-id")
        except ServerException as error:
            caught.append(error.code)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until_running(killer, "mark_kill")
    killed = killer.execute("KILL QUERY WHERE query_id = 'our-id' SYNC")
    thread.join()
    assert len(killed) == 1
    assert caught == [394]
    assert victim.execute("SELECT 1") == [(1,)]


def test_a_kill_between_two_statements_of_a_query_is_sent_again():
    sent = []
    watcher = Watcher(sent.append)
    ours, theirs = socket.socketpair()
    with ours, theirs, watcher.watching(ours, "unlucky") as watch:
        watcher.killed(["unlucky", "another"])
        watcher.check()
        watcher.check()
        assert watch.outcome is Outcome.KILLED
        assert set(sent) == {"unlucky"}
        assert len(sent) >= 2


def test_kill_spares_other_queries(connect):
    victim, killer = connect(), connect()
    result = []
    thread = threading.Thread(
        target=lambda: result.append(victim.execute("SELECT sleep(1)", query_id="spared"))
    )
    thread.start()
    time.sleep(0.3)
    assert killer.execute("KILL QUERY WHERE query_id = 'another'") == []
    thread.join()
    assert result == [[(0,)]]


def test_an_id_that_is_running_is_refused(connect):
    one, other = connect(), connect()
    thread = threading.Thread(
        target=one.execute, args=("SELECT sleep(1)",), kwargs={"query_id": "x"}
    )
    thread.start()
    time.sleep(0.3)
    with pytest.raises(ServerException) as caught:
        other.execute("SELECT 1", query_id="x")
    thread.join()
    assert caught.value.code == 216
    assert other.execute("SELECT 1", query_id="x") == [(1,)]


def test_cancel_ends_the_query_and_keeps_the_connection(connect):
    client, observer = connect(), connect()
    rows = client.execute_iter("SELECT number, 'mark_cancel' FROM system.numbers")
    assert next(rows)[0] == 0
    client.cancel()
    wait_until_running(observer, "mark_cancel", 0)
    assert client.execute("SELECT 2") == [(2,)]


def test_cancel_reaches_a_query_that_has_sent_nothing_yet(connect):
    client, observer = connect(), connect()
    progress = client.execute_with_progress(ENDLESS + " AND 'mark_silent' != ''")
    next(progress)
    client.cancel()
    wait_until_running(observer, "mark_silent", 0)
    assert client.execute("SELECT 2") == [(2,)]


def test_a_client_that_leaves_ends_its_query(connect):
    client, observer = connect(), connect()
    progress = client.execute_with_progress(ENDLESS + " AND 'mark_left' != ''")
    next(progress)
    wait_until_running(observer, "mark_left")
    client.disconnect()
    wait_until_running(observer, "mark_left", 0)


def test_a_client_that_leaves_in_the_middle_of_a_stream_ends_its_query(connect):
    client, observer = connect(), connect()
    rows = client.execute_iter("SELECT number, 'mark_stream' FROM system.numbers")
    next(rows)
    wait_until_running(observer, "mark_stream")
    client.disconnect()
    wait_until_running(observer, "mark_stream", 0)


def test_a_client_that_leaves_in_the_middle_of_an_insert_writes_nothing(connect):
    client, observer = connect(), connect()
    client.execute("CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")

    def rows():
        yield from ((n,) for n in range(50))
        client.connection.socket.close()
        yield (0,)

    with pytest.raises(Exception, match=r".*"):
        client.execute("INSERT INTO t VALUES", rows(), settings={"insert_block_size": 10})
    time.sleep(0.2)
    assert observer.execute("SELECT count() FROM t") == [(0,)]


def test_the_clients_own_log_comment_is_kept(connect):
    client = connect()
    sql = "SELECT Settings['log_comment'] FROM system.processes WHERE query LIKE '%mark_comment%'"
    rows = client.execute(sql, settings={"log_comment": "nightly"}, query_id="q-1")
    assert rows == [("q-1\nnightly",)]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE copied ENGINE = Memory AS " + ENDLESS + " AND 'mark_other' != ''",
        "INSERT INTO FUNCTION null('n UInt64') " + ENDLESS + " AND 'mark_other' != ''",
        "EXPLAIN ANALYZE " + ENDLESS + " AND 'mark_other' != ''",
    ],
)
def test_cancel_ends_a_statement_that_is_no_select(connect, sql):
    client, observer = connect(), connect()
    client.execute_with_progress(sql)
    wait_until_running(observer, "mark_other")
    client.cancel()
    assert client.connection.connected
    assert client.execute("SELECT 2") == [(2,)]
    assert observer.execute(MARKED.format("mark_other")) == [(0,)]


def test_the_clients_id_is_seen_in_the_list_of_processes(connect):
    client = connect()
    for sql in (
        "SELECT query_id FROM system.processes WHERE query_id = 'seen-id'",
        "SELECT p.initial_query_id FROM numbers(1) AS n CROSS JOIN system.processes AS p "
        "WHERE p.query_id = 'seen-id'",
    ):
        assert client.execute(sql, query_id="seen-id") == [("seen-id",)]


def test_an_id_of_any_bytes_can_be_killed(connect):
    victim, killer, caught = connect(), connect(), []

    def run():
        try:
            victim.execute(ENDLESS + " AND 'mark_odd' != ''", query_id="it's \\ ünï")
        except ServerException as error:
            caught.append(error.code)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until_running(killer, "mark_odd")
    killer.execute("KILL QUERY WHERE query_id = 'it\\'s \\\\ ünï' SYNC")
    thread.join()
    assert caught == [394]
