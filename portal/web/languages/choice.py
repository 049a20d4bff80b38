"""Reading what languages a browser asks for, in linear time and bounded."""

from __future__ import annotations

import re

_LONGEST = 500
"""Characters of a header or parameter; a longer one is ignored."""
_MOST = 20
_TAG = re.compile(r"[a-z]{1,8}(?:-[a-z0-9]{1,8}){0,4}")
_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def accepted_tags(header: str) -> tuple[str, ...]:
    """Return the tags of an Accept-Language header in lower case, the preferred ones first (RFC 9110 12.5.4).

    What is malformed, and `*`, is left out; so is a tag with the quality 0.
    """
    if len(header) > _LONGEST:
        return ()
    found = []
    for position, part in enumerate(header.lower().split(",", _MOST)[:_MOST]):
        tag, _, parameter = (piece.strip() for piece in part.partition(";"))
        quality = _QUALITY.fullmatch(parameter) if parameter else None
        if not _TAG.fullmatch(tag) or (parameter and quality is None):
            continue
        weight = float(quality[1]) if quality is not None else 1.0
        if weight > 0:
            found.append((-weight, position, tag))
    return tuple(tag for _, _, tag in sorted(found))


def requested_tags(text: str) -> tuple[str, ...]:
    """Return the tags of `ui_locales` in lower case, in their order (OIDC Core 3.1.2.1)."""
    if len(text) > _LONGEST:
        return ()
    return tuple(tag for tag in text.lower().split(" ", _MOST)[:_MOST] if _TAG.fullmatch(tag))
