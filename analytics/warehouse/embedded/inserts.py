"""Parses an INSERT whose data the client sends in blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from analytics.warehouse.embedded.server_errors import SYNTAX_ERROR, ServerError
from analytics.warehouse.embedded.tokens import (
    Token,
    after_semicolon,
    multi_statements,
    tokens,
    until_end,
)

_BEFORE_TARGET = ("INSERT", "INTO", "TABLE", "FUNCTION")
_DATA = ("VALUES", "FORMAT")
_TERMINATORS = (*_DATA, "SELECT", "WITH", "FROM", "WATCH")


@dataclass(frozen=True)
class ClientInsert:
    """The parts of `INSERT INTO target (names) SETTINGS … VALUES`, or of one from `input()`."""

    before: str  # what precedes the path of the file with the data
    after: str
    target: str  # the table or table function whose columns the blocks have
    column_list: str | None  # the text in the brackets
    names: tuple[str, ...] | None  # the columns in it; None if it has an expression

    def from_file(self, path: str) -> str:
        quoted = path.replace("\\", "\\\\").replace("'", "\\'")
        return f"{self.before}'{quoted}'{self.after}"


def client_insert(sql: str) -> ClientInsert | None:
    """The parts, or None if the statement contains its data or a SELECT of other data."""
    head, terminator, following = _split(tokens(sql))
    if terminator is None or not terminator.is_word(*_DATA):
        return _from_input(sql)
    data_start = terminator.end
    if terminator.is_word("FORMAT"):
        data_start = next(following, terminator).end
    if any(token.text != ";" for token in tokens(sql, data_start)):
        _refuse_second_statement(sql, terminator)
        return None
    return _parts(sql, head, terminator)


def _from_input(sql: str) -> ClientInsert | None:
    """The parts of `INSERT INTO … SELECT … FROM input('structure') FORMAT …`."""
    found = until_end(sql)
    if len(found) < 2 or not found[-2].is_word("FORMAT"):
        return None
    for before, name, opening, structure, closing in zip(
        found, found[1:], found[2:], found[3:], found[4:], strict=False
    ):
        brackets = opening.text + closing.text
        if before.is_word("FROM") and name.identifier().lower() == "input" and brackets == "()":
            return ClientInsert(
                before=f"{sql[: name.start]}file(",
                after=f", 'Native', {structure.text}){sql[closing.end : found[-2].start]}",
                target=f"null({structure.text})",
                column_list=None,
                names=None,
            )
    return None


def before_data(sql: str) -> list[Token]:
    """The tokens of an INSERT up to the data that it contains."""
    head, terminator, _ = _split(tokens(sql))
    has_data = terminator is not None and terminator.is_word(*_DATA)
    return head if has_data else until_end(sql)


def _split(stream: Iterator[Token]) -> tuple[list[Token], Token | None, Iterator[Token]]:
    head: list[Token] = []
    for token in stream:
        names_target = all(t.is_word(*_BEFORE_TARGET) for t in head) or head[-1].text == "."
        if not names_target and not token.depth and token.is_word(*_TERMINATORS):
            return head, token, stream
        head.append(token)
    return head, None, stream


def _refuse_second_statement(sql: str, terminator: Token) -> None:
    if not terminator.is_word("VALUES"):
        return  # other formats may hold anything
    end = after_semicolon(sql, terminator.end)
    if end is not None and any(token.text != ";" for token in tokens(sql, end)):
        raise multi_statements()


def _parts(sql: str, head: list[Token], terminator: Token) -> ClientInsert:
    target, rest = _target(head)
    clause = next((t for t in rest if t.is_word("SETTINGS") and not t.depth), terminator)
    inside = _brackets(rest)
    return ClientInsert(
        before=f"{sql[: clause.start]} FROM INFILE ",
        after=f" {sql[clause.start : terminator.start]} FORMAT Native",
        target=sql[target[0].start : target[-1].end],
        column_list=sql[inside[0].start : inside[-1].end] if inside else None,
        names=_names(inside) if inside else None,
    )


def _target(head: list[Token]) -> tuple[list[Token], list[Token]]:
    """The table or table function, and what follows it."""
    start = sum(1 for _ in takewhile(lambda t: t.is_word(*_BEFORE_TARGET), head[:-1]))
    if start and head[start - 1].is_word("FUNCTION"):
        end = _closing(head, start, ")")
    else:
        end = _name_end(head, start)
        while end + 1 < len(head) and head[end].text == ".":
            end = _name_end(head, end + 1)
    if not head[start:end]:
        raise ServerError(SYNTAX_ERROR, "Syntax error: INSERT without a table (SYNTAX_ERROR)")
    return head[start:end], head[end:]


def _name_end(head: list[Token], start: int) -> int:
    is_parameter = start < len(head) and head[start].text == "{"
    return _closing(head, start, "}") if is_parameter else start + 1


def _closing(head: list[Token], start: int, bracket: str) -> int:
    """The position after the bracket that closes the first one from `start`."""
    depth = head[start].depth
    after = range(start, len(head))
    found = next((i for i in after if head[i].text == bracket and head[i].depth == depth), None)
    return len(head) if found is None else found + 1


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
