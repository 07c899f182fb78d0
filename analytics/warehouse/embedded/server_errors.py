"""Errors as the native protocol carries them: a ClickHouse code and a text."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

NO_SUCH_COLUMN_IN_TABLE = 16
BAD_ARGUMENTS = 36
CHECKSUM_DOESNT_MATCH = 40
NOT_IMPLEMENTED = 48
UNKNOWN_TYPE = 50
SYNTAX_ERROR = 62
UNKNOWN_COMPRESSION_METHOD = 89
UNEXPECTED_PACKET = 101
UNKNOWN_SETTING = 115
INCORRECT_DATA = 117
TOO_LARGE_STRING_SIZE = 131
READONLY = 164
TOO_MANY_SIMULTANEOUS_QUERIES = 202
SOCKET_TIMEOUT = 209
QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING = 216
NOT_ENOUGH_SPACE = 243
CANNOT_DECOMPRESS = 271
SUPPORT_IS_DISABLED = 344
QUERY_WAS_CANCELLED = 394
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


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turns errors of the engine into ServerError."""
    try:
        yield
    except RuntimeError as error:
        raise _from_engine(str(error)) from None
    except UnicodeDecodeError as error:  # the text of an error may quote any bytes
        raise _from_engine(error.object.decode("utf-8", "surrogateescape")) from None


def _from_engine(text: str) -> ServerError:
    """A ServerError from the text of an engine error, which starts with `Code: n.`"""
    found = _ENGINE_TEXT.search(text)
    code, message = (int(found[1]), found[2]) if found else (UNKNOWN_EXCEPTION, text)
    if code == NOT_ENOUGH_SPACE or any(sign in text for sign in _DISK_FULL):
        return disk_full(message)
    return ServerError(code, message)


def internal_error(error: Exception) -> ServerError:
    """What a client gets for a mistake of this program; the log has the details."""
    return ServerError(
        UNKNOWN_EXCEPTION,
        f"The embedded endpoint failed: {type(error).__name__} (UNKNOWN_EXCEPTION)",
    )


def disk_full(detail: str) -> ServerError:
    return ServerError(
        NOT_ENOUGH_SPACE,
        "The disk of the data directory is full; free some space and try again. "
        f"({detail}) (NOT_ENOUGH_SPACE)",
    )
