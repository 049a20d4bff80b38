"""Untrusted values as text for pages and messages (THREATS L8)."""

from __future__ import annotations

import json
import unicodedata

_JOINERS = "\u200c\u200d"
"""Zero-width characters that Persian and Indic scripts need."""


def display_text(value: object, limit: int = 200, *, line_breaks: bool = False) -> str:
    """Return a value as text that is safe to display; a value that is not a string is shown as JSON.

    Runs of white space become one space. Other control characters, invisible formatting characters
    (including those that change the text direction), unpaired surrogates, and private-use and unassigned
    characters are removed.

    Parameters: limit, maximum length of the result in characters; line_breaks, whether to keep line breaks.
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if len(text) <= limit and text.isprintable() and "  " not in text and text == text.strip(" "):
        return text  # most values: nothing to remove
    visible = "".join(
        character
        for character in text[: 4 * limit]
        if character.isspace() or character in _JOINERS or unicodedata.category(character)[0] != "C"
    )
    lines = visible.splitlines() if line_breaks else [visible]
    kept = "\n".join(" ".join(line.split()) for line in lines).strip()
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"
