"""Errors as the native protocol carries them: a ClickHouse code and a text."""

import re

NO_SUCH_COLUMN_IN_TABLE = 16
CHECKSUM_DOESNT_MATCH = 40
NOT_IMPLEMENTED = 48
UNKNOWN_TYPE = 50
SYNTAX_ERROR = 62
UNKNOWN_SETTING = 115
UNEXPECTED_PACKET = 101
READONLY = 164
QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING = 216
NOT_ENOUGH_SPACE = 243
QUERY_WAS_CANCELLED = 394
SUPPORT_IS_DISABLED = 344
AUTHENTICATION_FAILED = 516
UNKNOWN_EXCEPTION = 1002

_ENGINE_TEXT = re.compile(r"Code: (\d+)\. (.*)", re.DOTALL)
_DISK_FULL = ("No space left on device", "errno: 28", "File too large")


class ServerError(Exception):
    """An error that is sent to the client; `code` is ClickHouse's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text if text.startswith("DB::Exception") else f"DB::Exception: {text}"


class StartupError(Exception):
    """The endpoint cannot start; the text is one line and names the remedy."""


def from_engine(error: Exception) -> ServerError:
    """A ServerError from an engine error, whose text starts with `Code: n.`"""
    text = str(error)
    found = _ENGINE_TEXT.search(text)
    code, message = (int(found[1]), found[2]) if found else (UNKNOWN_EXCEPTION, text)
    if code == NOT_ENOUGH_SPACE or any(sign in text for sign in _DISK_FULL):
        return disk_full(message)
    return ServerError(code, message)


def disk_full(detail: str) -> ServerError:
    return ServerError(
        NOT_ENOUGH_SPACE,
        "The disk of the data directory is full; free some space and try again. "
        f"({detail}) (NOT_ENOUGH_SPACE)",
    )
