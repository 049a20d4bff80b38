from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.oidc.jose.json_reading import MAX_DEPTH, MAX_PARTS, DuplicateMember, JsonUnreadable, read_object

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=5), st.booleans())
def test_every_json_object_is_read_as_it_was_written(value: dict[str, Any], ascii_only: bool) -> None:
    assert read_object(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


def test_one_byte_order_mark_is_ignored() -> None:
    assert read_object(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    mark = b"\xef\xbb\xbf"
    for data in (mark * 2 + b'{"a": 1}', b'{"a": 1}' + mark, '\ufeff{"a": 1}'.encode("utf-16-le")):
        with pytest.raises(JsonUnreadable):
            read_object(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_unreadable(data: bytes) -> None:
    with contextlib.suppress(JsonUnreadable):
        assert isinstance(read_object(data), dict)


@given(st.text(alphabet='[]{}"\\,:1a', max_size=300))
def test_any_arrangement_of_brackets_is_an_object_or_unreadable(text: str) -> None:
    with contextlib.suppress(JsonUnreadable):
        assert read_object(text.encode()) == json.loads(text)


def test_depth_is_counted_to_the_last_level() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' * depth + b"1" + b"}" * depth

    assert read_object(nested(MAX_DEPTH))
    with pytest.raises(JsonUnreadable, match="nested deeper"):
        read_object(nested(MAX_DEPTH + 1))
    others = b'{"b":[[]],"c":{},'
    assert read_object(others + nested(MAX_DEPTH)[1:])
    with pytest.raises(JsonUnreadable, match="nested deeper"):
        read_object(others + nested(MAX_DEPTH + 1)[1:])


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert read_object(json.dumps({"a": [[], {}] * 100}).encode())


def test_T7_parts_are_counted_to_the_last_one() -> None:
    def made_of(parts: int) -> bytes:
        return json.dumps({"a": [[], {}] * ((parts - 2) // 2) + [{}] * (parts % 2)}).encode()

    assert read_object(made_of(MAX_PARTS))
    with pytest.raises(JsonUnreadable, match=f"more than {MAX_PARTS} parts"):
        read_object(made_of(MAX_PARTS + 1))


@pytest.mark.parametrize("text", ['{"a":1,"a":1}', '{"b":{"a":1,"a":2}}', '{"a":1,"\\u0061":2}'])
def test_a_repeated_member_is_rejected(text: str) -> None:
    with pytest.raises(DuplicateMember):
        read_object(text.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"1",
        b"{} {}",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":"\n"}',
        b"\xff\xfe{}",
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\xc3"}',
        b'{"a":' + b"1" * 5000 + b"}",
        b'{"\\udfff":1}',
        b'{"a":"\\uD83D x"}',
    ],
)
def test_anything_but_one_plain_json_object_is_rejected(data: bytes) -> None:
    with pytest.raises(JsonUnreadable):
        read_object(data)


def test_paired_surrogates_and_a_byte_order_mark_are_read() -> None:
    assert read_object(b'\xef\xbb\xbf{"a":"\\ud83d\\ude42"}') == {"a": "🙂"}
