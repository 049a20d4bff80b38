"""Whether a request comes from the portal's own pages (docs/architecture.md rule 4)."""

from __future__ import annotations

from enum import Enum

from tornado.httputil import HTTPHeaders

CSRF_HEADER = "X-Portal-CSRF"


class Origin(Enum):
    """What the headers of a request say of where it comes from."""

    SAME = "same"
    OTHER = "other"
    UNSAID = "unsaid"
    """Neither header is there: an old browser, or no browser."""


def origin_of(headers: HTTPHeaders, own_origin: str) -> Origin:
    """Judge by Sec-Fetch-Site; where it is absent, by Origin (Fetch Metadata; RFC 6454 7)."""
    sites = headers.get_list("Sec-Fetch-Site")
    if sites:
        return Origin.SAME if sites == ["same-origin"] else Origin.OTHER
    origins = headers.get_list("Origin")
    if origins:
        return Origin.SAME if origins == [own_origin] else Origin.OTHER
    return Origin.UNSAID
