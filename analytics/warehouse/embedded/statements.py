"""Parses a statement and rewrites it for the engine where needed."""

from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise

from analytics.warehouse.embedded.inserts import ClientInsert, client_insert
from analytics.warehouse.embedded.server_errors import (
    NOT_IMPLEMENTED,
    SUPPORT_IS_DISABLED,
    SYNTAX_ERROR,
    ServerError,
)
from analytics.warehouse.embedded.tokens import Token, tokens, until_end

# log_comment has our query id, and on a second line the client's own comment.
QUERY_ID_SQL = r"splitByChar('\n', Settings['log_comment'])[1]"

_SELECTS = ("SELECT", "WITH", "FROM")
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
    if first is None:
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
    return Statement(_kind(first, found), sql)


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
    _refuse_files(_before_inline_data(sql))
    return Statement(Kind.OTHER, sql)


def _before_inline_data(sql: str) -> list[Token]:
    head: list[Token] = []
    for token in tokens(sql):
        if token.is_word("VALUES", "FORMAT") and not token.depth:
            return head
        head.append(token)
    return until_end(sql)


def _refuse_files(found: list[Token]) -> None:
    for here, following in pairwise(found):
        if here.is_word("INTO") and following.is_word("OUTFILE"):
            raise _no_files("INTO OUTFILE")
        if here.is_word("FROM") and following.is_word("INFILE"):
            raise _no_files("FROM INFILE")


def _refuse_totals(found: list[Token]) -> None:
    """The engine does not return the row of totals; a result without it would be wrong."""
    for here, following in pairwise(found):
        if here.is_word("WITH") and following.is_word("TOTALS"):
            raise ServerError(
                NOT_IMPLEMENTED,
                "WITH TOTALS is not supported; use WITH ROLLUP or GROUPING SETS (NOT_IMPLEMENTED)",
            )


def _no_files(clause: str) -> ServerError:
    return ServerError(
        SUPPORT_IS_DISABLED,
        f"{clause} must be handled by the client; this endpoint does not access files "
        "(SUPPORT_IS_DISABLED)",
    )


def _without_format(sql: str, found: list[Token]) -> str:
    """Removes a FORMAT clause, since rows are always sent as blocks."""
    for here, name, after in zip(found, found[1:], [*found[2:], None], strict=False):
        ends = after is None or after.is_word("SETTINGS")
        if here.is_word("FORMAT") and not here.depth and name.kind == "word" and ends:
            return sql[: here.start] + sql[name.end :]
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
