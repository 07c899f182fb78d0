"""Settings, databases, errors, users and compression."""

import socket

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException

from analytics.warehouse.embedded import EmbeddedClickHouse

SETTING = "SELECT toString(getSetting('max_threads'))"


def test_settings_apply_to_one_query_only(client):
    default = client.execute(SETTING)
    assert client.execute(SETTING, settings={"max_threads": 7}) == [("7",)]
    assert client.execute(SETTING, settings={"max_threads": 5, "max_block_size": 9}) == [("5",)]
    assert client.execute(SETTING) == default
    assert client.execute("SELECT toString(getSetting('max_block_size'))") != [("9",)]


def test_settings_of_a_failed_query_do_not_stay(client):
    default = client.execute(SETTING)
    with pytest.raises(ServerException):
        client.execute("SELECT nope", settings={"max_threads": 7})
    assert client.execute(SETTING) == default


def test_a_set_statement_lasts_and_yields_to_the_query(connect):
    client = connect(settings={"max_block_size": 1000})
    client.execute("SET max_threads = 3")
    assert client.execute(SETTING) == [("3",)]
    assert client.execute(SETTING, settings={"max_threads": 7}) == [("7",)]
    assert client.execute(SETTING) == [("3",)]


def test_a_set_statement_is_not_seen_by_other_clients(connect):
    one, other = connect(), connect()
    before = other.execute(SETTING)
    one.execute("SET max_threads = 3")
    assert other.execute(SETTING) == before


def test_unknown_settings_are_ignored_unless_important(connect):
    assert connect().execute("SELECT 1", settings={"no_such_setting": 1}) == [(1,)]
    with pytest.raises(ServerException) as caught:
        connect(settings_is_important=True).execute("SELECT 1", settings={"no_such_setting": 1})
    assert caught.value.code == 115


def test_a_wrong_value_of_a_setting_is_reported(client):
    with pytest.raises(ServerException):
        client.execute("SELECT 1", settings={"max_threads": "many"})
    assert client.execute("SELECT 1") == [(1,)]


@pytest.mark.parametrize("level", [1, 2])
def test_a_readonly_query_cannot_write_and_the_next_one_can(client, database, level):
    client.execute("CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a")
    for _ in range(2):
        with pytest.raises(ServerException) as caught:
            client.execute("INSERT INTO t VALUES (1)", settings={"readonly": level})
        assert caught.value.code == 164
        rows = client.execute("SELECT * FROM t", settings={"readonly": level, "max_threads": 1})
        assert rows == []
    client.execute("INSERT INTO t VALUES (1)")
    assert client.execute("SELECT a, currentDatabase() FROM t") == [(1, database)]


def test_additional_table_filters_as_a_literal(client):
    client.execute("CREATE TABLE t (tenant String, n Int8) ENGINE = MergeTree ORDER BY n")
    client.execute("INSERT INTO t VALUES ('a', 1), ('b''c', 2)")
    filters = r"{'t': 'tenant = \'b\\\'c\''}"
    settings = {"additional_table_filters": filters}
    assert client.execute("SELECT n FROM t", settings=settings) == [(2,)]
    assert client.execute("SELECT count() FROM t") == [(2,)]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT * FROM nope", 60),
        ("SELECT nope", 47),
        ("SELEC 1", 62),
        ("1", 62),
        ("", 62),
        ("SELECT nope(1)", 46),
        ("SELECT throwIf(number = 100000) FROM numbers(200000)", 395),
        ("SELECT toUInt8('x')", 6),
        ("DROP TABLE nope", 60),
        ("SELECT groupArray(number) FROM numbers(1e8) SETTINGS max_memory_usage = 1000000", 241),
        ("SELECT sleep(1) SETTINGS max_execution_time = 0.1", 159),
    ],
)
def test_errors_carry_clickhouse_codes(client, sql, code):
    with pytest.raises(ServerException) as caught:
        client.execute(sql)
    assert caught.value.code == code
    assert client.execute("SELECT 1") == [(1,)]


def test_the_database_of_the_hello(connect, client, database):
    client.execute("CREATE TABLE t (a Int8) ENGINE = Memory")
    assert connect(database=database).execute("SELECT currentDatabase()") == [(database,)]
    assert connect(database="default").execute("SHOW TABLES LIKE 't'") == []
    assert connect(database="").execute("SELECT currentDatabase()") == [("default",)]


def test_an_unknown_database_is_reported(connect):
    with pytest.raises(ServerException) as caught:
        connect(database="nope").execute("SELECT 1")
    assert caught.value.code == 81


def test_use_lasts(client):
    client.execute("USE system")
    assert client.execute("SELECT currentDatabase()") == [("system",)]


def test_temporary_tables_belong_to_their_connection(connect):
    one, other = connect(), connect()
    one.execute("CREATE TEMPORARY TABLE mine (a Int8)")
    one.execute("INSERT INTO mine VALUES", [(1,)])
    assert one.execute("SELECT a FROM mine") == [(1,)]
    with pytest.raises(ServerException):
        other.execute("SELECT a FROM mine")


@pytest.mark.parametrize("method", ["lz4", "lz4hc", "zstd", False])
@pytest.mark.parametrize("answer", ["lz4", "zstd"])
def test_compression(connect, method, answer):
    client = connect(compression=method, settings={"network_compression_method": answer})
    client.execute("CREATE TABLE t (n UInt32, s String) ENGINE = MergeTree ORDER BY n")
    rows = [(n, str(n) * 50) for n in range(20000)]
    client.execute("INSERT INTO t VALUES", rows)
    assert client.execute("SELECT * FROM t ORDER BY n") == rows


def test_a_connection_answers_ping_and_names_itself(client):
    client.execute("SELECT 1")
    assert client.connection.ping()
    info = client.connection.server_info
    assert (info.name, info.timezone, info.used_revision) == ("ClickHouse", "UTC", 54460)
    assert client.execute("SELECT version(), timezone()") == [
        (".".join(map(str, info.version_tuple())) + ".1", "UTC")
    ]


def test_older_clients_are_refused_with_a_reason(connect):
    with pytest.raises(ServerException, match="newer driver"):
        connect(client_revision=54458).execute("SELECT 1")


def test_http_is_refused_with_a_reason(endpoint):
    with socket.create_connection((endpoint.host, endpoint.port)) as http:
        http.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"not HTTP" in http.recv(1000)


def test_a_password_is_required(tmp_path):
    with EmbeddedClickHouse(tmp_path, password="a:b@c/d") as server:
        with Client.from_url(server.url) as client:
            assert client.execute("SELECT 1") == [(1,)]
        for options in ({}, {"password": "wrong"}, {"user": "other", "password": "a:b@c/d"}):
            with Client(server.host, port=server.port, **options) as client:
                with pytest.raises(ServerException) as caught:
                    client.execute("SELECT 1")
                assert caught.value.code == 516


def test_a_connection_works_after_readonly_queries(connect):
    client = connect()
    client.execute("CREATE TABLE after_reading (a Int8) ENGINE = MergeTree ORDER BY a")
    for readonly in (2, 2, 1, 2):
        settings = {"readonly": readonly}
        assert client.execute("SELECT count() FROM after_reading", settings=settings) == [(0,)]
        refused = pytest.raises(ServerException, match="readonly")
        with refused:
            connect().execute("DROP TABLE after_reading", settings=settings)
    client.execute("INSERT INTO after_reading VALUES", [(1,)])
    assert client.execute("SELECT a FROM after_reading", settings={"readonly": 2}) == [(1,)]


def test_settings_of_one_readonly_query_do_not_reach_the_next(connect):
    client = connect()
    sql = "SELECT count() FROM numbers(10)"
    limited = {"readonly": 2, "additional_table_filters": "{'x.y': '1 = 1'}", "max_threads": 1}
    value = "SELECT value FROM system.settings WHERE name = 'max_threads'"
    client.execute(sql, settings=limited)
    assert client.execute(value, settings=limited) == [("1",)]
    assert client.execute(value, settings={"readonly": 2}) != [("1",)]
    assert client.execute(value) != [("1",)]


OF_DESCRIBE = {
    "max_result_rows": 1,
    "max_result_bytes": 1,
    "result_overflow_mode": "throw",
    "limit": 1,
    "offset": 1,
    "describe_compact_output": 1,
    "describe_include_subcolumns": 1,
    "print_pretty_type_names": 1,
    "max_query_size": 100,
}


@pytest.mark.parametrize("readonly", [0, 1, 2])
@pytest.mark.parametrize("name", OF_DESCRIBE)
def test_settings_do_not_reach_statements_of_the_endpoint(connect, name, readonly):
    client = connect()
    client.execute("CREATE TABLE t (a Int8, b Tuple(x Int8, y String)) ENGINE = Memory")
    own = {name: OF_DESCRIBE[name]} | ({"readonly": readonly} if readonly else {})
    for _ in range(2):
        rows, columns = client.execute("SELECT a, b FROM t", with_column_types=True, settings=own)
        assert (rows, columns) == ([], [("a", "Int8"), ("b", "Tuple(x Int8, y String)")])
    assert client.execute("INSERT INTO t VALUES", [(1, (2, "x")), (2, (3, "y"))]) == 2
    client.execute("SET max_threads = 3")
    client.execute("SELECT 1", settings=own)
    value = "SELECT toString(getSetting('max_threads')), currentDatabase() != 'default'"
    assert client.execute(value, settings={"max_threads": 5, "max_block_size": 9}) == [("5", 1)]


def test_lasting_settings_do_not_reach_statements_of_the_endpoint(connect):
    client = connect()
    client.execute("CREATE TABLE t (a Int8, b String) ENGINE = Memory")
    for name in ("max_result_rows", "describe_compact_output", "limit", "print_pretty_type_names"):
        client.execute(f"SET {name} = 1")
    client.execute("INSERT INTO t VALUES", [(1, "x")])
    assert client.execute("SELECT a, b FROM t", settings={"max_threads": 2}) == [(1, "x")]
    assert client.execute("SELECT a, b FROM t", settings={"max_block_size": 9}) == [(1, "x")]


def test_a_database_that_was_chosen_survives_a_readonly_query(client):
    client.execute("USE system", settings={"readonly": 1})
    assert client.execute("SELECT currentDatabase()") == [("system",)]
    client.execute("SELECT 1", settings={"readonly": 1})
    assert client.execute("SELECT currentDatabase()") == [("system",)]


def test_a_readonly_query_cannot_set_anything(client):
    with pytest.raises(ServerException) as caught:
        client.execute("SET max_threads = 3", settings={"readonly": 1})
    assert caught.value.code == 164


def test_clients_of_both_revisions_are_served(connect):
    for revision in (54459, 54460):
        client = connect(client_revision=revision)
        assert client.execute("SELECT number FROM numbers(2)") == [(0,), (1,)]
        assert client.last_query.progress.rows == 2
        assert (client.last_query.progress.elapsed_ns > 0) == (revision == 54460)


@pytest.mark.parametrize("compression", [False, "lz4"])
def test_a_client_may_ask_for_a_line_of_the_log(connect, caplog, compression):
    client = connect(compression=compression)
    client.execute("CREATE TABLE t (a Int8) ENGINE = Memory")
    with caplog.at_level("INFO", "clickhouse_driver.log"):
        client.execute("SELECT 'one'", settings={"send_logs_level": "debug"}, query_id="mine")
        client.execute("INSERT INTO t VALUES", [(1,)], settings={"send_logs_level": "trace"})
        client.execute("SELECT 'three'", settings={"send_logs_level": "information"})
    # The driver itself reports a line before an INSERT twice.
    lines = list(dict.fromkeys(record.getMessage() for record in caplog.records))
    assert len(lines) == 2
    assert "SELECT 'one'" in lines[0]
    assert "mine" in lines[0]
    assert "INSERT INTO t VALUES" in lines[1]
