"""Addresses of APIs in the portal, and which paths lead to one, whatever browsers and servers make of them.

A page of the portal may read an API by a navigation. So neither a redirect of the portal nor a link that a
tenant's administrator wrote must be such a navigation (THREATS S1).
"""

from __future__ import annotations

import posixpath
import re

from portal.outbound.dot_segments import decode_fully

SLUG = r"[a-z0-9][a-z0-9-]{0,62}"
"""The pattern of the slug of a tenant, and of names in addresses."""
API_PATH = rf"/t/(?P<tenant>{SLUG})/(?:apis/(?P<api>{SLUG})|api)(?=[/?]|\Z)"
"""The beginning of every address of an API: of the default API, or of one with a name."""
_API_PATH = re.compile(API_PATH)
_SLASHES = re.compile(r"/{2,}")


def leads_to_api_path(path: str) -> bool:
    """Whether a path may end at an API, after a browser has resolved it (URL Standard 4.4).

    True also for what only a proxy would make one of: by decoding escapes, or by merging slashes. The time is
    linear in the length of the path.
    Parameters: path, without query.
    """
    decoded = decode_fully(path)
    if decoded is None:
        return True
    plain = "/" + decoded.replace("\\", "/").lstrip("/")
    return any(
        _API_PATH.match(one) for one in (_SLASHES.sub("/", _resolved(plain)), posixpath.normpath(plain))
    )


def _resolved(path: str) -> str:
    """A path without its dot segments: unlike posixpath.normpath, browsers count empty segments."""
    segments: list[str] = []
    parts = path.split("/")[1:]
    for part in parts:
        if part == "..":
            del segments[-1:]
        elif part != ".":
            segments.append(part)
    if parts[-1] in {".", ".."}:
        segments.append("")
    return "/" + "/".join(segments)
