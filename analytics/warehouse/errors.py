"""ClickHouse's errors, translated: what happened, the likely cause, and what to do."""

import re
from typing import NoReturn

from clickhouse_driver import errors as driver


class WarehouseError(Exception):
    """Any failure of the warehouse. The text is for administrators and contains no secret."""


class Unreachable(WarehouseError):
    """No connection, or it was lost. Reads may be retried."""


class QueryTimeout(WarehouseError):
    """The statement exceeded the time limit."""


class Unanswered(QueryTimeout):
    """The server did not respond in time. A retry would wait just as long."""


class AuthenticationFailed(WarehouseError):
    """The server refused the user or password."""


class WarehouseBusy(WarehouseError):
    """The tenant's other statements, or those of all tenants, left no room for this one in time."""


class UnknownTable(WarehouseError):
    """A table, view or database does not exist."""


class OutOfMemory(WarehouseError):
    """The statement exceeded the memory limit."""


class LakeAccessError(WarehouseError):
    """The warehouse server could not read the object store."""


class Interrupted(WarehouseError):
    """A statement of a load wrote other rows than planned, as when the server lost its memory."""


class Unavailable(WarehouseError):
    """The server accepts no statements now: it is shutting down, busy, read-only, or out of space
    or memory.
    """


class NotGranted(WarehouseError):
    """The user lacks a permission."""


class UnreadableData(WarehouseError):
    """The server could not parse a file or a value; the text names it."""


class StatementFailed(WarehouseError):
    """The server refused the statement for any other reason."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


# Problems of the server, not of the statement: the same statement may succeed later.
OUTAGES = (
    *(Unreachable, Unanswered, Unavailable, Interrupted),
    *(AuthenticationFailed, NotGranted, UnknownTable),
)

# https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
_OUT_OF_MEMORY = 241
_BY_CODE: dict[int, tuple[type[WarehouseError], str]] = {
    516: (
        AuthenticationFailed,
        "The warehouse refused the user or password. Check those in {setting}.",
    ),
    194: (AuthenticationFailed, "The warehouse requires a password. Add it to {setting}."),
    192: (AuthenticationFailed, "The warehouse has no such user. Check {setting}."),
    497: (
        NotGranted,
        "The warehouse user lacks a permission. Grant those listed in docs/operations.md.",
    ),
    60: (UnknownTable, "A table is missing. Run: manage.py warehouse_schema apply"),
    81: (UnknownTable, "The database is missing. Run: manage.py warehouse_schema apply"),
    _OUT_OF_MEMORY: (
        OutOfMemory,
        "The statement ran out of memory. Choose a shorter period, or raise READER_MEMORY_MB; or "
        "for loads, CLICKHOUSE_LOAD_MEMORY_MB.",
    ),
    159: (QueryTimeout, "The statement took too long. Request less data, or raise the timeout."),
    160: (QueryTimeout, "The statement was estimated to take too long. Request less data."),
    **dict.fromkeys(
        (202, 209, 225, 236, 242, 252, 285, 394, 745, 999, 1000),
        (Unavailable, "The warehouse is restarting, overloaded or read-only. Try again later."),
    ),
    243: (Unavailable, "The warehouse has no space left. Add disk space or delete data."),
    395: (Interrupted, "The warehouse restarted during the load. Load again."),
    117: (UnreadableData, "A file could not be read."),
    27: (UnreadableData, "A file could not be parsed."),
    32: (UnreadableData, "A file ends too early."),
    33: (UnreadableData, "A file ends too early."),
    636: (UnreadableData, "A file could not be understood."),
    354: (UnreadableData, "A compressed file could not be unpacked."),
    271: (UnreadableData, "A compressed file could not be unpacked."),
    561: (UnreadableData, "A compressed file could not be unpacked."),
    1002: (UnreadableData, "A file could not be read."),
}
# A memory limit shared with other statements, as older and newer servers name it.
_OF_MANY = re.compile(r"\((total|for user)\)|\b(Total|User) memory limit")
_S3_CODES = {499, 491}
_NETWORK_CODES = {210, 279}
_SECRETS = re.compile(r"(?i)(s3\w*\s*\(\s*'[^']*'\s*,\s*)'[^']*'\s*,\s*'[^']*'")
_NOISE = re.compile(
    r"(?s)\s*Stack trace:.*|DB::Exception:\s*|DB::(?:Net)?Exception\s*|\s*\(version [^)]*\)"
)


def translate(error: BaseException, setting: str = "CLICKHOUSE_URL") -> WarehouseError:
    """The WarehouseError for an error of the driver or the socket.

    `setting` is the one that has the address and the user.
    """
    if isinstance(error, WarehouseError):
        return error
    if isinstance(error, driver.ServerException):
        return _of_server(error, setting)
    if isinstance(error, (TimeoutError, driver.SocketTimeoutError)):
        return Unanswered(
            "The warehouse did not respond in time. It may be overloaded or behind a firewall. "
            f"Try again, then check the host and port in {setting}."
        )
    if isinstance(error, (driver.NetworkError, EOFError, OSError)):
        return Unreachable(
            f"The warehouse cannot be reached ({plain(str(error)) or type(error).__name__}). "
            f"Check that it is running and that {setting} has its native port "
            "(9000, or 9440 with TLS; 8123 and 8443 are HTTP)."
        )
    return StatementFailed(plain(str(error)))


def _of_server(error: driver.ServerException, setting: str) -> WarehouseError:
    text = plain(error.message)
    if error.code in _S3_CODES:
        return LakeAccessError(f"{_s3_remedy(text)} The server said: {text}")
    if error.code in _NETWORK_CODES:
        return Unreachable(f"The warehouse lost a connection: {text} Try again.")
    if error.code == _OUT_OF_MEMORY and _OF_MANY.search(text):
        return Unavailable(f"The warehouse is out of memory. Try again later. It said: {text}")
    if error.code in _BY_CODE:
        kind, remedy = _BY_CODE[error.code]
        return kind(f"{remedy.format(setting=setting)} The server said: {text}")
    if "(in file/uri " in text:
        return UnreadableData(f"A file could not be read. The server said: {text}")
    return StatementFailed(
        f"The warehouse refused a statement (code {error.code}): {text}", error.code
    )


def _s3_remedy(text: str) -> str:
    if re.search(r"(?i)access.?denied|403|forbidden|signature|invalidaccesskey", text):
        return (
            "The warehouse was denied access to the lake. Check LAKE_ACCESS_KEY_ID and "
            "LAKE_SECRET_ACCESS_KEY, or the server's IAM role, and the bucket policy."
        )
    if re.search(r"(?i)404|no such (key|bucket)|does not exist", text):
        return (
            "The warehouse did not find a file in the lake. It was replaced or deleted during the "
            "read, or LAKE_BUCKET and LAKE_ENDPOINT_URL do not match what the server can reach."
        )
    return (
        "The warehouse could not read from the lake. Check LAKE_ENDPOINT_URL as seen from the "
        "warehouse server, or set LOAD_TRANSPORT=worker."
    )


def plain(text: str) -> str:
    """A server's message on one line, without stack trace, version and credentials."""
    text = _SECRETS.sub(r"\1'[HIDDEN]', '[HIDDEN]'", text)
    return " ".join(_NOISE.sub(" ", text).split())[:1000]


def raise_translated(error: BaseException) -> NoReturn:
    raise translate(error) from error
