"""Handlers that read cookies as strictly, and as quickly, as the portal does."""

from __future__ import annotations

from typing import overload

from tornado.web import RequestHandler

from portal.web.cookies import read_cookie


class CookieReading(RequestHandler):
    """A handler for which Tornado reads no cookies itself: 31 KB of them take it 20 ms (THREATS D1)."""

    @overload
    def get_cookie(self, name: str, default: str) -> str: ...

    @overload
    def get_cookie(self, name: str, default: None = None) -> str | None: ...

    def get_cookie(self, name: str, default: str | None = None) -> str | None:
        """Return a cookie's value, also for Tornado's XSRF token; `default` as `read_cookie` returns None."""
        found = read_cookie(self.request.headers, name)
        return default if found is None else found
