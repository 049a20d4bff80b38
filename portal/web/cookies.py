"""Names of the portal's cookies, and strict reading of the Cookie header."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tornado.httputil import HTTPHeaders

SESSION_COOKIE = "portal"
BINDING_COOKIE = "portal-attempt"
POSTED_BINDING_COOKIE = "portal-attempt-post"
"""A copy of the binding with SameSite=None, for responses that the provider's site posts as a form."""
SETUP_COOKIE = "portal-setup"
"""Binds a setup link to the browser that opened it."""
REMEMBERED_COOKIE = "portal-organisations"
"""The organisations that were used on this browser, sealed."""
CHECK_COOKIE = "portal-check"
"""Shows whether the browser keeps cookies."""
XSRF_COOKIE = "portal-xsrf"
LANGUAGE_COOKIE = "portal-language"
"""The language that the reader chose: a tag."""

_VALUE = re.compile(r"[A-Za-z0-9._~-]+")


def set_cookie_header(name: str, value: str, *, max_age: int | None, secure: bool, same_site: str) -> str:
    """Return the value of a Set-Cookie header for an HttpOnly cookie of the whole site (RFC 6265 4.1).

    Parameters: name, a token; max_age, seconds; same_site, `Lax` or `None`.
    Raises ValueError for a value with other characters than those of base64url and `.`, `_`, `~`, `-`.
    """
    if not _VALUE.fullmatch(value):
        raise ValueError("a cookie's value has other characters than letters, digits, '.', '_', '~' and '-'")
    age = "" if max_age is None else f" Max-Age={max_age};"
    return f"{name}={value}; HttpOnly;{age} Path=/; SameSite={same_site}{'; Secure' if secure else ''}"


def read_cookie(headers: HTTPHeaders, name: str) -> str | None:
    """Return a cookie's value; None when it is missing or sent more than once (THREATS S2)."""
    return find_cookie(headers.get_list("Cookie"), name)


def find_cookie(lines: Iterable[str], name: str) -> str | None:
    """As `read_cookie`, in the values of the Cookie fields of a request.

    Only spaces and tabs may be around a pair (RFC 6265 5.4, RFC 9110 5.6.3). Python's `strip` also removes
    NEL and NBSP: a sibling host may set cookies whose names begin with these, `__Host-` after it or not.
    """
    prefix = f"{name}="
    found = None
    for line in lines:
        end = -1
        while end < len(line) and (at := line.find(prefix, end + 1)) >= 0:
            begin = line.rfind(";", end + 1, at) + 1 or end + 1
            end = line.find(";", at)
            end = len(line) if end < 0 else end
            if line[begin:at].strip(" \t"):  # the name of another cookie, or a part of a value
                continue
            if found is not None:
                return None
            found = line[at + len(prefix) : end].rstrip(" \t")
    return found
