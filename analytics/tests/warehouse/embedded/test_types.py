"""Every type survives a round trip from a client's block."""

from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.tests.warehouse.embedded.wire import END_OF_DATA
from analytics.warehouse.embedded.byte_reader import Reader
from analytics.warehouse.embedded.column_types import layout, split_type
from analytics.warehouse.embedded.protocol import string, varint
from analytics.warehouse.embedded.server_errors import ServerError

LONG = "ü" * 5000
MOMENT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

CASES = [
    ("String", ["", "a", "x" * 127, "x" * 128, LONG]),
    ("FixedString(4)", ["abcd", "wxyz"]),
    ("Bool", [True, False]),
    ("Int8", [-128, 127]),
    ("Int16", [-(2**15), 2**15 - 1]),
    ("Int32", [-(2**31), 2**31 - 1]),
    ("Int64", [-(2**63), 2**63 - 1]),
    ("Int128", [-(2**127), 2**127 - 1]),
    ("Int256", [-(2**255), 2**255 - 1]),
    ("UInt8", [0, 255]),
    ("UInt16", [0, 2**16 - 1]),
    ("UInt32", [0, 2**32 - 1]),
    ("UInt64", [0, 2**64 - 1]),
    ("UInt128", [0, 2**128 - 1]),
    ("UInt256", [0, 2**256 - 1]),
    ("Float32", [0.5, -1.25]),
    ("Float64", [0.1, -1e300]),
    ("Decimal(9, 2)", [Decimal("1234567.89")]),
    ("Decimal(10, 2)", [Decimal("12345678.90")]),
    ("Decimal(18, 2)", [Decimal("-1234567890123456.78")]),
    ("Decimal(38, 10)", [Decimal("1234567890123456789012345678.0123456789")]),
    ("Decimal(76, 3)", [Decimal("9" * 70 + ".125")]),
    ("Date", [date(1970, 1, 1), date(2149, 6, 6)]),
    ("Date32", [date(1900, 1, 1), date(2299, 12, 31)]),
    ("DateTime('UTC')", [MOMENT]),
    ("DateTime('Asia/Tokyo')", [MOMENT]),
    ("DateTime64(3, 'UTC')", [MOMENT.replace(microsecond=123000)]),
    ("DateTime64(3, 'UTC')", [datetime(2999, 12, 31, 23, 59, 59, tzinfo=UTC)]),
    ("UUID", [UUID(int=1), UUID(int=2**128 - 1)]),
    ("Enum8('a' = 1, 'b, (c' = -2)", ["a", "b, (c"]),
    ("Enum16('a' = 1000, 'b' = -2000)", ["a", "b"]),
    ("IPv4", [IPv4Address("10.1.2.3")]),
    ("IPv6", [IPv6Address("2001:db8::1")]),
    ("LowCardinality(String)", ["a", "b", "a", ""]),
    ("LowCardinality(String)", [str(n % 300) for n in range(1000)]),
    ("LowCardinality(Nullable(String))", ["a", None, "", "a"]),
    ("LowCardinality(FixedString(2))", ["ab", "cd"]),
    ("Nullable(String)", ["a", None, ""]),
    ("Nullable(Decimal(18, 2))", [Decimal("1.50"), None]),
    ("Nullable(DateTime64(3, 'UTC'))", [MOMENT, None]),
    ("Array(Int32)", [[], [1, 2, 3]]),
    ("Array(Nullable(String))", [["a", None], []]),
    ("Array(Array(String))", [[], [[], ["a", "b"]], [["c"]]]),
    ("Array(LowCardinality(String))", [[], ["a", "b", "a"]]),
    ("Array(Tuple(String, Array(UInt8)))", [[("a", [1])], []]),
    ("Tuple(Int8, String)", [(1, "a"), (2, "b")]),
    ("Tuple(`a b` Int8, c Nullable(String))", [(1, None), (2, "b")]),
    ("Map(String, UInt64)", [{}, {"a": 1, "b": 2}]),
    ("Map(LowCardinality(String), Array(String))", [{"a": ["x"]}, {}]),
    (
        "JSON",
        [{}, {"a": 1}, {"a": "x", "b": {"c": [1, 2], "d": 1.5}}, {"e": [{"f": 1}, {"g": "y"}]}],
    ),
    ("JSON(max_dynamic_paths = 1)", [{"a": 1, "b": "x", "c": True}, {"d": [1, 2]}]),
    ("Array(JSON)", [[], [{"a": 1}, {}, {"b": ["x"]}]]),
    ("Map(String, JSON)", [{}, {"k": {"a": {"b": 1}}}]),
    ("Nullable(JSON)", [None, {"a": 1}]),
]


@pytest.mark.parametrize(("type_name", "values"), CASES)
def test_round_trip(client, type_name, values):
    client.execute(
        f"CREATE TABLE t (n UInt32, before String, v {type_name}, after String) "
        "ENGINE = MergeTree ORDER BY n"
    )
    rows = [(n, "<", value, ">") for n, value in enumerate(values)]
    client.execute("INSERT INTO t VALUES", rows)
    assert client.execute("SELECT * FROM t ORDER BY n") == rows


def test_many_default_values_are_not_sent_sparse(client):
    client.execute(
        "CREATE TABLE t (n UInt32, s String) ENGINE = MergeTree ORDER BY n "
        "SETTINGS ratio_of_defaults_for_sparse_serialization = 0.1"
    )
    client.execute("INSERT INTO t SELECT number, if(number = 7, 'x', '') FROM numbers(1000)")
    rows = client.execute("SELECT s FROM t ORDER BY n")
    assert [n for n, (s,) in enumerate(rows) if s] == [7]


def test_other_types_can_be_read(client):
    sql = "SELECT INTERVAL 3 DAY, NULL, (1.5, 2.5)::Point, [], toTypeName(now())"
    assert client.execute(sql) == [(3, None, (1.5, 2.5), [], "DateTime")]


COLUMNS = {
    "s": ("String", st.text(max_size=300)),
    "l": ("LowCardinality(Nullable(String))", st.none() | st.text(max_size=3)),
    "a": ("Array(Nullable(Int64))", st.lists(st.none() | st.integers(-(2**63), 2**63 - 1))),
    "m": (
        "Map(String, Decimal(18, 2))",
        st.dictionaries(st.text(max_size=5), st.decimals(-1000, 1000, places=2), max_size=3),
    ),
    "t": (
        "Array(Tuple(x String, y Array(UInt8)))",
        st.lists(st.tuples(st.text(max_size=3), st.lists(st.integers(0, 255))), max_size=3),
    ),
}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.tuples(*(strategy for _, strategy in COLUMNS.values())), min_size=1),
    block=st.integers(1, 20),
    compression=st.sampled_from([False, "lz4", "zstd"]),
)
def test_any_rows_round_trip(connect, rows, block, compression):
    client = connect(compression=compression)
    columns = ", ".join(f"{name} {type_name}" for name, (type_name, _) in COLUMNS.items())
    client.execute(f"CREATE OR REPLACE TABLE t (n UInt32, {columns}) ENGINE = Memory")
    numbered = [(n, *row) for n, row in enumerate(rows)]
    client.execute("INSERT INTO t VALUES", numbered, settings={"insert_block_size": block})
    assert client.execute("SELECT * FROM t ORDER BY n") == numbered
    client.disconnect()


def test_types_are_split_at_their_own_commas():
    assert split_type("Map(Enum8('a,(' = 1), Array(Tuple(a Int8, b Int8)))") == (
        "Map",
        ["Enum8('a,(' = 1)", "Array(Tuple(a Int8, b Int8))"],
    )
    assert split_type("UInt8") == ("UInt8", [])


# What other drivers send for Dynamic, Variant and JSON: the engine's own serializations.
SERIALIZED = [
    ("Dynamic", "if(number % 3 = 0, NULL, if(number % 3 = 1, number, toString(number)))::Dynamic"),
    ("Dynamic(max_types = 1)", "[toString(number)::Dynamic, number::Dynamic][number % 2 + 1]"),
    ("Variant(Array(String), UInt64)", "number::Variant(Array(String), UInt64)"),
    ("Variant(Array(String), UInt64)", "[toString(number)]::Variant(Array(String), UInt64)"),
    ("JSON", 'concat(\'{"a": \', toString(number), \', "b": [{"c": "x"}]}\')::JSON'),
    (
        "JSON(z.t LowCardinality(String), a UInt32, SKIP b, max_dynamic_types = 3)",
        'concat(\'{"z": {"t": "x"}, "a": 7, "n": \', toString(number), \'}\')'
        "::JSON(z.t LowCardinality(String), a UInt32, SKIP b, max_dynamic_types = 3)",
    ),
    ("Geometry", "(number, 1.5)::Point::Geometry"),
]


@pytest.mark.parametrize(
    "serialization",
    [
        "",
        "output_format_native_write_json_as_string",
        "output_format_native_use_flattened_dynamic_and_json_serialization",
    ],
)
@pytest.mark.parametrize(("type_name", "value"), SERIALIZED)
def test_blocks_of_types_that_describe_themselves(
    wire, client, database, tmp_path, type_name, value, serialization
):
    client.execute(f"CREATE TABLE t (n UInt64, v {type_name}, s String) ENGINE = Memory")
    path = tmp_path / "block.native"
    chosen = {serialization: 1} if serialization else {}
    client.execute(
        f"INSERT INTO FUNCTION file('{path}', 'Native') "
        f"SELECT number AS n, {value} AS v, '>' AS s FROM numbers(50)",
        settings={"max_threads": 1} | chosen,
    )
    sender = wire(database=database).logged_in().query("INSERT INTO t VALUES")
    assert sender.send(_packet(path.read_bytes())).send(END_OF_DATA).lives()
    expected = "SELECT count(), sum(n), any(s) FROM t WHERE toString(v) = toString({})"
    same = value.replace("number", "n")
    assert client.execute(expected.format(same)) == [(50, 1225, ">")]


def _packet(content):
    """The block of a Native file as a packet; a file has no byte for a column's serialization."""
    reader = Reader.of(content)
    count, rows = reader.varint(), reader.varint()
    packet = varint(2) + string("") + b"\0" + varint(count) + varint(rows)
    for _ in range(count):
        name, type_name, pieces = reader.text(), reader.text(), []
        with reader.copying_to(pieces.append):
            layout(type_name).read_prefix(reader).skip_rows(reader, rows)
        packet += string(name) + string(type_name) + b"\0" + b"".join(pieces)
    assert not reader.more()
    return packet


def test_a_type_of_unknown_length_is_refused():
    with pytest.raises(ServerError, match="AggregateFunction") as caught:
        layout("Array(AggregateFunction(sum, UInt64))")
    assert caught.value.code == 50


def test_a_table_with_such_a_type_refuses_blocks_before_they_are_sent(client):
    client.execute("CREATE TABLE t (v AggregateFunction(sum, UInt64)) ENGINE = Memory")
    with pytest.raises(Exception, match="AggregateFunction") as caught:
        client.execute("INSERT INTO t VALUES", [(1,)])
    assert caught.value.code == 50
