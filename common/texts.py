"""Text from files, people and errors, made safe to store, to send and to render."""

import re
from typing import TypeVar

from common.logs import redact

T = TypeVar("T")

REPLACEMENT = "\ufffd"
# What XML, JSON columns, mail headers and native renderers cannot take: control characters except
# tab and line ends, halves of surrogate pairs, and two code points that are no characters.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """`text` with U+FFFD in place of each character that not every program can take.

    `loaders.staging.casting` does the same to text from files.
    """
    return _UNPRINTABLE.sub(REPLACEMENT, text)


def all_printable(value: T) -> T:
    """Plain data as JSON has them, with every text and every name in them printable."""
    made: object = value
    match value:
        case str():
            made = printable(value)
        case dict():
            made = {all_printable(name): all_printable(each) for name, each in value.items()}
        case list() | tuple():
            made = [all_printable(each) for each in value]
    return made  # type: ignore[return-value] # of the same type, but for tuples, as in JSON


def one_line(text: str) -> str:
    """Printable text for a mail header: without line ends, and one space between words."""
    return " ".join(printable(text).split())


def words(name: str) -> str:
    """A column's or table's name for people: time_entries as Time entries."""
    return name.replace("_", " ").capitalize()


def storable(text: object) -> str:
    """Printable text, with known secrets hidden, for the application database."""
    return printable(redact(str(text)))
