"""Parses a statement and rewrites it for the engine where needed."""

from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise

from analytics.warehouse.embedded.inserts import ClientInsert, before_data, client_insert
from analytics.warehouse.embedded.server_errors import (
    NOT_IMPLEMENTED,
    SUPPORT_IS_DISABLED,
    SYNTAX_ERROR,
    ServerError,
)
from analytics.warehouse.embedded.tokens import Token, tokens, until_end

# log_comment has our query id, and on a second line the client's own comment.
QUERY_ID_SQL = r"splitByChar('\n', Settings['log_comment'])[1]"

_OUR_PROCESSES = (
    f"(SELECT * REPLACE ({QUERY_ID_SQL} AS query_id, {QUERY_ID_SQL} AS initial_query_id) "
    "FROM system.processes)"
)

_SELECTS = ("SELECT", "WITH", "FROM")
# What may follow WITH TOTALS. Anything else follows an expression or a subquery named `totals`.
_AFTER_TOTALS = (
    *("HAVING", "WINDOW", "QUALIFY", "ORDER", "LIMIT", "OFFSET", "FETCH", "SETTINGS", "FORMAT"),
    *("INTO", "UNION", "INTERSECT", "EXCEPT"),
)
# After these words an expression or a name follows, so that `format` is a name there.
_BEFORE_OPERAND = (
    *("SELECT", "DISTINCT", "AS", "FROM", "JOIN", "ON", "USING", "WITH", "WHERE", "PREWHERE"),
    *("BY", "HAVING", "QUALIFY", "LIMIT", "OFFSET", "AND", "OR", "NOT", "IN", "LIKE", "ILIKE"),
    *("BETWEEN", "CASE", "WHEN", "THEN", "ELSE", "INTERVAL", "TABLE", "DATABASE", "VIEW"),
)
_MAY_NAME_FORMAT = (*_SELECTS, "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "KILL")


class Kind(Enum):
    SELECT = auto()
    CLIENT_INSERT = auto()
    SESSION = auto()  # SET and USE, whose effect lasts
    OTHER = auto()


@dataclass(frozen=True)
class Statement:
    kind: Kind
    sql: str
    insert: ClientInsert | None = None
    victims: str = ""  # for KILL QUERY: a query that selects the ids to kill


def parse(sql: str) -> Statement:
    """The kind of a statement and its SQL for the engine. Refuses access to the server's files."""
    first = next((token for token in tokens(sql) if token.text != "("), None)
    if first is None or first.text == ";":
        raise ServerError(SYNTAX_ERROR, "Syntax error: Empty query (SYNTAX_ERROR)")
    if first.is_word("INSERT"):
        return _parse_insert(sql)
    found = until_end(sql)
    _refuse_files(found)
    _refuse_totals(found)
    sql = sql[: found[-1].end]
    if first.is_word(*_MAY_NAME_FORMAT):
        sql = _without_format(sql, found)
    if first.is_word("KILL"):
        sql = _with_our_query_id(sql, found)
        return Statement(Kind.OTHER, sql, victims=_victims(sql))
    return Statement(_kind(first, found), _with_our_processes(sql, found))


def _kind(first: Token, found: list[Token]) -> Kind:
    if first.is_word("SET", "USE"):
        return Kind.SESSION
    if not first.is_word(*_SELECTS):
        return Kind.OTHER
    # WITH … INSERT INTO … SELECT
    inserts = any(token.is_word("INSERT") and not token.depth for token in found)
    return Kind.OTHER if first.is_word("WITH") and inserts else Kind.SELECT


def _parse_insert(sql: str) -> Statement:
    insert = client_insert(sql)
    if insert is not None:
        return Statement(Kind.CLIENT_INSERT, sql, insert)
    found = before_data(sql)
    _refuse_files(found)
    return Statement(Kind.OTHER, _with_our_processes(sql, found))


def _refuse_files(found: list[Token]) -> None:
    for here, following in pairwise(found):
        if here.is_word("INTO") and following.is_word("OUTFILE"):
            raise _no_files("INTO OUTFILE")
        if here.is_word("FROM") and following.is_word("INFILE"):
            raise _no_files("FROM INFILE")


def _refuse_totals(found: list[Token]) -> None:
    """The engine does not return the row of totals; a result without it would be wrong."""
    for here, name, after in zip(found, found[1:], [*found[2:], None], strict=False):
        if here.is_word("WITH") and name.is_word("TOTALS") and _ends_totals(after):
            raise ServerError(
                NOT_IMPLEMENTED,
                "WITH TOTALS is not supported; use WITH ROLLUP or GROUPING SETS (NOT_IMPLEMENTED)",
            )


def _ends_totals(after: Token | None) -> bool:
    return after is None or after.text == ")" or after.is_word(*_AFTER_TOTALS)


def _no_files(clause: str) -> ServerError:
    return ServerError(
        SUPPORT_IS_DISABLED,
        f"{clause} must be handled by the client; this endpoint does not access files "
        "(SUPPORT_IS_DISABLED)",
    )


def _without_format(sql: str, found: list[Token]) -> str:
    """Removes a FORMAT clause, since rows are always sent as blocks."""
    followers = zip(found, found[1:], found[2:], [*found[3:], None], strict=False)
    for before, here, name, after in followers:
        ends = after is None or after.is_word("SETTINGS")
        is_clause = here.is_word("FORMAT") and not here.depth and _ends_operand(before)
        if is_clause and name.kind == "word" and ends:
            return sql[: here.start] + sql[name.end :]
    return sql


def _ends_operand(token: Token) -> bool:
    """Whether an expression may end with this token."""
    if token.kind == "other":
        return token.text in (")", "]", "}", "*")
    return not token.is_word(*_BEFORE_OPERAND)


def _with_our_processes(sql: str, found: list[Token]) -> str:
    """Reads `system.processes` through a subquery that has our query ids."""
    places = []
    for before, schema, dot, table in zip(found, found[1:], found[2:], found[3:], strict=False):
        names = [t.identifier() for t in (schema, table)]
        if before.is_word("FROM", "JOIN") and dot.text == "." and names == ["system", "processes"]:
            places.append((schema.start, table.end))
    for start, end in reversed(places):
        sql = sql[:start] + _OUR_PROCESSES + sql[end:]
    return sql


def _with_our_query_id(sql: str, found: list[Token]) -> str:
    """Replaces `query_id`, since the engine assigns its own ids and ours is in log_comment."""
    for token in reversed(found):
        if token.kind in ("word", "quoted") and token.identifier() == "query_id":
            sql = sql[: token.start] + QUERY_ID_SQL + sql[token.end :]
    return sql


def _victims(sql: str) -> str:
    """`KILL QUERY … WHERE condition [SYNC | ASYNC | TEST]` as a query for the ids to kill."""
    found = until_end(sql)
    where = next((token for token in found if token.is_word("WHERE")), None)
    if where is None or not found[1].is_word("QUERY") or found[-1].is_word("TEST"):
        return ""
    rest = (t for t in found if t.start > where.end and not t.depth)
    end = next((t.start for t in rest if t.is_word("SYNC", "ASYNC", "SETTINGS")), len(sql))
    condition = sql[where.end : end]
    return f"SELECT DISTINCT {QUERY_ID_SQL} FROM system.processes WHERE {condition}"
