"""Reads pages and forms of a provider: bounded, and in time linear in their length (THREATS D1)."""

from __future__ import annotations

import html
import re

LONGEST_PAGE = 32_768
"""Bytes of a page that are read."""
_LONGEST_TAG = 4_096
_HIDDEN = ("script", "style", "head", "template", "noscript")
_ATTRIBUTE = re.compile(
    r"""(?<![a-zA-Z-])([a-zA-Z-]{1,40}+)\s{0,9}=\s{0,9}(?:"([^"]{0,4096})"|'([^']{0,4096})')"""
)


def visible_text(body: bytes) -> str:
    """Return the text of a page without its markup."""
    page = body[:LONGEST_PAGE].decode("utf-8", "replace")
    for name in _HIDDEN:
        page = _without(page, name)
    pieces, place = [], 0
    while (start := page.find("<", place)) >= 0:
        pieces.append(page[place:start])
        end = page.find(">", start)
        if end < 0:
            place = len(page)
            break
        place = end + 1
    pieces.append(page[place:])
    return " ".join(html.unescape(" ".join(pieces)).split())


def form_fields(body: bytes) -> dict[str, str]:
    """Return the values of the input fields of a page by name; the action of its forms as ``."""
    page = body[:LONGEST_PAGE].decode("utf-8", "replace")
    fields: dict[str, str] = {}
    for name in ("input", "form"):
        for tag in _tags(page, name):
            found = {match[1].lower(): match[2] or match[3] or "" for match in _ATTRIBUTE.finditer(tag)}
            if name == "form":
                fields.setdefault("", html.unescape(found.get("action", "")))
            elif "name" in found:
                fields.setdefault(found["name"], html.unescape(found.get("value", "")))
    return fields


def _tags(page: str, name: str) -> list[str]:
    tags, lowered, place = [], page.lower(), 0
    while (start := lowered.find(f"<{name}", place)) >= 0:
        end = page.find(">", start)
        if end < 0:
            break
        tags.append(page[start : min(end, start + _LONGEST_TAG)])
        place = end + 1
    return tags


def _without(page: str, name: str) -> str:
    """Remove an element and what it contains; without an end, the rest of the page."""
    pieces, lowered, place, start = [], page.lower(), 0, 0
    while (start := lowered.find(f"<{name}", start)) >= 0:
        after = start + len(name) + 1
        if lowered[after : after + 1].isalnum():  # another element, such as <header>
            start = after
            continue
        pieces.append(page[place:start])
        stop = lowered.find(f"</{name}", start)
        if stop < 0:
            return "".join(pieces)
        start = place = stop
    pieces.append(page[place:])
    return "".join(pieces)
