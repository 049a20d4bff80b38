"""Whether a request comes from the portal's own pages (docs/architecture.md rule 4)."""

from __future__ import annotations

from enum import Enum

from tornado.httputil import HTTPHeaders

CSRF_HEADER = "X-Portal-CSRF"


class Origin(Enum):
    """The origin of a request, according to its headers."""

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"
    """The request has neither header: an old browser, or not a browser."""


def origin_of(headers: HTTPHeaders, own_origin: str) -> Origin:
    """Decide by Sec-Fetch-Site, or by Origin when it is absent (Fetch Metadata; RFC 6454 7)."""
    sites = headers.get_list("Sec-Fetch-Site")
    if sites:
        return Origin.SAME if sites == ["same-origin"] else Origin.OTHER
    origins = headers.get_list("Origin")
    if origins:
        return Origin.SAME if origins == [own_origin] else Origin.OTHER
    return Origin.UNKNOWN
