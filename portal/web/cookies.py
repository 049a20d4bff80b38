"""Names of the portal's cookies, and strict reading of the Cookie header."""

from __future__ import annotations

from tornado.httputil import HTTPHeaders

SESSION_COOKIE = "portal"
BINDING_COOKIE = "portal-attempt"
POSTED_BINDING_COOKIE = "portal-attempt-post"
"""A copy of the binding with SameSite=None, for responses that the provider's site posts as a form."""
XSRF_COOKIE = "portal-xsrf"


def read_cookie(headers: HTTPHeaders, name: str) -> str | None:
    """Return a cookie's value; None when it is missing or sent more than once (THREATS S2)."""
    prefix = f"{name}="
    found = None
    for header in headers.get_list("Cookie"):
        for raw in header.split(";"):
            part = raw.strip()
            if not part.startswith(prefix):
                continue
            if found is not None:
                return None
            found = part[len(prefix) :]
    return found
