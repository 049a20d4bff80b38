"""Reads untrusted JSON: limited in size and depth, without ambiguity.

Rule for every parser of untrusted input: its time is linear in its input, and the size of the input is
limited so that it takes less than 10 ms. tests/security/test_growth.py measures both, and fails when a new
parser has no entry there.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

MAX_BYTES = 131_072
"""Bytes of one document. The slowest documents of this size take about 7 ms."""
MAX_DEPTH = 32
MAX_PARTS = 2_000
"""Objects and lists of one document; each costs time to parse."""

# Matches everything except brackets outside strings, as one piece.
_BETWEEN_BRACKETS = re.compile(
    r'[^\[\]{}"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?[^\[\]{}"]*+)*+',
    re.DOTALL,
)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


class JsonUnreadable(ValueError):
    """The text is not one unambiguous JSON object. The message says why, without quoting the text."""


class DuplicateMember(JsonUnreadable):
    """An object has two members with the same name (RFC 8725 2.4, RFC 7519 4)."""


def read_object(data: bytes, *, repeatable: Collection[str] = ()) -> dict[str, object]:
    """Read one JSON object.

    Rejected: more than MAX_BYTES, encodings other than UTF-8, more than MAX_PARTS, nesting deeper than
    MAX_DEPTH, repeated members, NaN and infinities, numbers with thousands of digits, unpaired surrogates.

    Parameters: repeatable, members that may be repeated with the same value.
    Raises: JsonUnreadable.
    """
    if len(data) > MAX_BYTES:
        raise JsonUnreadable(f"longer than {MAX_BYTES} bytes: {len(data)}")
    try:
        text = data.removeprefix(BOM_UTF8).decode()  # as the codec `utf-8-sig`, which is written in Python
    except UnicodeDecodeError as error:
        raise JsonUnreadable("not UTF-8 text") from error
    parts = text.count("[") + text.count("{")
    if parts > MAX_PARTS:
        raise JsonUnreadable(f"made of more than {MAX_PARTS} parts: {parts}")
    if parts > MAX_DEPTH and _is_too_deep(text):
        raise JsonUnreadable(f"nested deeper than {MAX_DEPTH}")
    try:
        value = json.loads(
            text, object_pairs_hook=partial(_object, repeatable), parse_constant=_refuse_constant
        )
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except JsonUnreadable:
        raise
    except ValueError as error:
        # The message of a JSONDecodeError quotes nothing, but those of other errors may.
        raise JsonUnreadable("not JSON") from error
    if not isinstance(value, dict):
        raise JsonUnreadable("not a JSON object")
    return value


def _is_too_deep(text: str) -> bool:
    depth = 0
    for bracket in _BETWEEN_BRACKETS.sub("", text):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _object(repeatable: Collection[str], pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    first: dict[str, Any] = {}
    for name, value in pairs:
        if name not in first:
            first[name] = value
        elif name not in repeatable:
            raise DuplicateMember("a member is given twice")
        elif first[name] != value:
            raise DuplicateMember("a member is given twice, with two values")
    return members


def _refuse_constant(name: str) -> None:
    raise JsonUnreadable("NaN or an infinity is not JSON")
