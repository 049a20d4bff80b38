"""How APIs may read a path: to the letter, and as the most generous reader does. Pure, no I/O."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

from portal.outbound.dot_segments import LOOKALIKES, decode_fully

_SEPARATOR = re.compile(r"[/\\]")
_END_OF_SEGMENT = re.compile(r"[;?#]")
_IGNORED_AT_ENDS = " .+\t"
_OVERLOOKED = frozenset(("Cc", "Cf", "Mn", "Me"))
"""Categories of characters that are invisible, or only add to the one before."""


def written_segments(path: str) -> tuple[str, ...]:
    """The segments of a percent-encoded path, decoded once; a slash at the end makes no difference."""
    return _segments(unquote(path))


def readable_segments(path: str) -> tuple[str, ...]:
    """The segments as the most generous reader sees them.

    It decodes until nothing changes, takes look-alikes for the letters and slashes that they stand for (NFKD,
    without accents, as upper and as lower case), overlooks upper case and invisible characters, and ends a
    segment at `;`, `?` or `#` and before dots and spaces.
    """
    decoded = decode_fully(path)
    readable = map(_readable, _SEPARATOR.split(_plain(path if decoded is None else decoded)))
    return tuple(one for one in readable if one)


def _segments(path: str) -> tuple[str, ...]:
    return tuple(one for one in path.split("/") if one)


def _plain(text: str) -> str:
    """Text with every character as what some reader takes it for."""
    if text.isascii():
        return text
    # each character by itself: sequences never become ASCII, and take quadratic time
    plain = {char: _plain_character(char) for char in set(text)}
    return "".join(map(plain.__getitem__, text))


def _plain_character(char: str) -> str:
    """One character, which may become several, or none."""
    found = unicodedata.normalize("NFKD", char.translate(LOOKALIKES))
    return "".join(
        " " if one.isspace() else one
        for one in found
        if one.isspace() or unicodedata.category(one) not in _OVERLOOKED
    )


def _readable(segment: str) -> str:
    # upper first: readers that compare so take a dotless i for an i (java.lang.String.equalsIgnoreCase)
    return _END_OF_SEGMENT.split(segment, maxsplit=1)[0].strip(_IGNORED_AT_ENDS).upper().casefold()
