"""Parses an INSERT whose data the client sends in blocks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from analytics.warehouse.embedded.server_errors import SYNTAX_ERROR, ServerError
from analytics.warehouse.embedded.tokens import Token, tokens

_TERMINATORS = ("VALUES", "FORMAT", "SELECT", "WITH", "FROM", "WATCH")
_STRING_OR_END = re.compile(r"'(?:[^'\\]|\\.|'')*'|;", re.DOTALL)


@dataclass(frozen=True)
class ClientInsert:
    """The parts of `INSERT INTO target (names) SETTINGS … VALUES`."""

    before_data: str  # the text before FROM INFILE
    settings: str  # the SETTINGS clause, or nothing
    target: str
    column_list: str | None  # the text in the brackets
    names: tuple[str, ...] | None  # the columns in it; None if it has an expression

    def from_file(self, path: str) -> str:
        quoted = path.replace("\\", "\\\\").replace("'", "\\'")
        return f"{self.before_data} FROM INFILE '{quoted}' {self.settings} FORMAT Native"


def client_insert(sql: str) -> ClientInsert | None:
    """The parts, or None if the statement contains its data."""
    head, terminator, following = _split(tokens(sql))
    if terminator is None or not terminator.is_word("VALUES", "FORMAT"):
        return None
    data_start = terminator.end
    if terminator.is_word("FORMAT"):
        data_start = next(following, terminator).end
    if any(token.text != ";" for token in tokens(sql, data_start)):
        _refuse_second_statement(sql, terminator)
        return None
    return _parts(sql, head, terminator)


def _split(stream: Iterator[Token]) -> tuple[list[Token], Token | None, Iterator[Token]]:
    head: list[Token] = []
    for token in stream:
        # The name of the table comes first, and may be any word.
        if len(head) > 2 and not token.depth and token.is_word(*_TERMINATORS):
            return head, token, stream
        head.append(token)
    return head, None, stream


def _refuse_second_statement(sql: str, terminator: Token) -> None:
    if not terminator.is_word("VALUES"):
        return  # other formats may hold anything
    ends = (m.end() for m in _STRING_OR_END.finditer(sql, terminator.end) if m.group() == ";")
    end = next(ends, None)
    if end is not None and next(tokens(sql, end), None) is not None:
        raise ServerError(
            SYNTAX_ERROR, "Syntax error: Multi-statements are not allowed (SYNTAX_ERROR)"
        )


def _parts(sql: str, head: list[Token], terminator: Token) -> ClientInsert:
    clause = next((t for t in head if t.is_word("SETTINGS") and not t.depth), terminator)
    target, rest = _target(head)
    inside = _brackets(rest)
    return ClientInsert(
        before_data=sql[: clause.start],
        settings=sql[clause.start : terminator.start],
        target=sql[target[0].start : target[-1].end],
        column_list=sql[inside[0].start : inside[-1].end] if inside else None,
        names=_names(inside) if inside else None,
    )


def _target(head: list[Token]) -> tuple[list[Token], list[Token]]:
    """The table or table function, and what follows it."""
    start = 1 + sum(1 for _ in takewhile(lambda t: t.is_word("INTO", "TABLE"), head[1:3]))
    if start < len(head) - 1 and head[start].is_word("FUNCTION"):
        closing = next(i for i, t in enumerate(head) if i > start and t.text == ")" and not t.depth)
        return head[start + 1 : closing + 1], head[closing + 1 :]
    end = start + 1
    while end + 1 < len(head) and head[end].text == ".":
        end += 2
    return head[start:end], head[end:]


def _brackets(rest: list[Token]) -> list[Token]:
    if not rest or rest[0].text != "(":
        return []
    return list(takewhile(lambda token: token.depth, rest[1:]))


def _names(inside: list[Token]) -> tuple[str, ...] | None:
    names: list[str] = []
    parts: list[str] = []
    for token in inside:
        if token.text == "," and token.depth == 1:
            names.append("".join(parts))
            parts = []
        elif token.kind in ("word", "quoted") or token.text == ".":
            parts.append(token.identifier())
        else:
            return None
    # `* EXCEPT(x)` and similar have returned None above.
    return (*names, "".join(parts))
