"""Writing through clickhouse-driver."""

import pytest
from clickhouse_driver.errors import ServerException


@pytest.fixture
def table(client):
    client.execute(
        "CREATE TABLE t (a Int32, b String DEFAULT 'none', c Int64 MATERIALIZED a * 2) "
        "ENGINE = MergeTree ORDER BY a"
    )
    return client


def test_rows_from_the_client(table):
    assert table.execute("INSERT INTO t VALUES;", [(1, "x"), (2, "y")]) == 2
    assert table.execute("SELECT a, b, c FROM t ORDER BY a") == [(1, "x", 2), (2, "y", 4)]


def test_columns_from_the_client(table):
    assert table.execute("INSERT INTO t (b, a) VALUES", [("x", "y"), (1, 2)], columnar=True) == 2
    assert table.execute("SELECT a, b FROM t ORDER BY a") == [(1, "x"), (2, "y")]


def test_dictionaries_and_generators_from_the_client(table):
    table.execute("INSERT INTO `t` (`a`) VALUES", [{"a": 1}])
    table.execute("INSERT INTO t (* EXCEPT(b)) VALUES", ((n,) for n in range(2, 4)))
    assert table.execute("SELECT a, b FROM t ORDER BY a") == [(n, "none") for n in (1, 2, 3)]


def test_many_blocks(table):
    rows = [(n, str(n) * (n % 100)) for n in range(5000)]
    settings = {"insert_block_size": 70}
    assert table.execute("INSERT INTO t VALUES", rows, settings=settings) == 5000
    assert table.execute("SELECT a, b FROM t ORDER BY a") == rows


def test_no_rows_at_all(table):
    assert table.execute("INSERT INTO t VALUES", []) == 0
    assert table.execute("SELECT count() FROM t") == [(0,)]


def test_values_in_the_statement(table):
    table.execute("INSERT INTO t (a, b) VALUES (1, 'semi;colon'), (2, 'it''s');")
    assert table.execute("SELECT b FROM t ORDER BY a") == [("semi;colon",), ("it's",)]


def test_other_formats_in_the_statement(table):
    table.execute('INSERT INTO t FORMAT JSONEachRow {"a": 1, "b": "x; y"}')
    assert table.execute("SELECT a, b FROM t") == [(1, "x; y")]


def test_insert_select(table):
    table.execute("INSERT INTO t (a) SELECT number FROM numbers(10)")
    table.execute("INSERT INTO t (a) WITH 5 AS x SELECT x")
    assert table.execute("SELECT count(), sum(a) FROM t") == [(11, 50)]


def test_settings_in_the_statement(table):
    sql = "INSERT INTO t (a) SETTINGS max_insert_threads = 1 VALUES"
    assert table.execute(sql, [(1,)]) == 1
    assert table.execute("SELECT a FROM t") == [(1,)]


def test_into_a_table_function_and_another_database(table, database):
    table.execute(f"INSERT INTO {database}.t (a) VALUES", [(1,)])
    table.execute("INSERT INTO FUNCTION null('a Int8') VALUES", [(1,)])
    assert table.execute("SELECT a FROM t") == [(1,)]


def test_a_violated_constraint_is_reported_and_nothing_is_written(table):
    table.execute("ALTER TABLE t ADD CONSTRAINT small CHECK a < 10")
    with pytest.raises(ServerException) as caught:
        table.execute("INSERT INTO t (a) VALUES", [(5,), (50,)])
    assert caught.value.code == 469
    assert table.execute("SELECT count() FROM t") == [(0,)]


def test_too_many_partitions_are_reported(client):
    client.execute("CREATE TABLE p (a Int32) ENGINE = MergeTree PARTITION BY a ORDER BY a")
    with pytest.raises(ServerException) as caught:
        client.execute("INSERT INTO p VALUES", [(n,) for n in range(200)])
    assert caught.value.code == 252
    assert client.execute("SELECT count() FROM p") == [(0,)]


def test_a_throwing_view_is_reported(table):
    table.execute("CREATE TABLE target (x UInt8) ENGINE = Null")
    table.execute("CREATE MATERIALIZED VIEW v TO target AS SELECT throwIf(a = 7) AS x FROM t")
    with pytest.raises(ServerException) as caught:
        table.execute("INSERT INTO t (a) VALUES", [(7,)])
    assert caught.value.code == 395


@pytest.mark.parametrize(
    ("sql", "code"),
    [("INSERT INTO nope VALUES", 60), ("INSERT INTO t (a, nope) VALUES", 16)],
)
def test_a_wrong_target_is_reported_before_the_data(table, sql, code):
    with pytest.raises(ServerException) as caught:
        table.execute(sql, [(1, "x")])
    assert caught.value.code == code


def test_the_connection_works_after_a_failed_insert(table):
    table.execute("ALTER TABLE t ADD CONSTRAINT small CHECK a < 10")
    for _ in range(3):
        with pytest.raises(ServerException):
            table.execute("INSERT INTO t (a) VALUES", [(n,) for n in range(20)])
    assert table.execute("SELECT count() FROM t") == [(0,)]


def test_no_spool_file_is_left(endpoint, table):
    table.execute("INSERT INTO t (a) VALUES", [(1,)])
    assert list((endpoint.directory / "spool").iterdir()) == []


@pytest.mark.parametrize(
    "sql",
    ["INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", "SELECT 1 INTO OUTFILE '/tmp/x'"],
)
def test_files_of_the_server_are_refused(table, sql):
    with pytest.raises(ServerException, match="handled by the client") as caught:
        table.execute(sql)
    assert caught.value.code == 344


def test_names_that_look_like_syntax(client, database):
    client.execute("CREATE TABLE values (`a\\\\b` Int8, `c``d` Int8, `e\nf` Int8) ENGINE = Memory")
    names = r"(`a\\b`, `c\`d`, `e\nf`)"
    for table in ("values", f"{database}.values", f"`{database}` . `values`"):
        client.execute(f"INSERT INTO {table} {names} VALUES", [(1, 2, 3)])
        client.execute(f"INSERT INTO {table} {names} VALUES (1, 2, 3)")
    assert client.execute("SELECT * FROM values") == [(1, 2, 3)] * 6


def test_semicolons_in_comments_and_heredocs_after_values(table):
    rows = "(1, /* ; SELECT */ $$;$$), (2, $x$ ;$$ $x$); -- ; end"
    table.execute(f"INSERT INTO t (a, b) VALUES {rows}")
    table.execute("INSERT INTO t (a) VALUES -- ; nothing yet", [(3,)])
    assert table.execute("SELECT b FROM t ORDER BY a") == [(";",), (" ;$$ ",), ("none",)]


def test_a_name_as_a_parameter(connect):
    client = connect(settings={"server_side_params": True})
    client.execute("CREATE TABLE t (a Int8) ENGINE = Memory")
    client.execute("INSERT INTO {name:Identifier} VALUES (1)", {"name": "t"})
    assert client.execute("SELECT * FROM t") == [(1,)]


def test_a_select_from_the_clients_rows(table):
    sql = (
        "INSERT INTO t (a, b) SELECT n + 1, upper(s) FROM input('n Int32, s String') FORMAT Values"
    )
    assert table.execute(sql, [(1, "x"), (2, "y")]) == 2
    assert table.execute("SELECT a, b FROM t ORDER BY a") == [(2, "X"), (3, "Y")]
