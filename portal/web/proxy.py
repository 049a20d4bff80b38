"""`/t/{tenant}/api/{path}`: a tenant's API, called with the login's access token.

Bodies stream both ways with back-pressure: a chunk is read from one side only when the other has taken the
one before. A body of up to 64 KB is kept until the answer is there, so that the call can be made once more
when the API refuses the access token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast
from urllib.parse import urlencode

import structlog
from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError
from tornado.web import stream_request_body

from portal.errors import (
    CrossSiteRequest,
    LoginRequired,
    NotFound,
    OutboundFailed,
    PortalError,
    RefreshRejected,
    UpstreamUnavailable,
)
from portal.oidc.http import OutboundStream
from portal.tenancy.model import Api, Tenant
from portal.web.base import PortalHandler
from portal.web.origin import CSRF_HEADER, Origin, origin_of
from portal.web.proxy_rules import ANSWER_HEADERS, answer_headers, target_url
from portal.web.upstream import UpstreamCall

_log = structlog.get_logger("portal.proxy")

REPLAYABLE_BYTES = 64 * 1024
_LARGEST_BODY = 1 << 40
_DRAINED_BYTES = 1024 * 1024
"""A body up to this size is read to its end before a refusal is sent, so that the connection stays usable."""


class BodyPipe:
    """Hands a request body on, chunk by chunk; holds one chunk at most."""

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._closed = asyncio.Event()

    async def put(self, chunk: bytes | None) -> None:
        """Wait until the reader has room. None ends the body. What comes after `close` is dropped."""
        if self._closed.is_set():
            return
        put = asyncio.ensure_future(self._chunks.put(chunk))
        closed = asyncio.ensure_future(self._closed.wait())
        await asyncio.wait((put, closed), return_when=asyncio.FIRST_COMPLETED)
        put.cancel()
        closed.cancel()

    def close(self) -> None:
        """The reader has gone."""
        self._closed.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        while (chunk := await self._chunks.get()) is not None:
            yield chunk


@stream_request_body
class ApiHandler(PortalHandler):
    """Passes a call to the tenant's API and its answer back, as data."""

    _tenant: Tenant
    _api: Api
    _call: UpstreamCall
    _public_base: str
    _target: str
    _body: bytearray
    _pipe: BodyPipe | None = None
    _exchange: asyncio.Task[OutboundStream] | None = None
    _passing: asyncio.Task[object] | None = None
    _refusal: PortalError | None = None
    _gone = False

    def set_default_headers(self) -> None:
        """Only what is not replaced by ANSWER_HEADERS: this is the busiest address of the portal."""
        self.name_request()

    def require_own_origin(self) -> None:
        """Handled for every method by prepare."""

    async def prepare(self) -> None:
        self._body = bytearray()
        cast(HTTP1Connection, self.request.connection).set_max_body_size(_LARGEST_BODY)
        try:
            await self._admit()
        except PortalError as error:
            if self._body_is_long():
                raise
            # Tornado breaks the connection when an answer comes before the body was read: answer later.
            self._refusal = error

    def _body_is_long(self) -> bool:
        length = self.request.headers.get("Content-Length", "0")
        chunked = "Transfer-Encoding" in self.request.headers
        return chunked or not length.isdecimal() or int(length) > _DRAINED_BYTES

    async def _admit(self) -> None:
        self.begin()
        self._require_portal_call()
        slug = self.path_kwargs["tenant"]
        self._tenant = self.tenant(slug)
        if self._tenant.api is None:
            raise NotFound(f"tenant {slug} has no API")
        self._api = self._tenant.api
        self._public_base = f"/t/{slug}/api"
        self._target = target_url(
            self._api.base_url, self.request.path.removeprefix(self._public_base), self.request.query
        )
        visit = await self.find_visit(slug)
        if visit is None or visit.login is None:
            raise LoginRequired("no live login at this tenant in this session")
        self._call = UpstreamCall(
            self.portal,
            visit.login,
            method=self.request.method or "GET",
            target=self._target,
            headers=self.request.headers,
            request_id=self.request_id,
        )

    def _require_portal_call(self) -> None:
        headers = self.request.headers
        if origin_of(headers, self.site.origin) is not Origin.SAME:
            raise CrossSiteRequest("an API call needs the portal's own origin")
        if headers.get(CSRF_HEADER) != "1":
            raise CrossSiteRequest(f"an API call needs the header {CSRF_HEADER}: 1")

    # --- the request's body

    async def data_received(self, chunk: bytes) -> None:
        if self._refusal is not None:
            return
        if self._pipe is not None:
            await self._pipe.put(chunk)
            return
        self._body.extend(chunk)
        if len(self._body) <= REPLAYABLE_BYTES:
            return
        self._pipe = BodyPipe()
        length = self.request.headers.get("Content-Length")
        self._exchange = asyncio.ensure_future(
            self._call.stream(self._pipe.chunks(), length=int(length) if length else None)
        )
        self._exchange.add_done_callback(self._upload_ended)
        first, self._body = bytes(self._body), bytearray()
        await self._pipe.put(first)

    def _upload_ended(self, exchange: asyncio.Task[OutboundStream]) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if not exchange.cancelled():
            exchange.exception()

    # --- the answer

    async def _pass(self, tenant: str) -> None:
        if self._refusal is not None:
            raise self._refusal
        if self._browser_left():
            return
        self._passing = asyncio.current_task()
        try:
            await self._exchange_and_relay()
        except asyncio.CancelledError:
            if not self._browser_left() or self._passing is None:
                raise
            self._passing.uncancel()
        except (OutboundFailed, StreamClosedError) as error:
            if not self._headers_written:
                raise UpstreamUnavailable("the API's answer broke off") from error
            self._abort(error)

    get = head = post = put = patch = delete = options = _pass

    async def _exchange_and_relay(self) -> None:
        if self._pipe is not None and self._exchange is not None:
            await self._pipe.put(None)
            answer = await self._exchange
        else:
            answer = await self._call.send(bytes(self._body))
        try:
            await self._answer(answer)
        finally:
            await answer.aclose()

    async def _answer(self, answer: OutboundStream) -> None:
        self.set_status(answer.status, answer.reason or None)
        self.clear_header("Content-Type")
        headers = answer_headers(
            answer.headers, target=self._target, base_url=self._api.base_url, public_base=self._public_base
        )
        for name, value in headers:
            self._headers.add(name, value)
        if self.request.method == "HEAD" or answer.status in {204, 304}:
            self.finish()
            return
        length = self._headers.get("Content-Length", "")
        if length.isdecimal() and int(length) <= REPLAYABLE_BYTES:
            self.finish(b"".join([chunk async for chunk in answer.chunks()]))
            return
        await self.flush()
        async for chunk in answer.chunks():
            self.write(chunk)
            await self.flush()
        self.finish()

    def _abort(self, error: Exception) -> None:
        """Break the connection: an answer that broke off must not look complete."""
        _log.warning("answer_broke_off", tenant=self._tenant.slug, error=type(error).__name__)
        self._auto_finish = False
        self.on_finish()
        cast(HTTP1Connection, self.request.connection).stream.close()

    def _browser_left(self) -> bool:
        return self._gone

    def on_connection_close(self) -> None:
        """The browser has gone: nothing is fetched for it any more."""
        self._gone = True
        if self._pipe is not None:
            self._pipe.close()
        for task in (self._exchange, self._passing):
            if task is not None:
                task.cancel()

    # --- errors

    def render_error(self, error: PortalError) -> None:
        for name, value in ANSWER_HEADERS:
            self.set_header(name, value)
        if self._refusal is None and self._body_is_long():
            self.set_header("Connection", "close")
        super().render_error(error)

    def problem(self, error: PortalError) -> dict[str, object]:
        problem = super().problem(error)
        if isinstance(error, LoginRequired | RefreshRejected):
            slug = self.path_kwargs["tenant"]
            back = urlencode({"return_to": f"/t/{slug}/"})
            problem["login_url"] = f"/t/{slug}/login?{back}"
        return problem
