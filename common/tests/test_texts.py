"""Text that every program takes."""

import json
from xml.etree import ElementTree

import pytest

from common.texts import all_printable, one_line, printable, storable


@pytest.mark.parametrize("code", [*range(0x9), 0xB, 0xC, *range(0xE, 0x20), 0xFFFE, 0xFFFF, 0xD800])
def test_what_xml_cannot_hold_is_replaced(code):
    assert printable(f"a{chr(code)}b") == "a\ufffdb"


def test_everything_else_stays():
    text = "".join(
        map(chr, [0x9, 0xA, 0xD, *range(0x20, 0xD800), *range(0xE000, 0xFFFE), 0x10FFFF])
    )
    assert printable(text) == text


@pytest.mark.parametrize("code", range(0x20))
def test_xml_and_json_columns_take_printable_text(code):
    text = printable(chr(code))
    ElementTree.fromstring(f"<a>{text}</a>")  # noqa: S314 (our own text)
    assert "\\u0000" not in json.dumps(text)


def test_plain_data_are_printable_in_every_depth():
    data = {"a\0": ["x\1", ("y\2", None)], "b": {"c": 1.5, "d": True}}
    assert all_printable(data) == {
        "a\ufffd": ["x\ufffd", ["y\ufffd", None]],
        "b": {"c": 1.5, "d": True},
    }


def test_a_header_is_one_line():
    assert one_line(" Acme\r\nBcc: x\0 \t y ") == "Acme Bcc: x\ufffd y"


def test_stored_text_has_no_secret_and_no_nul(settings):
    assert storable(f"a\0{settings.SECRET_KEY}") == "a\ufffd[HIDDEN]"
