"""What the header fields of an API call say, worked out once for all calls that repeat them.

Nothing here depends on who the user is: the session that the cookie names is read for every call.
"""

from __future__ import annotations

from collections.abc import Sequence

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPConnection, HTTPHeaders

from portal.outbound.request import encode_headers
from portal.sessions.credentials import SessionCookie
from portal.web.api_proxy.rules import browser_headers
from portal.web.client_address import Network, client_address
from portal.web.cookies import SESSION_COOKIE, find_cookie
from portal.web.origin import CSRF_HEADER, Origin, origin_of
from portal.web.server.http_exchange import HttpExchange
from portal.web.server.request_body import declared_length
from portal.web.server.request_fields import RequestHeaders
from portal.web.server.tornado_private import remote_address
from portal.web.sites import Site

_DATA_DESTINATIONS = frozenset({"empty", "image", "audio", "video", "track", "document"})
"""What a page may use a response of an API for (`destination` of a request, Fetch 2.2.5). With all others the
browser would run it as code of the portal's origin, take it for style or fonts, or show it in a frame."""

_DRAINED_BYTES = 1024 * 1024

_OTHER_ORIGIN = "an API call needs the portal's own origin"
_NO_CSRF_HEADER = f"an API call that may change something needs the header {CSRF_HEADER}: 1"
_NO_METADATA = f"a read without Sec-Fetch-Site and Sec-Fetch-Dest needs the header {CSRF_HEADER}: 1"
_CODE = "a page cannot use the response of an API as code, style or frame"


class CallHeaders:
    """The header fields of API calls to one site, and why a call with them is refused, if it is."""

    __slots__ = ("_encoded", "read_refusal", "write_refusal")

    def __init__(self, headers: HTTPHeaders, site: Site) -> None:
        self._encoded: bytes | None = None
        is_same_origin = origin_of(headers, site.origin) is Origin.SAME
        self.write_refusal = self.read_refusal = None if is_same_origin else _OTHER_ORIGIN
        if is_same_origin and _is_used_as_code(headers):
            self.write_refusal = self.read_refusal = _CODE
        elif is_same_origin and headers.get(CSRF_HEADER) != "1":
            self.write_refusal = _NO_CSRF_HEADER
            has_metadata = "Sec-Fetch-Site" in headers and "Sec-Fetch-Dest" in headers
            self.read_refusal = None if has_metadata else _NO_METADATA

    def encoded(self, headers: HTTPHeaders, *, traced: bool = False) -> bytes:
        """The browser's harmless headers as they are sent to the API.

        Parameters: headers, the same again; traced, as in `browser_headers`, the same in each call.

        Raises: OutboundRefused when one would break the framing of the request.
        """
        if self._encoded is None:
            self._encoded = encode_headers(browser_headers(headers, traced=traced))
        return self._encoded


def _is_used_as_code(headers: HTTPHeaders) -> bool:
    """Whether the browser would not treat the response as data (THREATS T4)."""
    destinations = headers.get_list("Sec-Fetch-Dest")
    is_data = not destinations or (len(destinations) == 1 and destinations[0] in _DATA_DESTINATIONS)
    return not is_data or "Service-Worker" in headers  # Service Workers 4.5: `Service-Worker: script`


def socket_refusal(headers: HTTPHeaders, site: Site) -> str | None:
    """Why a WebSocket is refused; None when it is not.

    Browsers always send Origin with the handshake (RFC 6455 4.1). A page cannot add a header such as
    X-Portal-CSRF to it.
    """
    if headers.get_list("Origin") != [site.origin]:
        return "a WebSocket needs the portal's own Origin"
    if headers.get_list("Sec-Fetch-Site") not in ([], ["same-origin"]):
        return "a WebSocket needs Sec-Fetch-Site: same-origin, where it is sent"
    return None


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


def is_long_body(headers: HTTPHeaders) -> bool:
    """Whether a body is not read to its end before an error is sent, which keeps the connection usable."""
    length = declared_length(headers)
    return length is None or length > _DRAINED_BYTES


def client_of(connection: HTTP1Connection, headers: HTTPHeaders, trusted: Sequence[Network]) -> str:
    """Return the address of the client. Parameters: trusted, the networks of trusted proxies."""
    forwarded_for = headers.get("X-Forwarded-For", "") if trusted else ""
    return client_address(remote_address(connection), forwarded_for, trusted)
