"""Values that strangers chose, as text for pages and messages (THREATS L8)."""

from __future__ import annotations

import json
import unicodedata

_JOINERS = "\u200c\u200d"
"""Invisible, but part of how Persian and the scripts of India are written."""


def display_text(value: object, limit: int = 200, *, line_breaks: bool = False) -> str:
    """Return a value as text that can be shown: what is not text already, as JSON.

    White space becomes single spaces. Other control characters, invisible formatting (which includes
    everything that turns the direction of writing), unpaired surrogates, and private and unassigned
    characters are left out.

    Parameters: limit, characters of the result; line_breaks, whether line breaks stay.
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    visible = "".join(
        character
        for character in text[: 4 * limit]
        if character.isspace() or character in _JOINERS or unicodedata.category(character)[0] != "C"
    )
    lines = visible.splitlines() if line_breaks else [visible]
    kept = "\n".join(" ".join(line.split()) for line in lines).strip()
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"
