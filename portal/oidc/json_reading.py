"""Reads JSON written by strangers: bounded in depth, one meaning only."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

MAX_DEPTH = 32
MAX_PARTS = 2_000
"""Objects and lists of one document; each costs time to read, and a tenant chooses who writes."""

_SYMBOLS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


class JsonUnreadable(ValueError):
    """The text is not one unambiguous JSON object; the message says why and quotes nothing of it."""


class DuplicateMember(JsonUnreadable):
    """An object has two members of one name (RFC 8725 2.4, RFC 7519 4)."""


def read_object(data: bytes, *, repeatable: Collection[str] = ()) -> dict[str, object]:
    """Read one JSON object.

    Refused: anything but UTF-8, more than MAX_PARTS, nesting deeper than MAX_DEPTH, a member given twice,
    NaN and infinities, numbers of thousands of digits, unpaired surrogates.

    Parameters: repeatable, members that may be given again, with the same value.
    Raises: JsonUnreadable.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JsonUnreadable("not UTF-8 text") from error
    parts = text.count("[") + text.count("{")
    if parts > MAX_PARTS:
        raise JsonUnreadable(f"made of more than {MAX_PARTS} parts")
    if parts > MAX_DEPTH and _depth(text) > MAX_DEPTH:
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
        # The message of a JSONDecodeError would quote nothing, but that of others might.
        raise JsonUnreadable("not JSON") from error
    if not isinstance(value, dict):
        raise JsonUnreadable("not a JSON object")
    return value


def _depth(text: str) -> int:
    depth = deepest = 0
    for symbol in _SYMBOLS.findall(text):
        if symbol in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif symbol in "]}":
            depth -= 1
    return deepest


def _object(repeatable: Collection[str], pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    names = [name for name, _ in pairs]
    if any(names.count(name) > 1 and name not in repeatable for name in members):
        raise DuplicateMember("a member is given twice")
    if any(members[name] != value for name, value in pairs):
        raise DuplicateMember("a member is given twice, with two values")
    return members


def _refuse_constant(name: str) -> None:
    raise JsonUnreadable("NaN or an infinity is not JSON")
