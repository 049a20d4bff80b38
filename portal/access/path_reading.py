"""How APIs may read a path: to the letter, and as the most generous reader does. Pure, no I/O."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

from portal.oidc.dot_segments import decode_fully

_END_OF_SEGMENT = re.compile(r"[;?#]")
_IGNORED_AT_ENDS = " .+\t"


def written_segments(path: str) -> tuple[str, ...]:
    """The segments of a percent-encoded path, decoded once; a slash at the end makes no difference."""
    return _segments(unquote(path))


def readable_segments(path: str) -> tuple[str, ...]:
    """The segments as the most generous reader sees them.

    It decodes until nothing changes, takes look-alikes for the letters they stand for (NFKC), overlooks upper
    case and invisible characters, and ends a segment at `;`, `?` or `#` and before dots and spaces.
    """
    decoded = decode_fully(path)
    readable = (_readable(one) for one in _segments(path if decoded is None else decoded))
    return tuple(one for one in readable if one)


def _segments(path: str) -> tuple[str, ...]:
    return tuple(one for one in path.split("/") if one)


def _readable(segment: str) -> str:
    text = segment
    if not text.isascii():
        # each character by itself: sequences never become ASCII, and take quadratic time
        text = "".join(unicodedata.normalize("NFKC", char) for char in text)
        text = "".join(char for char in text if unicodedata.category(char) != "Cf")
    return _END_OF_SEGMENT.split(text, maxsplit=1)[0].strip(_IGNORED_AT_ENDS).casefold()
