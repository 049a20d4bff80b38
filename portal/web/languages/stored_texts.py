"""Finds the message that a stored text was made of, so that a page can translate it.

Results of the live checks are stored as English text, and the command line prints the same. Each message is
split at its values; a text fits when it has the parts in their order. That takes time proportional to the
text's length: nothing is tried twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

PLACEHOLDER = re.compile(r"%\((\w+)\)s")
_DEEPEST = 3
"""A value may be a text that was made of a message too."""
LONGEST = 2_000
"""Characters of a text that is translated."""


class StoredTexts:
    """The messages of stored texts, with their translations."""

    def __init__(self, translations: Mapping[str, str]) -> None:
        self._plain = {text: found for text, found in translations.items() if not PLACEHOLDER.search(text)}
        made = [
            (PLACEHOLDER.split(text), found)
            for text, found in translations.items()
            if text not in self._plain
        ]
        # The message with the most text of its own first: it says most about where the text is from.
        self._messages = sorted(made, key=lambda one: -sum(map(len, one[0][::2])))
        self._longest = [max(parts[::2], key=len) for parts, _ in self._messages]

    def translate(self, text: str) -> str:
        """Return the translation of a text, or the text when no message fits."""
        return self._translated(text, 0) if self._messages and len(text) <= LONGEST else text

    def _translated(self, text: str, depth: int) -> str:
        if text in self._plain:
            return self._plain[text]
        if depth == _DEEPEST or " " not in text:
            return text
        for part, (parts, found) in zip(self._longest, self._messages, strict=True):
            values = values_between(text, parts) if part in text else None
            if values is not None:
                return found % {name: self._translated(one, depth + 1) for name, one in values.items()}
        return text


def values_between(text: str, parts: Sequence[str]) -> dict[str, str] | None:
    """The values that stand between the parts of a message; None when the text does not fit.

    Of values without text between them, the first has all. Parameters: parts, text and names of values in
    turns.
    """
    if not text.startswith(parts[0]) or not text.endswith(parts[-1]):
        return None
    values = dict.fromkeys(parts[1::2], "")
    at, last, name = len(parts[0]), len(text) - len(parts[-1]), ""
    for one, after in zip(parts[1:-2:2], parts[2:-2:2], strict=True):
        name = name or one
        if after:
            end = text.find(after, at, last)
            if end < 0:
                return None
            values[name], at, name = text[at:end], end + len(after), ""
    if last < at:
        return None
    values[name or parts[-2]] = text[at:last]
    return values
