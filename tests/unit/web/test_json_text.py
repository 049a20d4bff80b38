"""The layout of JSON on the page."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.web.json_text import indented

MANY = 1_000_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.sampled_from([None, 1, 7]), st.booleans())
def test_json_is_laid_out_as_the_json_module_does(
    value: object, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert indented(text, most=MANY) == json.dumps(value, indent=2, ensure_ascii=ascii_only)


def test_numbers_keep_every_digit_and_members_their_repetitions() -> None:
    text = '{"a":1.10,"a":12345678901234567890.5,"b":1E400}'
    laid_out = indented(text, most=MANY)
    assert re.sub(r"\s", "", laid_out) == text
    assert laid_out.splitlines()[1] == '  "a": 1.10,'


@pytest.mark.parametrize("text", ["", "<html>", '{"a":', "[" * 50_000, "[1] 2"])
def test_what_is_not_json_stays_as_it_is(text: str) -> None:
    assert indented(text, most=MANY) == text


def test_what_would_grow_too_large_stays_as_it_is() -> None:
    text = "[" * 300 + "0," * 2_000 + "0" + "]" * 300
    assert indented(text, most=100_000) == text
    assert len(indented(text, most=10_000_000)) > 1_000_000
