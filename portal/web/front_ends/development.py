"""Passes requests to a development server on this machine, such as Vite's (THREATS F5).

Only for the developer of a front end: settings refuse it unless the portal itself is at a loopback address.
The portal's cookies never reach the development server, and it can set none.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterable
from typing import cast
from urllib.parse import urljoin

import structlog
from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError
from tornado.web import stream_request_body

from portal.config.front_ends import FrontEnd
from portal.errors import NotFound, OutboundFailed, PortalError, RequestRefused
from portal.outbound.dot_segments import decode_fully, has_dot_segment
from portal.outbound.request import encode_headers
from portal.outbound.stream import OutboundStream
from portal.web.api_proxy.body_pipe import BodyPipe
from portal.web.api_proxy.rules import browser_headers
from portal.web.front_ends.handler import FrontEndPageHandler
from portal.web.server.client_connection import abort
from portal.web.server.request_body import declared_length, has_body
from portal.web.sites import Site

_log = structlog.get_logger("portal.front_ends")

_SECONDS = 60.0
"""For the head of a response: a first build takes long."""
_IDLE_SECONDS = 3600.0
"""Between two pieces of a body: hot reload may use an event stream."""
_LARGEST_BODY = 1 << 40
_LONGEST_UPLOAD = 86_400.0
"""Seconds."""
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
"""Response headers that are passed on. Set-Cookie and policies are not: the portal sends its own."""


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


@stream_request_body
class DevelopmentHandler(FrontEndPageHandler):
    """`/{path}/…` of a front end that a development server makes.

    A body passes as it arrives, as fast as the server reads it. The response follows when all of it has
    arrived, also when the server responds earlier.
    """

    _pipe: BodyPipe | None = None
    _sending: asyncio.Task[OutboundStream] | None = None
    """The request to the development server, when it has a body."""
    _has_body_arrived = False

    async def prepare(self) -> None:
        await super().prepare()
        if not self.target.path:
            return
        self._url = development_url(self.target.front_end, self.site, self.request)
        self._target = requested_target(self.request)
        if has_body(self.request.headers):
            self._begin_upload()

    def _begin_upload(self) -> None:
        connection = cast(HTTP1Connection, self.request.connection)
        connection.set_max_body_size(_LARGEST_BODY)
        connection.set_body_timeout(_LONGEST_UPLOAD)
        self._pipe = pipe = BodyPipe(timeout=_LONGEST_UPLOAD)
        self._sending = asyncio.ensure_future(self._request(pipe))
        self._sending.add_done_callback(lambda _: pipe.close())

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._pipe.put(chunk) if self._pipe is not None else None

    def on_connection_close(self) -> None:
        """The browser disconnected. Within a body, Tornado calls no other method."""
        super().on_connection_close()
        sending = self._sending
        if sending is None or self._has_body_arrived:
            return
        if not sending.cancel() and sending.exception() is None:
            self._closing = asyncio.ensure_future(sending.result().aclose())
        self.set_status(0, "Disconnected")
        self.on_finish()

    async def get(self) -> None:
        if not self.target.path:
            self.add_slash()
            return
        try:
            response = await self._response()
        except OutboundFailed as error:
            raise DevelopmentServerUnavailable(error.detail, url=self._url) from error
        try:
            await self._relay(response, self._url, self._target)
        finally:
            await response.aclose()

    head = post = put = patch = delete = options = get

    async def _response(self) -> OutboundStream:
        self._has_body_arrived = True
        if self._pipe is None or self._sending is None:
            return await self._request(None)
        await self._pipe.put(None)
        return await self._sending

    async def _request(self, body: BodyPipe | None) -> OutboundStream:
        headers = self.request.headers
        length = declared_length(headers) if body is not None else None
        return await self.portal.front_ends.development_client.open_stream(
            self.request.method or "GET",
            f"{self._url}{self._target}",
            headers=[("Content-Length", str(length))] if length is not None else [],
            encoded=encode_headers(browser_headers(headers, traced=self.portal.traces is not None)),
            body=body,
            head_timeout=_SECONDS,
            idle_timeout=_IDLE_SECONDS,
        )

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
