"""Paths that leave the place they seem to be below: pure rules, no I/O (THREATS S3).

A path passes several readers on its way: proxies, routers, frameworks, file systems. Some decode it once,
some twice; some accept bytes that are not UTF-8, take a backslash for a slash, or end a segment at a
semicolon. What counts is therefore what the most generous of them could read.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_MOST_ENCODINGS = 4
"""A path that is encoded more often than this is not decoded to its end."""
_DOT_SEGMENT = re.compile(r"(?:^|[/\\])\s*\.{1,2}\s*(?:[/\\;?#]|$)")
LOOKALIKES = str.maketrans(
    {
        "\u2024": ".",
        "\u2025": "..",
        "\ufe30": "..",
        "\ufe52": ".",
        "\uff0e": ".",
        "\u2044": "/",
        "\u2215": "/",
        "\uff0f": "/",
        "\u2216": "\\",
        "\ufe68": "\\",
        "\uff3c": "\\",
        "\u037e": ";",
        "\ufe14": ";",
        "\ufe54": ";",
        "\uff1b": ";",
        "\u2047": "?",
        "\u2048": "?",
        "\ufe16": "?",
        "\ufe56": "?",
        "\uff1f": "?",
        "\ufe5f": "#",
        "\uff03": "#",
    }
)
"""What compatibility normalisation (NFKC) or a conversion to an older character set makes of characters."""


def decode_fully(path: str) -> str | None:
    """The path, percent-decoded until nothing changes; None when it then is not UTF-8, or is nested too deep.

    A dot segment that a reader finds after fewer rounds of decoding is still there after the last, since no
    part of it can be a part of an escape. Overlong forms of `.` and `/` are not UTF-8 (RFC 3629 3).
    Takes time in proportion to the length of the path.
    """
    decoded = path.encode()
    for _ in range(_MOST_ENCODINGS):
        once_more = unquote_to_bytes(decoded)
        if once_more == decoded:
            break
        decoded = once_more
    else:
        if unquote_to_bytes(decoded) != decoded:
            return None
    try:
        return decoded.decode()
    except UnicodeDecodeError:
        return None


def has_dot_segment(decoded: str) -> bool:
    """Whether some reader could find a `.` or `..` segment (RFC 3986 3.3) in what `decode_fully` returned."""
    return _DOT_SEGMENT.search(decoded if decoded.isascii() else decoded.translate(LOOKALIKES)) is not None
