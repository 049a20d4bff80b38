"""Detection of dot segments, with which a path escapes its prefix: pure rules, no I/O (THREATS S3).

Proxies, routers, frameworks and file systems all interpret a path. Some decode it once, some twice; some
accept bytes that are not UTF-8, treat a backslash as a slash, or end a segment at a semicolon. The check
therefore assumes the most lenient interpretation.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_MOST_ENCODINGS = 4
"""A path that was percent-encoded more often than this is rejected."""
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
"""ASCII results of compatibility normalisation (NFKC) or of conversion to an older character set."""


def decode_fully(path: str) -> str | None:
    """The path, percent-decoded until nothing changes; None if that is not UTF-8, or encoded too many times.

    A dot segment that appears after some rounds of decoding is still present after the last, since none of
    its characters can be part of an escape. Overlong forms of `.` and `/` are not UTF-8 (RFC 3629 3).
    The time is linear in the length of the path.
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
    """Whether some server could find a `.` or `..` segment (RFC 3986 3.3) in a result of `decode_fully`."""
    return _DOT_SEGMENT.search(decoded if decoded.isascii() else decoded.translate(LOOKALIKES)) is not None
