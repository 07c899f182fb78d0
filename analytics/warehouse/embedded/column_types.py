"""The size of a column in a Native block, derived from its type.

Nothing is decoded: a layout only moves a reader past a column, so that its bytes can be copied.
Sizes follow ClickHouse's Native format. A column of JSON or Dynamic describes itself: its prefix
names the paths and types of the rows, so reading a prefix gives the layout of the rows.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from analytics.warehouse.embedded.byte_reader import Reader
from analytics.warehouse.embedded.server_errors import INCORRECT_DATA, UNKNOWN_TYPE, ServerError
from analytics.warehouse.embedded.tokens import unquoted


class Layout(Protocol):
    def read_prefix(self, reader: Reader) -> "Layout":
        """Reads the prefix of the column, which precedes all rows; returns the rows' layout."""

    def skip_rows(self, reader: Reader, rows: int) -> None:
        """Skips the values of `rows` rows."""


@dataclass(frozen=True)
class Fixed:
    size: int

    def read_prefix(self, reader: Reader) -> Layout:
        return self

    def skip_rows(self, reader: Reader, rows: int) -> None:
        reader.skip(rows * self.size)


@dataclass(frozen=True)
class Text:
    def read_prefix(self, reader: Reader) -> Layout:
        return self

    def skip_rows(self, reader: Reader, rows: int) -> None:
        reader.skip_strings(rows)


@dataclass(frozen=True)
class Nullable:
    inner: Layout

    def read_prefix(self, reader: Reader) -> Layout:
        return Nullable(self.inner.read_prefix(reader))

    def skip_rows(self, reader: Reader, rows: int) -> None:
        reader.skip(rows)  # the null map
        self.inner.skip_rows(reader, rows)


@dataclass(frozen=True)
class Array:
    inner: Layout

    def read_prefix(self, reader: Reader) -> Layout:
        return Array(self.inner.read_prefix(reader))

    def skip_rows(self, reader: Reader, rows: int) -> None:
        if not rows:
            return
        reader.skip(8 * (rows - 1))
        self.inner.skip_rows(reader, reader.uint64())  # the last offset is the total


@dataclass(frozen=True)
class Group:
    """A tuple, the pairs of a map, or the paths of JSON: its columns one after the other."""

    members: tuple[Layout, ...]

    def read_prefix(self, reader: Reader) -> Layout:
        return Group(tuple(member.read_prefix(reader) for member in self.members))

    def skip_rows(self, reader: Reader, rows: int) -> None:
        for member in self.members:
            member.skip_rows(reader, rows)


@dataclass(frozen=True)
class Dictionary:
    """LowCardinality: the distinct values, then each row's index into them."""

    inner: Layout

    def read_prefix(self, reader: Reader) -> Layout:
        reader.skip(8)  # version of the keys
        return self

    def skip_rows(self, reader: Reader, rows: int) -> None:
        if not rows:
            return
        index_size = 1 << (reader.uint64() & 0xF)
        self.inner.skip_rows(reader, reader.uint64())
        reader.skip(reader.uint64() * index_size)


@dataclass(frozen=True)
class Choice:
    """Each row's number of a type, then the values of each type."""

    members: tuple[Layout, ...]  # in the order of their numbers

    def read_prefix(self, reader: Reader) -> Layout:
        return Choice(tuple(member.read_prefix(reader) for member in self.members))

    def skip_rows(self, reader: Reader, rows: int) -> None:
        numbers = reader.read(rows)
        for number, member in enumerate(self.members):
            member.skip_rows(reader, numbers.count(number))


@dataclass(frozen=True)
class Variant:
    choice: Choice

    def read_prefix(self, reader: Reader) -> Layout:
        _expect_version(reader, "Variant", _ROW_BY_ROW)
        return self.choice.read_prefix(reader)

    def skip_rows(self, reader: Reader, rows: int) -> None:
        self.choice.skip_rows(reader, rows)


@dataclass(frozen=True)
class Dynamic:
    """Its prefix names the types that occur in the rows."""

    def read_prefix(self, reader: Reader) -> Layout:
        version = _expect_version(reader, "Dynamic", _V1, _V2, _FLATTENED)
        if version == _V1:
            reader.varint()  # most types
        names = [reader.text() for _ in range(reader.varint())]
        if version == _FLATTENED:
            if len(names) > _MAX_FLATTENED:
                raise ServerError(INCORRECT_DATA, "Too many types in Dynamic (INCORRECT_DATA)")
            return Choice(tuple(map(layout, names))).read_prefix(reader)
        # The values of all further types are texts. The types are numbered in the order of names.
        names = sorted([*names, _SHARED_TYPE])
        members = (Text() if name == _SHARED_TYPE else layout(name) for name in names)
        return Variant(Choice(tuple(members))).read_prefix(reader)

    def skip_rows(self, reader: Reader, rows: int) -> None:
        raise NotImplementedError("the prefix gives the layout of the rows")


@dataclass(frozen=True)
class Json:
    """Its prefix names the paths that have a column; all further paths share one."""

    typed: Group  # the paths that the type declares, in the order of their names

    def read_prefix(self, reader: Reader) -> Layout:
        version = _expect_version(reader, "JSON", _JSON_V1, _JSON_TEXT, _JSON_V2, _JSON_FLATTENED)
        if version == _JSON_TEXT:
            return Text()
        if version == _JSON_V1:
            reader.varint()  # most paths
        paths = reader.varint()
        reader.skip_strings(paths)
        typed = self.typed.read_prefix(reader)
        dynamic = [Dynamic().read_prefix(reader) for _ in range(paths)]
        shared = () if version == _JSON_FLATTENED else (_SHARED_PATHS,)
        return Group((typed, *dynamic, *shared))

    def skip_rows(self, reader: Reader, rows: int) -> None:
        raise NotImplementedError("the prefix gives the layout of the rows")


# Versions of the prefixes that clients send. Others occur only in the engine's own files.
_ROW_BY_ROW = 0
_V1, _V2, _FLATTENED = 1, 2, 3
_JSON_V1, _JSON_TEXT, _JSON_V2, _JSON_FLATTENED = 0, 1, 2, 3
_MAX_FLATTENED = 254  # more types would be numbered with two bytes
_SHARED_TYPE = "SharedVariant"
_SHARED_PATHS = Array(Group((Text(), Text())))


def _expect_version(reader: Reader, name: str, *known: int) -> int:
    version = reader.uint64()
    if version not in known:
        raise ServerError(
            INCORRECT_DATA, f"Unknown serialization of {name}: {version} (INCORRECT_DATA)"
        )
    return version


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
    "Geometry": "Variant(LineString, MultiLineString, MultiPolygon, Point, Polygon, Ring)",
}
_DECIMAL_SIZES = ((9, 4), (18, 8), (38, 16), (76, 32))
_QUOTED = r"`[^`\\]*+(?:(?:\\.|``)[^`\\]*+)*+`"
_PART = re.compile(rf"'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+'|{_QUOTED}|[(),]|[^(),'`]++|.", re.DOTALL)
_ELEMENT_NAME = re.compile(rf"(?P<name>{_QUOTED}|[A-Za-z_][\w.]*+)\s+(?=[A-Za-z])", re.DOTALL)
_JSON_OPTION = re.compile(r"SKIP\s|max_dynamic_(?:types|paths)\s*=")
_MAX_FIXED_STRING = 0xFFFFFF
_MAX_TYPE = 1 << 18  # characters; the name of every column of a block is one
_MAX_BRACKETS = 1000


@lru_cache(maxsize=4096)
def layout(type_name: str) -> Layout:
    """The layout of a type. Raises ServerError for a type whose size cannot be determined."""
    if len(type_name) > _MAX_TYPE or type_name.count("(") > _MAX_BRACKETS:
        raise _unknown(f"{type_name[:100]}…")
    try:
        return _layout(*split_type(type_name.strip()))
    except (ValueError, IndexError, RecursionError):
        raise _unknown(type_name) from None


def _layout(name: str, arguments: list[str]) -> Layout:
    if name in _FIXED:
        return Fixed(_FIXED[name])
    if name in _GEO:
        return layout(_GEO[name])
    if name == "Decimal":
        return Fixed(_decimal_size(int(arguments[0])))
    if name == "FixedString":
        return Fixed(_in_range(int(arguments[0]), _MAX_FIXED_STRING))
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
        key, value = arguments
        return Array(Group((layout(key), layout(value))))
    if name in ("Tuple", "Nested"):
        members = tuple(layout(_named_type(argument)[1]) for argument in arguments)
        group = Group(members) if members else Fixed(1)
        return Array(group) if name == "Nested" else group
    if name == "Variant":
        return Variant(Choice(tuple(map(layout, arguments))))
    if name == "Dynamic":
        return Dynamic()
    if name == "JSON":
        return Json(_typed_paths(arguments))
    raise _unknown(name)


def _named_type(element: str) -> tuple[str, str]:
    """Name, if any, and type of a part of a tuple."""
    found = _ELEMENT_NAME.match(element)
    return (found["name"], element[found.end() :]) if found else ("", element)


def _typed_paths(arguments: list[str]) -> Group:
    declared = (_named_type(a) for a in arguments if not _JSON_OPTION.match(a))
    typed = sorted((unquoted(name), type_name) for name, type_name in declared)
    return Group(tuple(layout(type_name) for _, type_name in typed))


def _without_null(type_name: str) -> Layout:
    # A dictionary has no null map: its first value stands for NULL.
    name, arguments = split_type(type_name)
    return layout(arguments[0] if name == "Nullable" else type_name)


def _decimal_size(precision: int) -> int:
    _in_range(precision, _DECIMAL_SIZES[-1][0])
    return next(size for most, size in _DECIMAL_SIZES if precision <= most)


def _in_range(value: int, most: int) -> int:
    if not 0 < value <= most:
        raise ValueError
    return value


def _unknown(type_name: str) -> ServerError:
    return ServerError(
        UNKNOWN_TYPE,
        f"The embedded endpoint cannot take blocks of type {type_name} (UNKNOWN_TYPE)",
    )
