"""Untrusted values are displayed as bounded plain text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.display_text import display_text

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("a\u202eb\u2066c\x00d\x1be", "abcde"),
        ("\ufeffname", "name"),
        (["a", 1], '["a", 1]'),
        (None, "null"),
        ("x" * 500, "x" * 199 + "…"),
        ("  around  ", "around"),
    ],
)
def test_L8_untrusted_values_become_bounded_plain_text(value: object, text: str) -> None:
    assert display_text(value) == text


def test_text_keeps_its_words_and_loses_control_characters() -> None:
    assert display_text(f"one\r\n\ttwo {BIDI}th\x00r\x1bee\u200b\ufeff") == "one two three"
    assert display_text("<script>alert(1)</script>") == "<script>alert(1)</script>"
    assert display_text("می\u200cخواهم") == "می\u200cخواهم"


def test_every_character_is_kept_or_removed_by_its_category() -> None:
    for number in range(0x20000):
        character = chr(number)
        kept = character in "\u200c\u200d" or unicodedata.category(character)[0] != "C"
        middle = " " if character.isspace() else character if kept else ""
        assert display_text(f"a{character}b") == f"a{middle}b", hex(number)


@given(st.text(st.sampled_from(" ab\u00a0\t\u200b\u200c\U0001f600"), max_size=12), st.integers(2, 12))
def test_white_space_is_single_and_inside_and_text_is_bounded(value: str, limit: int) -> None:
    text = display_text(value, limit)
    assert len(text) <= limit
    assert text == " ".join(text.split())
    assert display_text(text, limit) == text


def test_line_breaks_are_kept_on_request() -> None:
    address = " 1 Main  St \r\nTown\u2028\x00Land\n"
    assert display_text(address, line_breaks=True) == "1 Main St\nTown\nLand"
    assert display_text(address) == "1 Main St Town Land"


@given(st.text(max_size=2000), st.integers(1, 400), st.booleans())
def test_display_text_is_bounded_and_without_control_characters(
    text: str, limit: int, line_breaks: bool
) -> None:
    result = display_text(text, limit, line_breaks=line_breaks)
    assert len(result) <= limit
    assert not any(
        unicodedata.category(character) in {"Cc", "Cs", "Co", "Cn"} for character in result.replace("\n", "")
    )
    assert not set(result) & set(BIDI)
    assert display_text(result, limit, line_breaks=line_breaks) == result
    assert line_breaks or "\n" not in result
