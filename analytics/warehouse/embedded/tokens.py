"""A minimal lexer for ClickHouse SQL: words, literals, comments and brackets."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from analytics.warehouse.embedded.server_errors import SYNTAX_ERROR, ServerError

# Possessive repeats (`*+`) keep a literal of many megabytes fast: nothing is kept to go back to.
# What is not closed extends to the end, so that no text is searched twice.
_SPACE = r"(?:\s++|--[^\n]*+|\#[!\ ][^\n]*+|/\*(?:[^*]++|\*(?!/))*+(?:\*/|\Z))++"
_HEREDOC = r"\$(?P<tag>\w*+)\$(?:.*?\$(?P=tag)\$|.*+)"


def _closed_by(quote: str) -> str:
    return rf"{quote}[^{quote}\\]*+(?:(?:\\.|{quote * 2})[^{quote}\\]*+)*+(?:{quote}|\\?\Z)"


_STRING = _closed_by("'")
_QUOTED = rf"{_closed_by('`')}|{_closed_by(chr(34))}"
_WORD = r"[A-Za-z_][\w$]*+"
_LITERAL = rf"(?:{_STRING}|[-+]?\d[\w.]*+)"
_LITERALS = rf"{_LITERAL}(?:\s*+,\s*+{_LITERAL})*+"
_ROW = rf"\(\s*+{_LITERALS}\s*+\)"
_TOKEN = re.compile(
    rf"""
    (?P<space>{_SPACE})
  | (?P<literal>{_LITERALS}|{_ROW}(?:\s*+,\s*+{_ROW})++|{_HEREDOC})
  | (?P<quoted>{_QUOTED})
  | (?P<word>{_WORD})
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_TO_SEMICOLON = re.compile(
    rf"(?:[^;'`\"$/\#\-\w]++|{_SPACE}|{_STRING}|{_HEREDOC}|{_QUOTED}|[\w$]++|[^;])*+;",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "a": "\a", "v": "\v"}
_ESCAPES |= {"e": "\x1b", "N": ""} | {same: same for same in "\\`'\"/"}


@dataclass(frozen=True)
class Token:
    """A list of literals, or of rows of literals, is one token."""

    kind: str
    text: str
    start: int
    end: int
    depth: int  # of brackets around it; a bracket itself counts as outside

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text.upper() in words

    def identifier(self) -> str:
        """The name in a word or a quoted identifier."""
        return unquoted(self.text)


def unquoted(text: str) -> str:
    """The content of a quoted string or identifier; other text stays as it is."""
    if len(text) < 2 or text[0] not in "'`\"" or text[-1] != text[0]:
        return text
    return unescape(text[1:-1].replace(text[0] * 2, text[0]))


def unescape(text: str) -> str:
    """Replaces backslash escapes; a backslash before any other character stays, as on a server."""
    return _ESCAPED.sub(_unescaped, text) if "\\" in text else text


def _unescaped(found: "re.Match[str]") -> str:
    if found[1]:
        return bytes([int(found[1], 16)]).decode("utf-8", "surrogateescape")
    return _ESCAPES.get(found[2], found[0])


def tokens(sql: str, start: int = 0) -> Iterator[Token]:
    """Tokens without blanks and comments, read lazily."""
    depth = 0
    for match in _TOKEN.finditer(sql, start):
        kind, text = match.lastgroup or "other", match.group()
        if kind == "space":
            continue
        if kind == "tag":
            kind = "literal"
        if kind == "other" and text in (")", "]", "}"):
            depth -= 1
        yield Token(kind, text, match.start(), match.end(), depth)
        if kind == "other" and text in ("(", "[", "{"):
            depth += 1


def until_end(sql: str, start: int = 0) -> list[Token]:
    """All tokens of one statement, without its closing `;`; a second statement is an error."""
    found: list[Token] = []
    closed = False
    for token in tokens(sql, start):
        if closed and token.text != ";":
            raise multi_statements()
        if token.text == ";":
            closed = True
        else:
            found.append(token)
    return found


def after_semicolon(sql: str, start: int) -> int | None:
    """Where the first `;` from `start` ends, outside of literals and comments."""
    found = _TO_SEMICOLON.match(sql, start)
    return found.end() if found else None


def multi_statements() -> ServerError:
    return ServerError(
        SYNTAX_ERROR, "Syntax error: Multi-statements are not allowed (SYNTAX_ERROR)"
    )
