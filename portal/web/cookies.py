"""Reading cookies, distrustfully."""

from __future__ import annotations

from tornado.httputil import HTTPHeaders

SESSION_COOKIE = "portal"
BINDING_COOKIE = "portal-attempt"
POSTED_BINDING_COOKIE = "portal-attempt-post"
"""The binding once more, for responses that a form of the provider's site brings (SameSite=None)."""
XSRF_COOKIE = "portal-xsrf"


def read_cookie(headers: HTTPHeaders, name: str) -> str | None:
    """Return a cookie's value; None when it is missing or there are several of that name (THREATS S2)."""
    wanted = f"{name}="
    found = None
    for header in headers.get_list("Cookie"):
        for raw in header.split(";"):
            part = raw.strip()
            if not part.startswith(wanted):
                continue
            if found is not None:
                return None
            found = part[len(wanted) :]
    return found
