"""A minimal lexer for ClickHouse SQL: words, strings, comments and brackets."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from analytics.warehouse.embedded.server_errors import SYNTAX_ERROR, ServerError

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*|\#[!\ ][^\n]*|/\*.*?\*/)
  | (?P<string>'(?:[^'\\]|\\.|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
  | (?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
  | (?P<word>[A-Za-z_]\w*)
  | (?P<number>\d[\w.]*)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    start: int
    end: int
    depth: int  # of brackets around it; a bracket itself counts as outside

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text.upper() in words

    def identifier(self) -> str:
        """The name in a word or a quoted identifier."""
        if self.kind != "quoted":
            return self.text
        quote = self.text[0]
        inner = self.text[1:-1].replace(quote * 2, quote)
        return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL)


def tokens(sql: str, start: int = 0) -> Iterator[Token]:
    """Tokens without blanks and comments, read lazily."""
    depth = 0
    for match in _TOKEN.finditer(sql, start):
        kind, text = match.lastgroup or "other", match.group()
        if kind == "space":
            continue
        if kind == "tag":
            kind = "string"
        if text in (")", "]", "}") and kind == "other":
            depth -= 1
        yield Token(kind, text, match.start(), match.end(), depth)
        if text in ("(", "[", "{") and kind == "other":
            depth += 1


def until_end(sql: str, start: int = 0) -> list[Token]:
    """All tokens of one statement, without its closing `;`; a second statement is an error."""
    found: list[Token] = []
    closed = False
    for token in tokens(sql, start):
        if closed and token.text != ";":
            raise ServerError(
                SYNTAX_ERROR, "Syntax error: Multi-statements are not allowed (SYNTAX_ERROR)"
            )
        if token.text == ";" and token.kind == "other":
            closed = True
        else:
            found.append(token)
    return found
