"""The size of a column in a Native block, derived from its type.

Nothing is decoded: a layout only moves a reader past a column, so that its bytes can be copied.
Sizes follow ClickHouse's Native format.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from analytics.warehouse.embedded.byte_reader import Reader
from analytics.warehouse.embedded.server_errors import UNKNOWN_TYPE, ServerError


class Layout(Protocol):
    def skip_prefix(self, reader: Reader) -> None:
        """Skips the prefix of the column, which precedes all rows."""

    def skip_rows(self, reader: Reader, rows: int) -> None:
        """Skips the values of `rows` rows."""


@dataclass(frozen=True)
class Fixed:
    size: int

    def skip_prefix(self, reader: Reader) -> None:
        pass

    def skip_rows(self, reader: Reader, rows: int) -> None:
        reader.skip(rows * self.size)


@dataclass(frozen=True)
class Text:
    def skip_prefix(self, reader: Reader) -> None:
        pass

    def skip_rows(self, reader: Reader, rows: int) -> None:
        reader.skip_strings(rows)


@dataclass(frozen=True)
class Nullable:
    inner: Layout

    def skip_prefix(self, reader: Reader) -> None:
        self.inner.skip_prefix(reader)

    def skip_rows(self, reader: Reader, rows: int) -> None:
        reader.skip(rows)  # the null map
        self.inner.skip_rows(reader, rows)


@dataclass(frozen=True)
class Array:
    inner: Layout

    def skip_prefix(self, reader: Reader) -> None:
        self.inner.skip_prefix(reader)

    def skip_rows(self, reader: Reader, rows: int) -> None:
        if not rows:
            return
        reader.skip(8 * (rows - 1))
        self.inner.skip_rows(reader, reader.uint64())  # the last offset is the total


@dataclass(frozen=True)
class Group:
    """A tuple, or the pairs of a map: its columns one after the other."""

    members: tuple[Layout, ...]

    def skip_prefix(self, reader: Reader) -> None:
        for member in self.members:
            member.skip_prefix(reader)

    def skip_rows(self, reader: Reader, rows: int) -> None:
        for member in self.members:
            member.skip_rows(reader, rows)


@dataclass(frozen=True)
class Dictionary:
    """LowCardinality: the distinct values, then each row's index into them."""

    inner: Layout

    def skip_prefix(self, reader: Reader) -> None:
        reader.skip(8)  # version of the keys

    def skip_rows(self, reader: Reader, rows: int) -> None:
        if not rows:
            return
        index_size = 1 << (reader.uint64() & 0xF)
        self.inner.skip_rows(reader, reader.uint64())
        reader.skip(reader.uint64() * index_size)


_FIXED = {
    **{f"{sign}Int{bits}": bits // 8 for sign in ("", "U") for bits in (8, 16, 32, 64, 128, 256)},
    **{"Bool": 1, "Enum8": 1, "Enum16": 2, "Nothing": 1},
    **{"BFloat16": 2, "Float32": 4, "Float64": 8},
    **{"Date": 2, "Date32": 4, "DateTime": 4, "DateTime32": 4, "DateTime64": 8},
    **{"Time": 4, "Time64": 8, "UUID": 16, "IPv4": 4, "IPv6": 16},
}
_INTERVAL = re.compile(r"Interval[A-Z][a-z]+")
_GEO = {
    "Point": "Tuple(Float64, Float64)",
    "Ring": "Array(Point)",
    "LineString": "Array(Point)",
    "MultiLineString": "Array(LineString)",
    "Polygon": "Array(Ring)",
    "MultiPolygon": "Array(Polygon)",
}
_DECIMAL_SIZES = ((9, 4), (18, 8), (38, 16), (76, 32))
_PART = re.compile(r"'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.|``)*`|[(),]|[^(),'`]+", re.DOTALL)
_ELEMENT_NAME = re.compile(r"(?:`(?:[^`\\]|\\.|``)*`|[A-Za-z_][\w.]*)\s+(?=[A-Za-z])", re.DOTALL)


@lru_cache(maxsize=4096)
def layout(type_name: str) -> Layout:
    """The layout of a type. Raises ServerError for a type whose size cannot be determined."""
    name, arguments = split_type(type_name.strip())
    if name in _FIXED:
        return Fixed(_FIXED[name])
    if name in _GEO:
        return layout(_GEO[name])
    if name == "Decimal":
        return Fixed(_decimal_size(int(arguments[0])))
    if name == "FixedString":
        return Fixed(int(arguments[0]))
    if name == "String":
        return Text()
    if _INTERVAL.fullmatch(name):
        return Fixed(8)
    return _composite(name, arguments)


def split_type(type_name: str) -> tuple[str, list[str]]:
    """`Map(String, Array(UInt8))` to `Map` and its two arguments."""
    name, opening, rest = type_name.partition("(")
    if not opening:
        return name, []
    arguments, depth = [""], 0
    for part in _PART.findall(rest[:-1]):
        depth += {"(": 1, ")": -1}.get(part, 0)
        if part == "," and not depth:
            arguments.append("")
        else:
            arguments[-1] += part
    return name, [argument.strip() for argument in arguments if argument.strip()]


def _composite(name: str, arguments: list[str]) -> Layout:
    if name == "SimpleAggregateFunction":
        return layout(arguments[-1])
    if name == "Nullable":
        return Nullable(layout(arguments[0]))
    if name == "Array":
        return Array(layout(arguments[0]))
    if name == "LowCardinality":
        return Dictionary(_without_null(arguments[0]))
    if name == "Map":
        return Array(Group(tuple(layout(argument) for argument in arguments)))
    if name in ("Tuple", "Nested"):
        members = tuple(layout(_ELEMENT_NAME.sub("", a, count=1)) for a in arguments)
        group = Group(members) if members else Fixed(1)
        return Array(group) if name == "Nested" else group
    raise ServerError(
        UNKNOWN_TYPE, f"The embedded endpoint cannot take blocks of type {name} (UNKNOWN_TYPE)"
    )


def _without_null(type_name: str) -> Layout:
    # A dictionary has no null map: its first value stands for NULL.
    name, arguments = split_type(type_name)
    return layout(arguments[0] if name == "Nullable" else type_name)


def _decimal_size(precision: int) -> int:
    return next(size for most, size in _DECIMAL_SIZES if precision <= most)
