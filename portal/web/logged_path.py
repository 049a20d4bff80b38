"""The path of a request as logs may have it."""

from __future__ import annotations

import re
from urllib.parse import unquote

from portal.config.api_paths import API_PATH

_SETUP_LINK = re.compile(r"(?i)(?:^|/)setup/")
_OF_TENANTS = "/t/"
_API_CALL = re.compile(API_PATH)
_LONG = re.compile(r"[A-Za-z0-9_-]{43,}")
"""A token may be anywhere in what somebody copied."""
_OF_NO_NAME = re.compile(r"[A-Z_]")
"""What the ids of tenants and providers never have, and one token in 10^10 lacks."""
_MOST_ENCODINGS = 5
_LONGEST = 2048
"""Characters; no page has an address as long as this, and decoding takes time."""
_REMOVED = "…"


def logged_path(path: str) -> str:
    """Return a path without the token of a setup link (THREATS A2).

    Also of links that were copied with mistakes: with more slashes, in upper case, percent-encoded once or
    several times, with another end, or without the slash. The paths of API calls are as they are.
    """
    if _API_CALL.match(path):
        return path
    if len(path) > _LONGEST:
        return f"/{_REMOVED}"
    decoded = path
    for _ in range(_MOST_ENCODINGS):
        decoded = unquote(decoded)
    if unquote(decoded) != decoded:  # what is still encoded could hide anything
        return f"/{_REMOVED}"
    if _SETUP_LINK.search(decoded) and not path.startswith(_OF_TENANTS):
        return f"/setup/{_REMOVED}"
    without = _LONG.sub(_name_or_removed, decoded)
    return without if without != decoded else path


def _name_or_removed(found: re.Match[str]) -> str:
    return _REMOVED if _OF_NO_NAME.search(found[0]) else found[0]
