"""Writes values as YAML: what a person would write, in a form that no value can break out of (THREATS A3)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_PLAIN = re.compile(r"[A-Za-z](?:[A-Za-z0-9_./@+~-]|:(?=[A-Za-z0-9/])| (?=[A-Za-z0-9]))*")
"""Text that every YAML parser reads as this text, alone and inside brackets."""
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Text that some YAML parsers read as another value."""
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_NOT_AS_IT_IS = re.compile(
    '[\\\\"\x00-\x1f\x7f-\xa0\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f'
    "\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""What quotes do not protect, and what nobody could see."""


def inline(value: object) -> str:
    """Return a value on one line.

    Parameters: value, text, a number, a truth value, or a list or mapping of values.
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{inline(key)}: {inline(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    return "null" if value is None else repr(value)


def entry(key: str, value: object, indent: str = "", line_break: str = "\n") -> str:
    """Return a key with its value as lines, the last without a line break.

    Mappings are written below their key, and so are lists of mappings; all else on the same line.
    """
    head = f"{indent}{inline(key)}:"
    if isinstance(value, Mapping) and value:
        lines = [entry(str(name), one, indent + "  ", line_break) for name, one in value.items()]
        return line_break.join([head, *lines])
    if _has_mapping(value):
        return line_break.join([head, *(f"{indent}  - {inline(one)}" for one in value)])  # type: ignore[attr-defined]
    return f"{head} {inline(value)}"


def _has_mapping(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and any(isinstance(one, Mapping) for one in value)
    )


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.casefold() not in _WORDS:
        return text
    return '"' + _NOT_AS_IT_IS.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    return _ESCAPES.get(char) or f"\\u{ord(char):04x}"
