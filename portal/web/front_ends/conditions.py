"""Conditional requests, ranges and content codings of files (RFC 9110 12.5.3, 13 and 14). No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence

from portal.errors import PortalError

_LONGEST = 2048
"""Characters of a header that is read; a longer one counts as absent."""
_ETAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e]*")')
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_CODING = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*;[ \t]*[qQ]=([01](?:\.[0-9]{0,3})?))?")
IDENTITY = ""
"""The name of a file as it is, without a coding."""


class RangeNotSatisfiable(PortalError):
    """No byte of the file is in the range that was asked for."""

    status = 416
    code = "range_not_satisfiable"
    title = "This part of the file does not exist"
    advice = "Load the file from its beginning."


def accepted_codings(header: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return those of `known` that Accept-Encoding allows, the preferred ones first.

    Codings with the same weight stay in the order of `known`. Parameters: header, empty when it is absent.
    """
    weights: dict[str, float] = {}
    for part in header.split(",") if len(header) <= _LONGEST else ():
        found = _CODING.fullmatch(part.strip())
        if found is not None:
            weights.setdefault(found[1].lower(), float(found[2]) if found[2] else 1.0)
    others = weights.get("*", 0.0)
    wanted = [(weights.get(coding, others), coding) for coding in known]
    return tuple(coding for weight, coding in sorted(wanted, key=lambda one: -one[0]) if weight > 0)


def matches(if_none_match: str, etag: str) -> bool:
    """Whether If-None-Match names the entity tag, or `*` (RFC 9110 13.1.2); the comparison is weak."""
    if if_none_match.strip() == "*":
        return True
    return len(if_none_match) <= _LONGEST and etag in _ETAG.findall(if_none_match)


def byte_range(header: str, *, if_range: str, etag: str, size: int) -> range | None:
    """Return the bytes that a Range header asks for; None for the whole file.

    Several ranges, other units and invalid headers are ignored (RFC 9110 14.2). So is a range with an
    If-Range that is not the current entity tag. Raises: RangeNotSatisfiable.
    """
    found = _RANGE.fullmatch(header.strip()) if len(header) <= _LONGEST else None
    if found is None or (if_range and if_range.strip() != etag) or not (found[1] or found[2]):
        return None
    if not found[1]:
        first, last = max(0, size - int(found[2])), size - 1
    else:
        first, last = int(found[1]), min(int(found[2]) if found[2] else size - 1, size - 1)
        if found[2] and int(found[2]) < first:
            return None  # RFC 9110 14.1.1: invalid
    if first > last:
        raise RangeNotSatisfiable(f"the file has {size} bytes")
    return range(first, last + 1)
