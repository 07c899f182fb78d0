"""Parsing of statements."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ("INSERT INTO t SELECT a FROM input ('a Int8') FORMAT Native", Kind.CLIENT_INSERT),
        ("INSERT INTO t SELECT a FROM input FORMAT Native", Kind.OTHER),
        ('INSERT INTO t FORMAT JSONEachRow {"a;": 1}; x', Kind.OTHER),
        ("INSERT INTO t VALUES", Kind.CLIENT_INSERT),
        ("insert into t format Native -- data follow\n;", Kind.CLIENT_INSERT),
        ("INSERT INTO values VALUES", Kind.CLIENT_INSERT),
        ("INSERT INTO db.values VALUES", Kind.CLIENT_INSERT),
        ("INSERT INTO db . format (a) FORMAT Native", Kind.CLIENT_INSERT),
        ("INSERT INTO db.values VALUES (1)", Kind.OTHER),
        ("INSERT INTO `select`.with SELECT 1", Kind.OTHER),
        ("INSERT INTO t VALUES -- (1); x", Kind.CLIENT_INSERT),
        ("INSERT INTO t VALUES (1) /* ; */, (2) -- ; x", Kind.OTHER),
        ("INSERT INTO t VALUES ($$;$$), ($a$ $$ ; $a$), (`x;`) ; -- end;", Kind.OTHER),
        ("INSERT INTO t VALUES (a$b, 'c;$$d')", Kind.OTHER),
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
            "INSERT INTO db.values (a) VALUES",
            "db.values",
            ("a",),
            "INSERT INTO db.values (a)  FROM INFILE 'f'  FORMAT Native",
        ),
        (
            "INSERT INTO db.settings SETTINGS q = 1 VALUES",
            "db.settings",
            None,
            "INSERT INTO db.settings  FROM INFILE 'f' SETTINGS q = 1  FORMAT Native",
        ),
        (
            "INSERT INTO {db:Identifier}.{t:Identifier} (a) VALUES",
            "{db:Identifier}.{t:Identifier}",
            ("a",),
            "INSERT INTO {db:Identifier}.{t:Identifier} (a)  FROM INFILE 'f'  FORMAT Native",
        ),
        (
            r"""INSERT INTO t (`a\\b`, `c``d`, "e""\n", `\ f`, `g\x41`) VALUES""",
            "t",
            ("a\\b", "c`d", 'e"\n', "\\ f", "gA"),
            r"""INSERT INTO t (`a\\b`, `c``d`, "e""\n", `\ f`, `g\x41`)"""
            "  FROM INFILE 'f'  FORMAT Native",
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
        ("SELECT a FROM t ORDER BY format DESC", "SELECT a FROM t ORDER BY format DESC"),
        ("SELECT a FROM t ORDER BY a, format ASC", "SELECT a FROM t ORDER BY a, format ASC"),
        ("SELECT a FROM t WHERE a = format FORMAT CSV", "SELECT a FROM t WHERE a = format "),
        ("SELECT * FROM format FINAL", "SELECT * FROM format FINAL"),
        ("SELECT * FORMAT JSON", "SELECT * "),
        ("SELECT [1] FORMAT JSON", "SELECT [1] "),
        ("EXPLAIN SELECT 1 ORDER BY format DESC", "EXPLAIN SELECT 1 ORDER BY format DESC"),
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
        ("SELECT 1 GROUP BY 1 WITH TOTALS HAVING 1", 48),
        ("SELECT * FROM (SELECT 1 GROUP BY 1 WITH TOTALS)", 48),
        (";", 62),
        ("INSERT INTO db.values FROM INFILE 'x' FORMAT CSV", 344),
        ("INSERT INTO t VALUES (1 /* ' */); DROP TABLE t", 62),
        ("INSERT INTO t VALUES (1); -- '\nDROP TABLE t", 62),
    ],
)
def test_refusals(sql, code):
    with pytest.raises(ServerError) as caught:
        parse(sql)
    assert caught.value.code == code


def test_strings_are_not_mistaken():
    assert parse("SELECT 'INTO OUTFILE', $$FROM INFILE; WITH TOTALS$$").kind is Kind.SELECT


@pytest.mark.parametrize(
    "sql",
    [
        "WITH totals AS (SELECT 1 AS a) SELECT a FROM totals",
        "WITH totals (a) AS (SELECT 1) SELECT a FROM totals",
        "WITH totals + 1 AS a SELECT a FROM t",
        "WITH totals.a AS b, 2 AS c SELECT b FROM totals",
    ],
)
def test_an_expression_may_be_named_totals(sql):
    assert parse(sql).sql == sql


@pytest.mark.parametrize(
    ("sql", "is_ours"),
    [
        ("SELECT query_id FROM system.processes WHERE query_id = 'a'", True),
        ("SELECT 1 FROM a JOIN `system` . processes AS p USING x", True),
        ("INSERT INTO t SELECT query_id FROM system.processes", True),
        ("DESCRIBE TABLE system.processes", False),
        ("SELECT system.processes FROM t", False),
        ("SELECT 1 FROM other.processes", False),
    ],
)
def test_processes_are_read_with_our_ids(sql, is_ours):
    assert ("REPLACE" in parse(sql).sql) == is_ours


MEGABYTES = 30
LONG = "x" * (MEGABYTES << 20)


@pytest.mark.parametrize(
    "sql",
    [
        f"INSERT INTO t VALUES ('{LONG}')",
        f"SELECT length('{LONG}')",
        f"SELECT `{LONG}`",
        f"SELECT 1 /* {LONG} */",
        f"SELECT $${LONG}$$",
        "INSERT INTO t VALUES " + "(1, 'abc', NULL), " * (MEGABYTES * 60_000),
        "SELECT a IN (" + "12345678, " * (MEGABYTES * 100_000) + "1)",
        "SELECT a IN (" + "(1, 'abc'), " * (MEGABYTES * 90_000) + "(1, 'd'))",
    ],
    ids=["inserted", "selected", "name", "comment", "heredoc", "rows", "numbers", "pairs"],
)
def test_megabytes_are_parsed_quickly(sql):
    started = time.process_time()
    parse(sql)
    assert time.process_time() - started < 3


@given(
    st.lists(
        st.sampled_from(["'", '"', "`", "$", "\\", "/*", "*/", "--", "\n", ";", "(", "a", "1", ","])
    )
)
def test_any_text_is_parsed_or_refused(parts):
    for head in ("", "SELECT ", "INSERT INTO t VALUES "):
        with suppress(ServerError):
            parse(head + "".join(parts))


@pytest.mark.parametrize("piece", ["'", "`", "/*", "$a$", "$a$b", "(1,", "(", "'a\\", "-", "/"])
def test_unfinished_text_takes_no_more_than_linear_time(piece):
    started = time.process_time()
    for head in ("SELECT ", "INSERT INTO t VALUES "):
        with suppress(ServerError):
            parse(head + piece * 20_000)
    assert time.process_time() - started < 3
