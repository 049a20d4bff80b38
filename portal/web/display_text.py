"""Untrusted values as bounded text for pages (THREATS L8)."""

from __future__ import annotations

import json
import unicodedata

_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def shown(value: object, *, limit: int = 200) -> str:
    """Return a value as text of at most `limit` characters, without control and direction characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = text[: limit * 4]
    text = "".join(
        char
        for char in text
        if char not in _BIDI and (char in "\n\t" or unicodedata.category(char) not in {"Cc", "Cs", "Cf"})
    ).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"
