"""Bytes of the protocol, without an engine."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.warehouse.embedded import compression
from analytics.warehouse.embedded.byte_reader import Reader
from analytics.warehouse.embedded.protocol import string, varint
from analytics.warehouse.embedded.server_errors import ServerError
from analytics.warehouse.embedded.tokens import unquoted


def in_pieces(data, size):
    stream = io.BytesIO(data)
    return Reader(lambda: stream.read(size))


@given(st.lists(st.integers(0, 2**64 - 1)), st.integers(1, 9))
def test_varints(values, size):
    reader = in_pieces(b"".join(map(varint, values)), size)
    assert [reader.varint() for _ in values] == values


@given(st.lists(st.text(max_size=200)), st.binary(max_size=50), st.integers(1, 300))
def test_strings_are_skipped_and_copied_in_pieces_of_any_size(texts, rest, size):
    data = b"".join(map(string, texts))
    copied = []
    reader = in_pieces(data + rest, size)
    with reader.copying_to(copied.append):
        reader.skip_strings(len(texts))
    assert b"".join(copied) == data
    assert reader.read(len(rest)) == rest
    assert not reader.more()


def test_an_end_in_the_middle_of_a_value_is_an_error():
    for read in (lambda r: r.read(5), lambda r: r.skip(5), lambda r: r.skip_strings(1)):
        with pytest.raises(EOFError):
            read(in_pieces(b"\x09abc", 2))


@given(st.binary(max_size=3000), st.sampled_from([compression.LZ4, compression.ZSTD]))
def test_frames_round_trip(data, method):
    reader = Reader.of(compression.compress(data, method))
    assert b"".join(compression.read_frame(reader) for _ in range(bool(data))) == data


def test_big_data_become_several_frames():
    data = bytes(3 * 2**20)
    reader = Reader.of(compression.compress(data, compression.LZ4))
    assert sum(len(compression.read_frame(reader)) for _ in range(3)) == len(data)
    assert not reader.more()


def test_a_damaged_frame_is_refused():
    frame = bytearray(compression.compress(b"data" * 100, compression.LZ4))
    frame[-1] ^= 1
    with pytest.raises(ServerError) as caught:
        compression.read_frame(Reader.of(bytes(frame)))
    assert caught.value.code == 40


@pytest.mark.parametrize(
    ("dumped", "value"),
    [("'a'", "a"), (r"'it\'s'", "it's"), (r"'a\\tb\n'", "a\\tb\n"), ("5", "5"), ("''", "")],
)
def test_parameters_lose_one_layer_of_quotes(dumped, value):
    assert unquoted(dumped) == value
