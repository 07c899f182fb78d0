"""Packets of ClickHouse's native protocol at one revision.

54459 is the lowest revision with server-side {x:Type} parameters. It costs one zero byte per
column and one ProfileEvents packet per inserted block. 54460 adds the elapsed time to progress.
Later revisions cost more and add nothing that drivers use.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from analytics.warehouse.embedded.byte_reader import Reader
from analytics.warehouse.embedded.tokens import unquoted

REVISION = 54460
MIN_REVISION = 54459
TIMEZONE = "UTC"  # clickhouse-driver decodes three times slower when its own zone's name differs


class ClientPacket(IntEnum):
    HELLO = 0
    QUERY = 1
    DATA = 2
    CANCEL = 3
    PING = 4


class ServerPacket(IntEnum):
    HELLO = 0
    DATA = 1
    EXCEPTION = 2
    PROGRESS = 3
    PONG = 4
    END_OF_STREAM = 5
    PROFILE_INFO = 6
    TOTALS = 7
    LOG = 10
    PROFILE_EVENTS = 14


@dataclass(frozen=True)
class Hello:
    client: str
    revision: int
    database: str
    user: str
    password: str


@dataclass(frozen=True)
class Setting:
    name: str
    value: str
    important: bool


@dataclass(frozen=True)
class Query:
    query_id: str
    settings: tuple[Setting, ...]
    compression: bool
    sql: str
    parameters: dict[str, str]

    def setting(self, name: str) -> str | None:
        return next((s.value for s in self.settings if s.name == name), None)


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def string(value: str) -> bytes:
    encoded = value.encode("utf-8", "surrogateescape")
    return varint(len(encoded)) + encoded


def read_hello(reader: Reader) -> Hello:
    client = reader.text()
    reader.varint()  # version, major and minor
    reader.varint()
    return Hello(client, reader.varint(), reader.text(), reader.text(), reader.text())


def write_hello(version: tuple[int, int, int]) -> bytes:
    major, minor, patch = version
    return b"".join(
        [
            varint(ServerPacket.HELLO),
            string("ClickHouse"),
            varint(major),
            varint(minor),
            varint(REVISION),
            string(TIMEZONE),
            string("embedded"),
            varint(patch),
        ]
    )


def read_query(reader: Reader) -> Query:
    query_id = reader.text()
    _skip_client_info(reader)
    settings = _read_settings(reader)
    reader.text()  # the shared secret of a cluster
    reader.varint()  # stage: always the complete result
    compression = bool(reader.varint())
    sql = reader.text()
    parameters = {s.name: unquoted(s.value) for s in _read_settings(reader)}
    return Query(query_id, settings, compression, sql, parameters)


def write_exception(code: int, text: str) -> bytes:
    return b"".join(
        [
            varint(ServerPacket.EXCEPTION),
            code.to_bytes(4, "little", signed=True),
            string("DB::Exception"),
            string(text),
            string(""),  # stack trace
            b"\0",  # nothing nested
        ]
    )


def write_progress(increments: Iterable[int]) -> bytes:
    """Increments since the last packet, of the fields that the client's revision has."""
    return varint(ServerPacket.PROGRESS) + b"".join(map(varint, increments))


def write_profile_info(rows: int, blocks: int, size: int) -> bytes:
    limits = b"\0" + varint(0) + b"\0"  # rows before LIMIT: unknown here
    return b"".join([varint(ServerPacket.PROFILE_INFO), *map(varint, (rows, blocks, size)), limits])


def _skip_client_info(reader: Reader) -> None:
    if not reader.byte():  # kind of query: none
        return
    for _ in range(3):
        reader.text()  # initial user, query id, address
    reader.skip(8 + 1)  # start time, interface
    for _ in range(3):
        reader.text()  # user, host and client names
    for _ in range(3):
        reader.varint()  # client version and revision
    reader.text()  # quota key
    reader.varint()  # distributed depth
    reader.varint()  # client version's patch
    if reader.byte():  # a trace context follows
        reader.skip(16 + 8)
        reader.text()
        reader.skip(1)
    for _ in range(3):
        reader.varint()  # parallel replicas


def _read_settings(reader: Reader) -> tuple[Setting, ...]:
    settings = []
    while name := reader.text():
        important = bool(reader.varint() & 1)
        settings.append(Setting(name, reader.text(), important))
    return tuple(settings)
