"""Finds the messages that a problem of a tenant file, a warning or a notice was put together of.

Such a text is `<key> <predicate>`, or a sentence; forms have the label of a field in place of the key. Values
may be messages too. The time is proportional to the text's length and the number of messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from portal.web.languages.stored_texts import LONGEST, PLACEHOLDER, values_between

_DEEPEST = 4
_MOST_WORDS = 8
"""Of a label."""
_DISTINCT = 8
"""Characters of its own that a message which begins with a value must have to be tried first."""
_PLACE = re.compile(r"(?P<place>(?:[\w./-]{1,200}:[0-9]+:[0-9]+|[\w./-]{1,200}): )(?P<text>.+)", re.DOTALL)
_KEY = re.compile(r"[A-Za-z_][\w.<>\[\]-]*")
_JOINED = re.compile(r"(?P<head>[^;:,]*)(?P<tail>(?P<mark>[;:,] )(?P<text>.+))", re.DOTALL)


class _Pattern(NamedTuple):
    longest: str
    """The longest part of its own: a text without it does not fit."""
    parts: Sequence[str]
    translation: str


class ProblemTexts:
    """The messages of problems with their translations.

    Parameters: labels, of fields, with their translations.
    """

    def __init__(self, translations: Mapping[str, str], labels: Mapping[str, str]) -> None:
        self._labels = labels
        self._plain: dict[str, str] = {}
        self._first: list[_Pattern] = []
        self._predicates: list[_Pattern] = []
        self._last: list[_Pattern] = []
        for text, found in translations.items():
            parts = PLACEHOLDER.split(text)
            if len(parts) == 1:
                self._plain[text] = found
                continue
            own = sum(map(len, parts[::2]))
            kind = self._predicates if parts[0] else self._first if own >= _DISTINCT else self._last
            kind.append(_Pattern(max(parts[::2], key=len), parts, found))
        for patterns in (self._first, self._predicates, self._last):
            patterns.sort(key=lambda one: -sum(map(len, one.parts[::2])))

    def translate(self, text: str) -> str:
        """Return the translation of a text, or the text when no message fits."""
        if not self._plain or len(text) > LONGEST:
            return text
        if (found := self._sentence(text, 0)) is not None:
            return found
        placed = _PLACE.fullmatch(text)
        found = self._sentence(placed["text"], 0) if placed else None
        return text if placed is None or found is None else placed["place"] + found

    def _sentence(self, text: str, depth: int) -> str | None:
        """The translation of a text, with its full stop and its capital letter."""
        if (whole := self._plain.get(text)) is not None:
            return whole
        bare = text.removesuffix(".")
        small = bare[:1].lower() + bare[1:]
        found = self._plain.get(bare) or self._plain.get(small) or self._found(bare, depth)
        if found is None and small != bare:
            found = self._found(small, depth)
        if found is None:
            return None
        return (found if small == bare else found[:1].upper() + found[1:]) + text[len(bare) :]

    def _found(self, text: str, depth: int) -> str | None:
        if text in self._plain:
            return self._plain[text]
        if depth == _DEEPEST or " " not in text:
            return None
        return (
            self._fitting(text, self._first, depth)
            or self._fitting(text, self._predicates, depth)
            or self._with_subject(text, depth)
            or self._fitting(text, self._last, depth)
        )

    def _with_subject(self, text: str, depth: int) -> str | None:
        """The translation of a key or a label, and what is said of it."""
        end = -1
        for _ in range(_MOST_WORDS):
            end = text.find(" ", end + 1)
            if end < 0:
                return None
            subject, said = text[:end], text[end + 1 :]
            name = self._subject(subject)
            if name is None:
                continue
            found = self._plain.get(said) or self._fitting(said, self._predicates, depth)
            if found is not None:
                return f"{name} {found}"
        return None

    def _subject(self, text: str) -> str | None:
        label = self._labels.get(text) or self._plain.get(text)
        return label or (text if _KEY.fullmatch(text) else None)

    def _fitting(self, text: str, patterns: Sequence[_Pattern], depth: int) -> str | None:
        for one in patterns:
            values = values_between(text, one.parts) if one.longest in text else None
            if values is not None:
                return one.translation % {name: self._value(part, depth + 1) for name, part in values.items()}
        return None

    def _value(self, text: str, depth: int) -> str:
        found = self._sentence(text, depth)
        joined = _JOINED.fullmatch(text) if found is None and depth < _DEEPEST else None
        if joined is not None:
            head = self._found(joined["head"], depth + 1) or joined["head"]
            tail = self._found(joined["tail"], depth + 1)
            return head + (tail or joined["mark"] + self._value(joined["text"], depth + 1))
        return text if found is None else found
