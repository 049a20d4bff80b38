"""Passes requests to a development server on this machine, such as Vite's (THREATS F5).

Only for the developer of a front end: settings refuse it unless the portal itself is at a loopback address.
The portal's cookies never reach the development server, and it can set none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urljoin

import structlog
from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError

from portal.config.front_ends import FrontEnd
from portal.errors import NotFound, OutboundFailed, PortalError, RequestRefused
from portal.outbound.dot_segments import decode_fully, has_dot_segment
from portal.outbound.request import encode_headers
from portal.outbound.stream import OutboundStream
from portal.web.api_proxy.rules import browser_headers
from portal.web.front_ends.handler import FrontEndPageHandler
from portal.web.server.client_connection import abort
from portal.web.sites import Site

_log = structlog.get_logger("portal.front_ends")

_SECONDS = 60.0
"""For the head of a response: a first build takes long."""
_IDLE_SECONDS = 3600.0
"""Between two pieces of a body: hot reload may use an event stream."""
_TARGET = re.compile(r"[!\x24-\x5b\x5d-\x7e]{1,8000}")
_PASSED = frozenset(
    {
        "accept-ranges",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-range",
        "content-type",
        "etag",
        "last-modified",
        "retry-after",
        "sourcemap",
        "vary",
    }
)
"""What a development server may say. Not cookies, and no policy: the portal sends its own."""


class DevelopmentServerUnavailable(PortalError):
    """The development server of a front end cannot be reached. Parameters: url, its origin."""

    status = 502
    code = "development_server_unavailable"
    title = "The development server does not respond"
    advice = "Start it, then load this page again."

    def __init__(self, detail: str, *, url: str) -> None:
        super().__init__(detail, explanation=f"Nothing responds at {url}. Start the development server.")


def development_url(front_end: FrontEnd, site: Site, request: HTTPServerRequest) -> str:
    """Return the origin of the server. Raises: NotFound for a Host header of another site.

    A page of another site whose name leads to this machine could read the source code otherwise.
    """
    if front_end.url is None or f"http://{request.host}".lower() != site.origin:
        raise NotFound("a development server is there for the public URL only")
    return front_end.url


def requested_target(request: HTTPServerRequest) -> str:
    """Return path and query of a request, as they were sent. Raises: RequestRefused."""
    path, _, query = (request.uri or "").partition("?")
    decoded = decode_fully(path) if _TARGET.fullmatch(path + query) else None
    if decoded is None or "\\" in decoded or has_dot_segment(decoded):
        raise RequestRefused("a path with dot segments or invalid escapes")
    return f"{path}?{query}" if query else path


class DevelopmentHandler(FrontEndPageHandler):
    """`/{path}/…` of a front end that a development server makes.

    Bodies have the limit of the portal's forms.
    """

    async def get(self) -> None:
        if not self.target.path:
            self.add_slash()
            return
        url, target = (
            development_url(self.target.front_end, self.site, self.request),
            requested_target(self.request),
        )
        try:
            response = await self.portal.front_ends.development_client.open_stream(
                self.request.method or "GET",
                f"{url}{target}",
                encoded=encode_headers(browser_headers(self.request.headers)),
                body=self.request.body or None,
                head_timeout=_SECONDS,
                idle_timeout=_IDLE_SECONDS,
            )
        except OutboundFailed as error:
            raise DevelopmentServerUnavailable(error.detail, url=url) from error
        try:
            await self._relay(response, url, target)
        finally:
            await response.aclose()

    head = post = put = patch = delete = options = get

    async def _relay(self, response: OutboundStream, url: str, target: str) -> None:
        self.set_status(response.status)
        self.clear_header("Cache-Control")
        self.clear_header("Content-Type")
        for name, value in response.headers:
            if name.lower() in _PASSED:
                self.add_header(name, value)
        self.send_policy()
        location = _location(response.headers, f"{url}{target}")
        if location is not None:
            below = f"{url}{self.target.front_end.path}"
            if location != below and not location.startswith((f"{below}/", f"{below}?")):
                raise DevelopmentServerUnavailable("it redirects outside of the front end", url=url)
            self.set_header("Location", location.removeprefix(url))
        has_begun = False
        try:
            async for chunk in response.chunks():
                if self.request.method != "HEAD":
                    has_begun = True
                    self.write(chunk)
                    await self.flush()
        except (OutboundFailed, StreamClosedError) as error:
            if isinstance(error, OutboundFailed):
                if not has_begun:
                    raise DevelopmentServerUnavailable(error.detail, url=url) from error
                _log.warning("response_broke_off", path=self.request.path, error=error.detail)
            abort(self.request.connection)
        self.finish()


def _location(headers: Iterable[tuple[str, str]], requested: str) -> str | None:
    """Return where a response redirects to, as an absolute URL; None when it does not."""
    found = [value for name, value in headers if name.lower() == "location"]
    if len(found) != 1:
        return None
    try:
        return urljoin(requested, found[0])
    except ValueError:
        return None
