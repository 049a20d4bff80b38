"""JSON as a hostile provider writes it: ordered and repeated members, and arbitrary literals."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

Json = object
"""None, bool, int, float, str, list of Json, Members or Literal."""


@dataclass(frozen=True, slots=True)
class Literal:
    """JSON text that is written unchanged, such as `1e400` or `NaN`."""

    text: str


@dataclass(frozen=True, slots=True)
class Members:
    """An object: its members in order; names may be repeated."""

    pairs: tuple[tuple[str, Json], ...]

    def names(self) -> list[str]:
        return [name for name, _ in self.pairs]

    def get(self, name: str) -> Json:
        """Return the last value of a name, or None."""
        return dict(self.pairs).get(name)

    def has(self, name: str) -> bool:
        return name in self.names()

    def without(self, name: str) -> Members:
        return Members(tuple(pair for pair in self.pairs if pair[0] != name))

    def changed(self, name: str, value: Json) -> Members:
        """Return a copy with another value in that place, or with one more member."""
        if not self.has(name):
            return self.plus(name, value)
        return Members(tuple((key, value if key == name else held) for key, held in self.pairs))

    def plus(self, name: str, value: Json) -> Members:
        return Members((*self.pairs, (name, value)))

    def renamed(self, name: str, other: str) -> Members:
        return Members(tuple((other if key == name else key, held) for key, held in self.pairs))


def members(**pairs: Json) -> Members:
    """Make an object of these members."""
    return Members(tuple(pairs.items()))


def members_of(pairs: dict[str, Json]) -> Members:
    """Convert a dict, including nested ones."""
    return Members(tuple((name, _tree(value)) for name, value in pairs.items()))


def _tree(value: Json) -> Json:
    if isinstance(value, dict):
        return members_of(value)
    if isinstance(value, list):
        return [_tree(item) for item in value]
    return value


def write(value: Json) -> str:
    """Return the JSON text of a value."""
    if isinstance(value, Literal):
        return value.text
    if isinstance(value, Members):
        return "{" + ",".join(f"{json.dumps(name)}:{write(held)}" for name, held in value.pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(write(item) for item in value) + "]"
    return json.dumps(value)


# --- how the oracles read it, without code of the portal


def unreadable(value: Json, *, depth: int = 0) -> str | None:
    """Return why a strict parser rejects the text of this value; None when it is unambiguous.

    RFC 8259 4 and RFC 7519 4 (names are unique), 6 (no NaN, no infinity), 8.2 (no unpaired surrogates); and
    the limits against exhaustion: 32 levels, numbers of at most 4,300 digits.
    """
    if isinstance(value, Literal):
        return _unreadable_literal(value.text, depth)
    if isinstance(value, Members | list) and depth >= 32:
        return "nested deeper than 32"
    if isinstance(value, str):
        return "unpaired surrogate" if any("\ud800" <= character <= "\udfff" for character in value) else None
    if isinstance(value, float) and not math.isfinite(value):
        return "not a JSON number"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**4300:
        return "a number of thousands of digits"
    below = list(_below(value))
    if isinstance(value, Members):
        if len(set(value.names())) < len(value.pairs):
            return "a member is given twice"
        below += value.names()
    return next((why for item in below if (why := unreadable(item, depth=depth + 1))), None)


def _below(value: Json) -> Iterator[Json]:
    if isinstance(value, Members):
        yield from (held for _, held in value.pairs)
    elif isinstance(value, list):
        yield from value


def _unreadable_literal(text: str, depth: int) -> str | None:
    if text.lstrip("-").lower() in {"nan", "infinity"}:
        return "not a JSON number"
    if text == r'"\ud800"':
        return "unpaired surrogate"
    if set(text) <= set("[]"):
        return "nested deeper than 32" if depth + text.count("[") > 32 else None
    if len(text) > 4300:
        return "a number of thousands of digits"
    return None


def number(value: Json) -> float | None:
    """Return the value of a number, infinite when it is out of range; None for anything but a number."""
    if isinstance(value, Literal):
        try:
            return float(value.text)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
