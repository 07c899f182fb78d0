"""What a file may hold, so that a small one takes neither all memory nor hours nor the whole disk.

How well a file is compressed proves little: true rows that repeat themselves shrink to a
thousandth of their size, too. So a file may always expand to LOAD_SMALL_EXPANDED_MB, which a load
takes in its stride, and only what expands to more must not exceed LOAD_MAX_RATIO times its size.
Memory depends on single records, not on files: they have bounds of their own. Each bound is a
setting (docs/operations.md).
"""

from collections.abc import Sequence
from typing import Protocol

from django.conf import settings

_MB = 1 << 20
# A stored row takes about this much, however small its file: Parquet keeps a million equal rows
# in a few bytes.
ROW_BYTES = 400
NAME_CHARACTERS = 255


class LimitExceeded(ValueError):
    """A file is not loaded because it exceeds a bound. The text explains which, and what to do."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class CountedStream:
    """A file's text, counted while it is read. LimitExceeded if it is compressed and too large."""

    def __init__(self, stream: Readable, packed_size: int | None) -> None:
        self._stream = stream
        self._packed_size = packed_size  # None: it is not compressed
        self._bytes = self._lines = 0

    def read(self, size: int, /) -> bytes:
        block = self._stream.read(size)
        self._bytes += len(block)
        self._lines += block.count(b"\n")
        if self._packed_size is not None:
            check_expansion(self._packed_size, self.weight)
        return block

    @property
    def weight(self) -> int:
        return weight(self._bytes, self._lines)


def weight(expanded: int, rows: int) -> int:
    """About how many bytes a file costs that expands to so many bytes and rows."""
    return max(expanded, rows * ROW_BYTES)


def check_expansion(packed: int, expanded: int) -> None:
    """Raise LimitExceeded if a file of `packed` bytes weighs more, expanded, than it may."""
    most = settings.LOAD_MAX_EXPANDED_MB
    if expanded > most * _MB:
        raise LimitExceeded(
            f"It expands to more than {most:,} MB (a row counts as {ROW_BYTES} bytes at least). "
            "Split it into smaller files, or raise LOAD_MAX_EXPANDED_MB."
        )
    small, ratio = settings.LOAD_SMALL_EXPANDED_MB, settings.LOAD_MAX_RATIO
    if expanded > small * _MB and expanded > packed * ratio:
        raise LimitExceeded(
            f"It expands to more than {small:,} MB and to more than {ratio:,} times its size (a "
            f"row counts as {ROW_BYTES} bytes at least), as files do that are made to do harm. If "
            "its rows are true, split it into smaller files, or raise LOAD_MAX_RATIO."
        )


def check_columns(names: Sequence[str]) -> None:
    """Raise LimitExceeded if there are too many columns, or if the name of one is too long."""
    check_column_count(len(names))
    if any(len(name) > NAME_CHARACTERS for name in names):
        raise LimitExceeded(
            f"The name of a column has more than {NAME_CHARACTERS} characters. Give it a shorter "
            "one, or check that the first line names the columns."
        )


def check_column_count(count: int) -> None:
    if count > settings.LOAD_MAX_COLUMNS:
        raise LimitExceeded(
            f"It has more than {settings.LOAD_MAX_COLUMNS:,} columns. Deliver only those that are "
            "needed, or raise LOAD_MAX_COLUMNS."
        )


def header_bytes() -> int:
    """How long the header of a CSV file may be."""
    return int(settings.LOAD_MAX_HEADER_KB) << 10


def too_long_header() -> LimitExceeded:
    return LimitExceeded(
        f"Its header is longer than {settings.LOAD_MAX_HEADER_KB:,} kB. Check that the first line "
        "names the columns, or raise LOAD_MAX_HEADER_KB."
    )


def check_footer(size: int) -> None:
    """Raise LimitExceeded if the footer of a Parquet file is too large to be read."""
    if size > settings.LOAD_MAX_FOOTER_MB * _MB:
        raise LimitExceeded(
            f"Its footer is larger than {settings.LOAD_MAX_FOOTER_MB:,} MB. Write fewer columns or "
            "larger row groups, or raise LOAD_MAX_FOOTER_MB."
        )


def check_pages(size: int) -> None:
    """Raise LimitExceeded if a worker would need too much memory for a Parquet file's pages."""
    if size > settings.LOAD_WORKER_MEMORY_MB * _MB:
        raise LimitExceeded(
            f"A worker needs more than {settings.LOAD_WORKER_MEMORY_MB:,} MB of memory for its "
            "pages. Look for very long values, write smaller pages, or raise "
            "LOAD_WORKER_MEMORY_MB."
        )


def record_bytes() -> int:
    """How long a record of a CSV file, or a line of JSON, may be."""
    return int(settings.LOAD_MAX_RECORD_MB) * _MB


def check_line(size: int) -> None:
    """Raise LimitExceeded if a line is too long to be a record."""
    if size > record_bytes():
        raise LimitExceeded(
            f"A line is longer than {settings.LOAD_MAX_RECORD_MB:,} MB. Check that each record "
            "stands on a line of its own, or raise LOAD_MAX_RECORD_MB."
        )


def value_bytes() -> int:
    """How long a text in a row may be. Longer ones are rejects, and the other rows are loaded."""
    return int(settings.LOAD_MAX_VALUE_KB) << 10


def too_much_memory() -> LimitExceeded:
    """Why the only file that a statement of the warehouse read is not loaded."""
    return LimitExceeded(
        f"The warehouse needs more than {settings.CLICKHOUSE_FILE_MEMORY_MB:,} MB of memory to "
        "read it. Look for very long values, write smaller row groups, split it into smaller "
        "files, or raise CLICKHOUSE_FILE_MEMORY_MB."
    )
