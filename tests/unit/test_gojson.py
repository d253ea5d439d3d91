# SPDX-License-Identifier: Apache-2.0
"""JSON by the rules of Go, where these differ from Python's.  Keys: test_backenddata.py."""

import pytest

from fwd.core import gojson


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r'"\ud83d\ude00"', "\N{GRINNING FACE}"),
        (r'"\ud800"', "\ufffd"),
        (r'"a\udfffb"', "a\ufffdb"),
        (r'"\ud800A"', "\ufffdA"),
        (r'"\ud800\u0041"', "\ufffdA"),
        (r'"\udc00\ud800"', "\ufffd\ufffd"),
        (r'"\ud800\ud800\udc00"', "\ufffd\N{LINEAR B SYLLABLE B008 A}"),
        (r'"\ufffd\uffff\u0000"', "\ufffd\uffff\0"),
        ('"\N{SNOWMAN}"', "\N{SNOWMAN}"),
        (b'"\xed\xa0\x80\xff"', "\ufffd" * 4),
    ],
)
def test_half_a_character_is_read_as_the_one_that_says_so(written: str | bytes, read: str) -> None:
    """U+FFFD, as in Go: what is left of a pair of UTF-16 could be written nowhere again."""
    assert gojson.string(gojson.parse(written)) == read
    assert read.encode()


@pytest.mark.parametrize("value", [7, 1.5, True, [], {}, '{"\\ud800":1}'])
def test_what_is_no_string_is_refused(value: object) -> None:
    text = value if isinstance(value, str) else str(value).lower()
    with pytest.raises(ValueError, match="must be a string, not"):
        gojson.string(gojson.parse(text))


def test_no_key_of_half_a_character_is_a_fields() -> None:
    table: dict[str, gojson.Decode] = {"a": gojson.string}
    assert gojson.fields(gojson.parse(r'{"\ud800":7,"a\udc00":7,"A":"b"}'), table) == {"a": "b"}
