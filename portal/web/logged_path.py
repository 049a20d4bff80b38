"""The path of a request as logs may have it."""

from __future__ import annotations

import re
from urllib.parse import unquote

_SETUP_LINK = re.compile(r"(?i)(?:^|/)setup/")
_OF_TENANTS = "/t/"


def logged_path(path: str) -> str:
    """Return a path without the token of a setup link (THREATS A2).

    Also of links that were copied with mistakes: with more slashes, in upper case, percent-encoded, with
    another end.
    """
    if path.startswith(_OF_TENANTS):
        return path
    decoded = unquote(path) if "%" in path else path
    return "/setup/…" if _SETUP_LINK.search(decoded) else path
