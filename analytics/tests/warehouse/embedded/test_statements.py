"""Parsing of statements."""

import pytest

from analytics.warehouse.embedded.server_errors import ServerError
from analytics.warehouse.embedded.statements import QUERY_ID_SQL, Kind, parse


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT 1", Kind.SELECT),
        (" -- a\n/* b */ (sElect 1) union all select 2", Kind.SELECT),
        ("WITH 1 AS x SELECT x", Kind.SELECT),
        ("FROM t SELECT a", Kind.SELECT),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", Kind.OTHER),
        ("SET a = 1", Kind.SESSION),
        ("USE db", Kind.SESSION),
        ("CREATE VIEW v AS SELECT 1", Kind.OTHER),
        ("INSERT INTO t SELECT 1", Kind.OTHER),
        ("INSERT INTO t VALUES (1)", Kind.OTHER),
        ("INSERT INTO t (a, b) (SELECT 1, 2)", Kind.OTHER),
        ('INSERT INTO t FORMAT JSONEachRow {"a;": 1}; x', Kind.OTHER),
        ("INSERT INTO t VALUES", Kind.CLIENT_INSERT),
        ("insert into t format Native -- data follow\n;", Kind.CLIENT_INSERT),
        ("INSERT INTO values VALUES", Kind.CLIENT_INSERT),
    ],
)
def test_kinds(sql, kind):
    assert parse(sql).kind is kind


@pytest.mark.parametrize(
    ("sql", "target", "names", "file_sql"),
    [
        ("INSERT INTO t VALUES", "t", None, "INSERT INTO t  FROM INFILE 'f'  FORMAT Native"),
        (
            "INSERT INTO TABLE db.`a b` (x, `y z`, n.m) SETTINGS q = 1 VALUES",
            "db.`a b`",
            ("x", "y z", "n.m"),
            "INSERT INTO TABLE db.`a b` (x, `y z`, n.m)  FROM INFILE 'f' SETTINGS q = 1  "
            "FORMAT Native",
        ),
        (
            "INSERT INTO FUNCTION file('x', 'CSV', 'a Int8') (a) FORMAT Values",
            "file('x', 'CSV', 'a Int8')",
            ("a",),
            "INSERT INTO FUNCTION file('x', 'CSV', 'a Int8') (a)  FROM INFILE 'f'  FORMAT Native",
        ),
    ],
)
def test_parts_of_an_insert(sql, target, names, file_sql):
    insert = parse(sql).insert
    assert (insert.target, insert.names) == (target, names)
    assert insert.from_file("f") == file_sql


def test_a_column_expression_is_left_to_the_engine():
    insert = parse("INSERT INTO t (* EXCEPT(a, b)) VALUES").insert
    assert insert.names is None
    assert insert.column_list == "* EXCEPT(a, b)"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1 FORMAT JSON;", "SELECT 1 "),
        ("SELECT 1 FORMAT JSON SETTINGS a = 1", "SELECT 1  SETTINGS a = 1"),
        ("SELECT 'FORMAT x' AS format", "SELECT 'FORMAT x' AS format"),
        ("SELECT a FROM (SELECT 1 AS a) format", "SELECT a FROM (SELECT 1 AS a) format"),
        ("CREATE TABLE t (a Int8) -- FORMAT x", "CREATE TABLE t (a Int8)"),
    ],
)
def test_the_format_is_taken_off(sql, expected):
    assert parse(sql).sql == expected


@pytest.mark.parametrize(
    ("kill", "condition"),
    [
        ("KILL QUERY WHERE query_id = 'a' SYNC", f"{QUERY_ID_SQL} = 'a'"),
        ("kill query where user IN (SELECT 'async') async;", "user IN (SELECT 'async')"),
        ("KILL QUERY WHERE 1", "1"),
    ],
)
def test_the_victims_of_a_kill(kill, condition):
    query = parse(kill).victims
    assert query.startswith(f"SELECT DISTINCT {QUERY_ID_SQL} FROM system.processes WHERE")
    assert query.partition("WHERE")[2].strip() == condition


@pytest.mark.parametrize("sql", ["KILL QUERY WHERE 1 TEST", "KILL MUTATION WHERE 1", "SELECT 1"])
def test_no_victims(sql):
    assert parse(sql).victims == ""


def test_kill_finds_our_ids():
    sql = parse("KILL QUERY WHERE query_id = 'query_id' OR `query_id` = 'y'").sql
    assert sql.count("log_comment") == 2
    assert "= 'query_id'" in sql


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("", 62),
        ("-- nothing", 62),
        ("SELECT 1; SELECT 2", 62),
        ("INSERT INTO t VALUES (1); DROP TABLE t", 62),
        ("INSERT INTO t VALUES (';'), ('\\';'); DROP TABLE t", 62),
        ("SELECT 1 INTO OUTFILE 'x'", 344),
        ("(SELECT 1) into /* */ outfile 'x'", 344),
        ("INSERT INTO t FROM INFILE 'x' FORMAT CSV", 344),
        ("SELECT 1 GROUP BY 1 WITH TOTALS", 48),
    ],
)
def test_refusals(sql, code):
    with pytest.raises(ServerError) as caught:
        parse(sql)
    assert caught.value.code == code


def test_strings_are_not_mistaken():
    assert parse("SELECT 'INTO OUTFILE', $$FROM INFILE; WITH TOTALS$$").kind is Kind.SELECT
