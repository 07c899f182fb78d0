"""Where the records of a CSV file end, and which of them are broken.

The rule (RFC 4180): a quotation mark opens a value only at its beginning, is doubled inside, and
nothing but a comma or a line end follows the one that closes. Blank lines are no records. A record
is broken if it

- has text after a closing quotation mark,
- has not as many fields as the header, or
- holds a quoted value over several lines of which the first would have enough fields by itself, and
  a later one exactly as many as a record: a stray quotation mark has probably swallowed it.

Each line of a broken record is a reject. A quotation mark that nothing closes makes the file
unusable, since all that follows would be one value.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from operator import methodcaller

from loaders.staging import limits
from loaders.staging.limits import Readable

_BLOCK = 4 << 20
_CUT = 256 << 10
_RECORDS = 20_000
_BOM = b"\xef\xbb\xbf"
_NULLS = (b"", b"\\N")

UNQUOTED_END = "text follows a closing quotation mark"
SWALLOWED = "a quotation mark is not closed on its line"
WRONG_WIDTH = "not the number of fields that the header names"

# The rest of a quoted value up to the mark that closes it.
_CLOSING = re.compile(rb'(?:[^"]|"")*+"(?!")')

_COMMAS = methodcaller("count", b",")


class MalformedCsv(ValueError):
    """The file cannot be split into records. Its text explains where and why."""


@dataclass(frozen=True)
class CsvScan:
    """`header`: the names of the columns. `rows`: how many records follow it.

    Both readers, the engine's and pyarrow's, cut a plain file into the same records, none of which
    is broken. If it is not plain, `rows` is None: only `records` can cut it.
    """

    header: list[str]
    rows: int | None

    @property
    def is_plain(self) -> bool:
        return self.rows is not None


@dataclass(frozen=True)
class Record:
    """A record's fields (None for NULL), or why it is broken and the text of its line."""

    fields: list[bytes | None]
    reason: str = ""
    text: bytes = b""


def scan(stream: Readable) -> CsvScan:
    """Read a CSV file to its end, in bounded memory.

    MalformedCsv, LimitExceeded, or what `stream` raises.
    """
    pieces = _whole_records(stream)
    first = next(pieces, b"")
    header = _header(first)
    rows = _plain_rows(first, len(header))
    for piece in pieces:
        more = _plain_rows(piece, len(header))
        rows = None if rows is None or more is None else rows + more
    return CsvScan(header, None if rows is None else max(0, rows - 1))


def _whole_records(stream: Readable) -> Iterator[bytes]:
    """The file in pieces that end with a record, as long as its quotation marks come in pairs.

    Where they do not, a piece ends with some line.
    """
    rest = _without_bom(stream)
    while block := stream.read(_BLOCK):
        end = _last_end(rest)
        if not end and len(rest) > limits.record_bytes():
            end = max(rest.rfind(b"\n"), rest.rfind(b"\r")) + 1
            if not end:
                limits.check_line(len(rest))
        if end:
            yield _with_short_records(rest[:end])
            rest = rest[end:]
        rest += block
    if rest:
        yield _with_short_records(rest)


def _with_short_records(piece: bytes) -> bytes:
    """The piece, if no record in it is too long: LimitExceeded. Only its first one can be."""
    if len(piece) > limits.record_bytes():
        end = piece.find(b"\n")
        limits.check_line(end if end >= 0 else max(piece.rfind(b"\r"), 0) or len(piece))
    return piece


def _without_bom(stream: Readable) -> bytes:
    return stream.read(_BLOCK).removeprefix(_BOM)


def _last_end(data: bytes) -> int:
    """Where the last record in `data` ends; 0 if none does."""
    end = data.rfind(b"\n")
    quotes = data.count(b'"', 0, max(end, 0))
    while end >= 0 and quotes % 2:
        previous = data.rfind(b"\n", 0, end)
        quotes -= data.count(b'"', previous + 1, end)
        end = previous
    return end + 1


def _header(piece: bytes) -> list[str]:
    beginning = piece[: limits.header_bytes() + 1]
    is_cut = len(beginning) > limits.header_bytes()
    lines = _Lines(iter([beginning]))
    try:
        record = next(_records(lines, None), Record([]))
    except MalformedCsv:
        if is_cut:
            raise limits.too_long_header() from None
        raise
    if is_cut and not lines.rest_of_piece():
        raise limits.too_long_header()
    if record.reason:
        raise MalformedCsv(f"Its header is broken: {record.reason}.")
    try:
        names = [(name or b"").decode() for name in record.fields]
    except UnicodeDecodeError as error:
        raise MalformedCsv("Its header is not UTF-8 text.") from error
    limits.check_columns(names)
    return names


def _plain_rows(piece: bytes, width: int) -> int | None:
    """How many records `piece` holds; None unless every reader finds the same."""
    if piece.count(b"\r") != piece.count(b"\r\n"):
        return None
    between = piece.split(b'"')
    if len(between) % 2 == 0 or _is_swallowing(piece, between, width):
        return None
    # What is outside of quotation marks, with one mark for each value that was inside.
    outside = between[0]
    if len(between) > 1:
        outside = b'"'.join([outside, *filter(None, between[2:-1:2]), between[-1]])
    if not _is_regular(outside):
        return None
    lines = outside.removesuffix(b"\n").split(b"\n")
    return len(lines) if set(map(_COMMAS, lines)) == {width - 1} else None


def _is_regular(outside: bytes) -> bool:
    """Whether no line is blank, and each mark stands for a whole value."""
    if outside.startswith((b"\n", b"\r")) or b"\n\n" in outside or b"\n\r" in outside:
        return False
    count = outside.count
    if not (marks := count(b'"')):
        return True
    before = count(b',"') + count(b'\n"') + outside.startswith(b'"')
    after = count(b'",') + count(b'"\n') + count(b'"\r') + outside.endswith(b'"')
    return marks == before == after


def _is_swallowing(piece: bytes, between: list[bytes], width: int) -> bool:
    """Whether any quoted value of several lines has probably swallowed whole records."""
    if not any(b"\n" in each for each in between[1::2]):
        return False
    return any(
        piece.find(b"\n", begin, end) >= 0
        and _has_swallowed(_lines_around(piece, begin, end), width)
        for begin, end in _quoted_spans(between)
    )


def _quoted_spans(between: list[bytes]) -> Iterator[tuple[int, int]]:
    """Where the quoted values of a text begin and end that was split at its quotation marks."""
    begin, position = -1, 0
    for index, part in enumerate(between):
        if index % 2:
            begin = position if begin < 0 else begin
        elif begin >= 0 and (part or index == len(between) - 1):  # no doubled mark
            yield begin, position - 1
            begin = -1
        position += len(part) + 1


def _lines_around(piece: bytes, begin: int, end: int) -> list[bytes]:
    """The lines on which the value between these places stands."""
    last = piece.find(b"\n", end)
    return piece[piece.rfind(b"\n", 0, begin) + 1 : last if last >= 0 else None].split(b"\n")


def _has_swallowed(lines: list[bytes], width: int) -> bool:
    """Whether a quoted value on these lines has probably swallowed whole records."""
    first, *later = map(_COMMAS, lines)
    return bool(first >= width - 1 and width - 1 in later)


def records(stream: Readable) -> Iterator[Record]:
    """The records after the header, of any file. MalformedCsv, or what `stream` raises."""
    for segment in segments(stream, only_plain=False):
        if isinstance(segment, list):
            yield from segment


def segments(stream: Readable, *, only_plain: bool = True) -> Iterator[bytes | list[Record]]:
    """A file of any kind in pieces: bytes of whole plain records, which any reader can cut, or
    records, some of which may be broken. The header is left out.

    Without `only_plain` plain records are cut as well, which is slow. MalformedCsv, or what
    `stream` raises.
    """
    lines = _Lines(_whole_records(stream))
    header = next(_records(lines, None), Record([]))
    width = len(header.fields)
    while piece := lines.rest_of_piece():
        if only_plain and _plain_rows(piece, width) is not None:
            lines.skip_piece()
            yield piece
        else:
            found = _records(lines, width)
            while some := list(islice(found, _RECORDS)):
                yield some


class _Lines:
    """The lines of pieces with their ends (LF, CR LF or CR). Iterating stops after each piece, but
    a value that runs over its end may take more.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""  # not yet cut into lines
        self._lines: list[bytes] = []  # the next one last

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._lines:
            self._cut_some_lines()
        if not self._lines:
            raise StopIteration
        return self._lines.pop()

    def _cut_some_lines(self) -> None:
        """Not all at once: as objects, short lines take twenty times as much memory."""
        end = self._piece.find(b"\n", _CUT) + 1 or self._piece.find(b"\r", _CUT) + 1
        end = end or len(self._piece)
        self._lines = self._piece[:end].splitlines(keepends=True)[::-1]
        self._piece = self._piece[end:]

    def more(self) -> bytes | None:
        """The next line, of the next piece if need be; None at the end of the file."""
        self.begin_piece()
        return next(self, None)

    def rest_of_piece(self) -> bytes:
        """What has not been read of the piece, or else the next piece; empty at the end."""
        self.begin_piece()
        return b"".join(reversed(self._lines)) + self._piece

    def skip_piece(self) -> None:
        self._piece, self._lines = b"", []

    def begin_piece(self) -> None:
        """Go on to the next piece if one has been read to its end."""
        if not self._piece and not self._lines:
            self._piece = next(self._pieces, b"")


def _records(lines: _Lines, width: int | None) -> Iterator[Record]:
    """The records of the piece that `lines` is at; of any width if there is none yet."""
    lines.begin_piece()
    for line in lines:
        if not line.strip(b"\r\n"):
            continue
        used = [line]
        fields, reason = _fields(used, lines, width)
        if not reason and width is not None and len(fields) != width:
            reason = WRONG_WIDTH
        if reason:
            yield from (Record([], reason, each.rstrip(b"\r\n")) for each in used)
        else:
            yield Record(fields)


def _fields(used: list[bytes], lines: _Lines, width: int | None) -> tuple[list[bytes | None], str]:
    """The fields of the record that begins with the line in `used`, and what is wrong with it.

    Lines that a quoted value runs over are taken from `lines` and added to `used`.
    """
    fields: list[bytes | None] = []
    position, swallowed = 0, False
    while True:
        if used[-1].startswith(b'"', position):
            opening = len(used)
            value, position = _quoted(used, lines, position + 1)
            fields.append(value)
            if len(used) > opening and width is not None:
                swallowed |= _has_swallowed(used[opening - 1 :], width)
        else:
            end = used[-1].find(b",", position)
            end = end if end >= 0 else len(used[-1].rstrip(b"\r\n"))
            value = used[-1][position:end]
            fields.append(None if value in _NULLS else value)
            position = end
        if not used[-1].startswith(b",", position):
            break
        position += 1
    if used[-1][position:].strip(b"\r\n"):
        return fields, UNQUOTED_END
    return fields, SWALLOWED if swallowed else ""


def _quoted(used: list[bytes], lines: _Lines, position: int) -> tuple[bytes, int]:
    """The value whose opening mark stands before `position`, and where it ends in its last line."""
    parts, size = [], 0
    while not (closing := _CLOSING.match(used[-1], position)):
        parts.append(used[-1][position:])
        size += len(parts[-1])
        line = lines.more()
        if line is None or size > limits.record_bytes():
            raise MalformedCsv(
                "A quotation mark is not closed, so all that follows would be one value. It stands "
                f"in this line: {used[-len(parts)][:200].decode(errors='replace').strip()}"
            )
        used.append(line)
        position = 0
    parts.append(used[-1][position : closing.end() - 1])
    return b"".join(parts).replace(b'""', b'"'), closing.end()
