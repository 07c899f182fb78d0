"""How CSV files are split into records, and which records are malformed."""

import io
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loaders.staging import csv_records, limits
from loaders.staging.csv_records import (
    SWALLOWED,
    UNQUOTED_END,
    WRONG_WIDTH,
    MalformedCsv,
    records,
    scan,
)
from loaders.staging.limits import LimitExceeded


def split(text):
    """[fields, or (reason, line)] of a file."""
    return [
        (record.reason, record.text) if record.reason else record.fields
        for record in records(io.BytesIO(text))
    ]


def rows(text):
    return scan(io.BytesIO(text)).rows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a,b\n1,2\n3,4", [[b"1", b"2"], [b"3", b"4"]]),
        (b'a,b\n"1,2",""\n', [[b"1,2", b""]]),
        (b'a,b\n,\\N\n"\\N","x""y"\n', [[None, None], [b"\\N", b'x"y']]),
        (b'a,b\r\n1,"x\r\ny"\r\n', [[b"1", b"x\r\ny"]]),
        (b'\xef\xbb\xbfa,b\n1,"line\nline, too",\n', None),
        (b'a,b,c\n1,"line\nline, too",x\n', [[b"1", b"line\nline, too", b"x"]]),
        (b"a,b", []),
    ],
)
def test_well_formed_records(text, expected):
    if expected is not None:
        assert split(text) == expected
        assert rows(text) == len(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'a,b\n1,"x" y\n2,z\n', [(UNQUOTED_END, b'1,"x" y'), [b"2", b"z"]]),
        (b"a,b\n1\n2,z\n3,4,\n", [(WRONG_WIDTH, b"1"), [b"2", b"z"], (WRONG_WIDTH, b"3,4,")]),
        # A stray quote in one line, another in a later one: which lines are rows cannot be known.
        (
            b'a,b\n1,"x\n2,y\n3,z"\n4,w\n',
            [(SWALLOWED, b'1,"x'), (SWALLOWED, b"2,y"), (SWALLOWED, b'3,z"'), [b"4", b"w"]],
        ),
        (
            b'a,b\n1,"x\n2,y\n3,"z"\n4,w\n',
            [*((UNQUOTED_END, line) for line in (b'1,"x', b"2,y", b'3,"z"')), [b"4", b"w"]],
        ),
        # A comma in the text that the stray quote opens does not hide it.
        (
            b'a,b\n2,"Smith, John\n3,c\n4,d"\n5,e\n',
            [*((SWALLOWED, line) for line in (b'2,"Smith, John', b"3,c", b'4,d"')), [b"5", b"e"]],
        ),
        (b'a,b\n1,5" tape\n\n2,\rx,y\n', [[b"1", b'5" tape'], [b"2", None], [b"x", b"y"]]),
    ],
)
def test_malformed_records_are_reported_line_by_line(text, expected):
    assert split(text) == expected
    assert not scan(io.BytesIO(text)).is_plain


def test_an_unclosed_quote_makes_the_file_unusable():
    text = b'a,b\n1,x\n2,"y\n3,z\n'
    assert not scan(io.BytesIO(text)).is_plain
    with pytest.raises(MalformedCsv, match=r'not closed.* in this line: 2,"y'):
        split(text)


def test_a_malformed_header_makes_the_file_unusable():
    for text in (b"a,\xff\n1,2\n", b'a,"b"c\n1,2\n'):
        with pytest.raises(MalformedCsv, match="header"):
            scan(io.BytesIO(text))


def test_a_record_that_is_too_long_makes_the_file_unusable(monkeypatch):
    monkeypatch.setattr(limits, "record_bytes", lambda: 1000)
    monkeypatch.setattr(csv_records, "_BLOCK", 100)
    text = b"a,b\n1," + b"x" * 2000
    for read in (scan, lambda stream: list(records(stream))):
        with pytest.raises(LimitExceeded, match="longer than"):
            read(io.BytesIO(text))
    with pytest.raises(MalformedCsv, match="not closed"):
        split(b'a,b\n1,"' + b"x\n" * 2000)


def test_one_malformed_record_leaves_the_segments_around_it_plain(monkeypatch):
    monkeypatch.setattr(csv_records, "_BLOCK", 100)
    lines = [b'%d,"x, y"\n' % number for number in range(200)]
    lines[100] = b'100,"x" y\n'
    found = list(csv_records.segments(io.BytesIO(b"a,b\n" + b"".join(lines))))
    [broken] = [each for each in found if isinstance(each, list)]
    assert len(broken) < 20
    assert [record.text for record in broken if record.reason] == [lines[100].strip()]
    plain = b"".join(each for each in found if isinstance(each, bytes))
    assert plain.count(b"\n") + len(broken) == 200


texts = st.lists(st.sampled_from([b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"1", b" ", b"x"]))


def split_in_segments(text):
    """As the worker does, which reads plain segments with another reader."""
    found = []
    for segment in csv_records.segments(io.BytesIO(text)):
        if isinstance(segment, bytes):
            segment = csv_records.records(io.BytesIO(text[: text.find(b"\n") + 1] + segment))
        found += [(each.reason, each.text) if each.reason else each.fields for each in segment]
    return found


@example(b'a\n"\n x""1,\r"\n', 3)
@given(
    st.tuples(st.sampled_from([b"a\n", b"a,b\n", b"a,b,c\r\n"]), texts.map(b"".join)).map(b"".join),
    st.integers(2, 9),
)
def test_a_file_is_split_alike_whatever_the_segments(text, size):
    try:
        split(text)
    except MalformedCsv:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_records, "_BLOCK", 1 << 20)
        whole = scan(io.BytesIO(text))
        if whole.is_plain:
            assert whole.rows == len(split(text))
            assert not any(record.reason for record in records(io.BytesIO(text)))
        patch.setattr(csv_records, "_BLOCK", max(size, text.find(b"\n") + 1))
        assert scan(io.BytesIO(text)) == whole
        assert split_in_segments(text) == split(text)


def test_short_lines_take_little_memory():
    """As objects, they would take 30 MB."""
    for end in (b"\n", b"\r"):
        text = b"a,b" + end + (b"x" + end) * 100_000
        tracemalloc.start()
        rows = sum(len(each) for each in csv_records.segments(io.BytesIO(text)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert rows == 100_000
        assert peak < 15 << 20
