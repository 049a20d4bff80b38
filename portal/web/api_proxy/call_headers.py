"""What the header fields of an API call say, worked out once for all calls that repeat them.

Nothing here depends on who the user is: the session that the cookie names is read for every call.
"""

from __future__ import annotations

from tornado.httputil import HTTPConnection, HTTPHeaders

from portal.outbound.request import encode_headers
from portal.sessions.credentials import SessionCookie
from portal.web.api_proxy.rules import browser_headers
from portal.web.cookies import SESSION_COOKIE, find_cookie
from portal.web.origin import CSRF_HEADER, Origin, origin_of
from portal.web.server.http_exchange import HttpExchange
from portal.web.server.request_fields import RequestHeaders
from portal.web.sites import Site


class CallHeaders:
    """The header fields of API calls to one site."""

    __slots__ = ("_encoded", "has_csrf_header", "is_same_origin")

    def __init__(self, headers: HTTPHeaders, site: Site) -> None:
        self._encoded: bytes | None = None
        self.is_same_origin = origin_of(headers, site.origin) is Origin.SAME
        """Whether a page of this site sent the call."""
        self.has_csrf_header = headers.get(CSRF_HEADER) == "1"

    def encoded(self, headers: HTTPHeaders) -> bytes:
        """The browser's harmless headers as they are sent to the API. Parameters: headers, the same again.

        Raises: OutboundRefused when one would break the framing of the request.
        """
        if self._encoded is None:
            self._encoded = encode_headers(browser_headers(headers))
        return self._encoded


def call_headers(headers: HTTPHeaders, site: Site) -> CallHeaders:
    """Return what the header fields of a call to a site say."""
    if not isinstance(headers, RequestHeaders):
        return CallHeaders(headers, site)
    known: CallHeaders | None = headers.derived.get(site)
    if known is None:
        known = headers.derived[site] = CallHeaders(headers, site)
    return known


def session_cookie(connection: HTTPConnection, headers: HTTPHeaders, site: Site) -> SessionCookie | None:
    """Return the session cookie of a request to a site, if there is exactly one and it has a valid form.

    Parameters: connection, headers, of the request; on HttpExchange, Cookie is not among the headers.
    """
    cookie = connection.head.cookie if isinstance(connection, HttpExchange) else None
    lines = headers.get_list("Cookie") if cookie is None else (cookie,)
    return SessionCookie.parse(find_cookie(lines, site.cookie_name(SESSION_COOKIE)))
