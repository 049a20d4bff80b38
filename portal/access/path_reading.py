"""How APIs may interpret a path: literally, and as the most lenient server does. Pure, no I/O."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

from portal.outbound.dot_segments import LOOKALIKES, decode_fully

_SEPARATOR = re.compile(r"[/\\]")
_END_OF_SEGMENT = re.compile(r"[;?#]")
_IGNORED_AT_ENDS = " .+\t"
_OVERLOOKED = frozenset(("Cc", "Cf", "Mn", "Me"))
"""Unicode categories of characters that are invisible or combine with the character before."""


def written_segments(path: str) -> tuple[str, ...]:
    """The segments of a percent-encoded path, decoded once; a final slash is ignored."""
    return _segments(unquote(path))


def readable_segments(path: str) -> tuple[str, ...]:
    """The segments as the most lenient server interprets them.

    It decodes until nothing changes, replaces look-alikes by the ASCII letters and slashes they resemble
    (NFKD, without accents), ignores case and invisible characters, and ends a segment at `;`, `?` or `#` and
    before final dots and spaces.
    """
    decoded = decode_fully(path)
    readable = map(_readable, _SEPARATOR.split(_plain(path if decoded is None else decoded)))
    return tuple(one for one in readable if one)


def _segments(path: str) -> tuple[str, ...]:
    return tuple(one for one in path.split("/") if one)


def _plain(text: str) -> str:
    """Text with each character replaced by the ASCII that some server may treat it as."""
    if text.isascii():
        return text
    # normalize characters one by one: sequences never become ASCII, and would take quadratic time
    plain = {char: _plain_character(char) for char in set(text)}
    return "".join(map(plain.__getitem__, text))


def _plain_character(char: str) -> str:
    """The replacement of one character: several characters, one, or none."""
    found = unicodedata.normalize("NFKD", char.translate(LOOKALIKES))
    return "".join(
        " " if one.isspace() else one
        for one in found
        if one.isspace() or unicodedata.category(one) not in _OVERLOOKED
    )


def _readable(segment: str) -> str:
    # upper case first: for some servers a dotless i equals an i (java.lang.String.equalsIgnoreCase)
    return _END_OF_SEGMENT.split(segment, maxsplit=1)[0].strip(_IGNORED_AT_ENDS).upper().casefold()
