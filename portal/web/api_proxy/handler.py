"""`/t/{tenant}/api/{path}`: a tenant's API, called with the login's access token.

Bodies stream both ways with back-pressure: a chunk is read from one side only when the other side has taken
the previous one. A body of up to 64 KB is kept until the response arrives, so that the call can be repeated
when the API rejects the access token.

This is the most used address of the portal, so it bypasses RequestHandler and uses Tornado's connection
interface directly: see docs/decisions/009.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from http.client import responses
from typing import cast

import structlog
from tornado import httputil
from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError

from portal.errors import OutboundFailed, PayloadTooLarge, PortalError, UpstreamTimeout
from portal.outbound.stream import OutboundStream
from portal.outbound.tunnel import Tunnel
from portal.traces import Span, current_span
from portal.web.api_proxy.admission import ApiAddress, ApiRequest, admit
from portal.web.api_proxy.body_pipe import BodyPipe
from portal.web.api_proxy.call_headers import client_of, is_long_body
from portal.web.api_proxy.live_calls import LiveCall
from portal.web.api_proxy.response import ResponseHeaders, api_failure, problem_response
from portal.web.api_proxy.upstream import UpstreamCall
from portal.web.context import Portal
from portal.web.exchange_server import ExchangeServer
from portal.web.problems import log_failure
from portal.web.request_spans import begin_span, end_span
from portal.web.server.client_connection import abort, client_connection
from portal.web.server.request_body import declared_length, has_body
from portal.web.server.request_fields import RequestHeaders
from portal.web.server.tornado_private import close_after_response, remote_address
from portal.web.websocket.direction import TenantShare
from portal.web.websocket.handshake import asks_for_websocket
from portal.web.websocket.serving import ServedSocket, socket_of

_log = structlog.get_logger("portal.proxy")

REPLAYABLE_BYTES = 64 * 1024
_LARGEST_BODY = 1 << 40
_LONGEST_UPLOAD = 86_400.0
"""Seconds."""


class ApiServer(ExchangeServer):
    """Handles the calls to tenants' APIs."""

    def exchange(self, connection: HTTP1Connection, request_id: str) -> httputil.HTTPMessageDelegate:
        return ApiExchange(self._portal, connection, request_id)


class ApiExchange(httputil.HTTPMessageDelegate):
    """One call: from the browser to the API and back."""

    def __init__(self, portal: Portal, connection: HTTP1Connection, request_id: str) -> None:
        self._portal = portal
        self._connection = connection
        self._request_id = request_id
        self._begun = self._ready = time.perf_counter()
        self._responded_at = 0.0
        self._by_api = False
        self._status = 0
        self._body = bytearray()
        self._call: UpstreamCall | None = None
        self._refusal: PortalError | None = None
        self._pipe: BodyPipe | None = None
        self._upload: asyncio.Task[OutboundStream] | None = None
        self._task: asyncio.Task[None] | None = None
        self._close_task: asyncio.Task[None] | None = None
        self._live: LiveCall | None = None
        self._is_socket = False
        """Whether the request asks for a WebSocket."""
        self._socket: ServedSocket | None = None
        self._running = False
        self._complete = False
        self._ends_with_connection = False
        self._disconnected = False
        self._logged = False
        self._span: Span | None = None

    # --- the request

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        """Handle the request head. Without a body, the call starts in `finish`."""
        request = cast(httputil.RequestStartLine, start_line)
        self._method = request.method
        self._path, _, self._query = request.path.partition("?")
        self._address = ApiAddress.of(self._path)
        self._headers = headers
        self._portal.in_flight.begin()
        if self._portal.traces is not None:
            peer = remote_address(self._connection)
            self._span = begin_span(self._portal, peer, headers, self._method, self._request_id)
        if request.version == "HTTP/1.0":
            # HTTP/1.0 has no chunked coding: without a length, closing the connection ends the response.
            close_after_response(self._connection)
            self._ends_with_connection = True
            if headers.get("Connection", "").lower() == "keep-alive" and not isinstance(
                headers, RequestHeaders
            ):
                del headers["Connection"]  # Tornado would promise to keep the connection
        self._connection.set_close_callback(self.on_connection_close)
        if asks_for_websocket(headers):
            self._is_socket = True
            close_after_response(self._connection)  # what follows belongs to no other request
        if not has_body(headers):
            return None
        structlog.contextvars.bind_contextvars(request_id=self._request_id)
        self._connection.set_max_body_size(_LARGEST_BODY)
        # While a body arrives, Tornado notices a disconnect only when it reads.
        self._connection.stream.set_close_callback(self.on_connection_close)
        if not is_long_body(self._headers):
            return None
        self._connection.set_body_timeout(_LONGEST_UPLOAD)
        return self._refuse_early()

    async def _refuse_early(self) -> None:
        """Check a call with a long body before reading it. The check is repeated when the body is sent."""
        try:
            await self._admit()
        except PortalError as error:
            await self._refuse(error)

    async def _refuse(self, error: PortalError) -> None:
        """Refuse a call while its body arrives. A short body is read, so that the connection stays usable."""
        self._refusal = error
        if is_long_body(self._headers):
            self._begin_response()
            await self._wait_for_response()
            if (stream := client_connection(self._connection)) is not None:
                await stream.until_closed()

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Handle a chunk of the body. Tornado awaits the result before it reads on (back-pressure)."""
        if self._task is not None or self._refusal is not None:
            return None
        if self._pipe is not None:
            return self._pipe.room() if self._pipe.offer(chunk) else self._pass_on(self._pipe, chunk)
        self._body.extend(chunk)
        if len(self._body) <= REPLAYABLE_BYTES:
            return None
        return self._begin_upload()

    async def _begin_upload(self) -> None:
        """Start streaming a body that is too long to keep."""
        try:
            call = await self._admit()
            if self._disconnected:
                return
            self._call = self._watched(call)
        except PortalError as error:
            self._body.clear()
            await self._refuse(error)
            return
        self._pipe = BodyPipe(timeout=call.body_timeout, limit=call.api.max_body)
        length = declared_length(self._headers)
        self._upload = asyncio.ensure_future(call.stream(self._pipe, length=length))
        self._upload.add_done_callback(self._upload_ended)
        first, self._body = bytes(self._body), bytearray()
        await self._pass_on(self._pipe, first)

    async def _pass_on(self, pipe: BodyPipe, chunk: bytes) -> None:
        try:
            await pipe.put(chunk)
        except (UpstreamTimeout, PayloadTooLarge) as error:
            if self._upload is not None:
                self._upload.cancel()
            await self._refuse(error)

    def _upload_ended(self, upload: asyncio.Task[OutboundStream]) -> None:
        """The API responded, possibly before it read the whole body: relay its response at once."""
        if self._pipe is not None:
            self._pipe.close()
        if upload.cancelled():
            return
        if not self._disconnected and self._refusal is None:
            self._begin_response()
        elif upload.exception() is None:
            self._close_task = asyncio.ensure_future(self._close_response(upload.result()))

    async def _close_response(self, response: OutboundStream) -> None:
        try:
            await response.aclose()
        except OutboundFailed as error:
            _log.warning("response_not_closed", tenant=self._address.tenant, error=type(error).__name__)

    def finish(self) -> None:
        """Handle the end of the request."""
        self._complete = True
        if self._body:
            self._ready = time.perf_counter()
        if self._connection.stream.closed():
            self.on_connection_close()
            return
        self._begin_response()

    def _begin_response(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _wait_for_response(self) -> None:
        """Stop reading the body until the error response is sent."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    def on_connection_close(self) -> None:
        """The browser disconnected: cancel the call."""
        self._disconnected = True
        self._stop()
        if self._task is None:
            self._done()

    def _stop(self) -> None:
        """End what is in progress at the API."""
        if self._upload is not None and not self._upload.cancel():
            self._upload_ended(self._upload)
        if self._task is not None and self._running:  # cancelled before its first step, it would not run
            self._task.cancel()

    # --- admission

    def _admit(self) -> Awaitable[UpstreamCall]:
        if self._span is not None:
            current_span.set(self._span)
        if self._is_socket:
            self._socket = socket_of(self._connection, self._request_id)
        request = ApiRequest(
            connection=self._connection,
            headers=self._headers,
            method=self._method,
            address=self._address,
            query=self._query,
            request_id=self._request_id,
            handshake=self._socket.handshake if self._socket is not None else None,
        )
        return admit(self._portal, request)

    # --- the end of the login

    def _watched(self, call: UpstreamCall) -> UpstreamCall:
        """Register an admitted call, so that it ends with its login."""
        self._live = self._portal.live_calls.add(
            call.login,
            call.api,
            call.path,
            self._cut,
            tenant=call.tenant,
            client_registration=call.client_registration,
            client=call.client,
        )
        return call

    def _cut(self, error: PortalError) -> None:
        """End the call on both sides: its login or its tenant ended."""
        if self._socket is not None and self._socket.relay is not None:
            self._socket.cut(error)
            return
        if self._status:
            abort(self._connection)
            return
        self._refusal = error
        self._stop()
        self._begin_response()

    # --- the response

    async def _run(self) -> None:
        self._running = True
        structlog.contextvars.bind_contextvars(request_id=self._request_id)
        try:
            if not self._disconnected:
                await self._exchange()
        except asyncio.CancelledError:
            if self._disconnected:
                return
            if self._refusal is None:
                raise
            self._fail(self._refusal)
        except StreamClosedError:
            return  # the browser disconnected
        except Exception as error:  # noqa: BLE001 - no other code can send a response
            self._fail(error)
        finally:
            self._done()

    async def _exchange(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        call = self._call = self._call or self._watched(await self._admit())
        if self._socket is not None:
            with self._portal.sockets.place(*call.place, without_login=call.login is None) as shared:
                await self._send(call, shared)
        else:
            await self._send(call)

    async def _send(self, call: UpstreamCall, shared: TenantShare | None = None) -> None:
        if self._upload is not None and self._pipe is not None:
            await self._pipe.put(None)
            response = await self._upload
        else:
            response = await call.send(bytes(self._body))
        self._by_api = True
        try:
            if self._socket is not None and shared is not None and isinstance(response, Tunnel):
                self._status = response.status
                self._end_span()  # a socket may be open for days
                await self._socket.serve(self._portal.sockets, response, shared)
            else:
                await self._relay(response, call)
        finally:
            await response.aclose()

    async def _relay(self, response: OutboundStream, call: UpstreamCall) -> None:
        headers = ResponseHeaders(call.passed_headers(response, self._address.public_base))
        length = headers.find("content-length")
        if response.status == 204 and length is not None:
            del headers["Content-Length"]  # RFC 9110 8.6: a recipient might wait for the body
            length = None
        if length is not None and length.isdecimal() and int(length) <= REPLAYABLE_BYTES:
            reading = time.perf_counter()
            body = await response.read()
            call.waited += time.perf_counter() - reading
            self._write_head(response.status, headers, body)
        else:
            await self._write_head(response.status, headers)
            async for chunk in response.chunks():
                await self._connection.write(chunk)
        self._connection.finish()

    def _write_head(
        self, status: int, headers: ResponseHeaders, body: bytes | None = None
    ) -> asyncio.Future[None]:
        headers.add("X-Request-Id", self._request_id)
        if self._portal.in_flight.draining or not self._complete:
            headers["Connection"] = "close"
        self._status, self._responded_at = status, time.perf_counter()
        reason = responses.get(status, "Unknown")
        start_line = httputil.ResponseStartLine("HTTP/1.1", status, reason)
        return self._connection.write_headers(start_line, headers, body)

    # --- errors

    def _fail(self, error: Exception) -> None:
        """Send a problem response, or close the connection when a response has begun."""
        if self._status:
            _log.warning("response_broke_off", tenant=self._address.tenant, error=type(error).__name__)
            if self._ends_with_connection:
                abort(self._connection)
            else:
                self._connection.stream.close()
            return
        self._by_api = False
        error = api_failure(error)
        log_failure(error, error.__traceback__, path=self._path)
        shown = error if isinstance(error, PortalError) else PortalError()
        self._portal.metrics.limits.reported(shown, self._address.tenant)
        headers, body = problem_response(shown, request_id=self._request_id, slug=self._address.tenant)
        self._write_head(shown.status, headers, None if self._method == "HEAD" else body)
        self._connection.finish()

    def _done(self) -> None:
        if self._logged:
            return
        self._logged = True
        self._portal.in_flight.end()
        if self._live is not None:
            self._portal.live_calls.remove(self._live)
            self._live = None  # it refers to this object
        if (calls := self._portal.metrics.calls) is not None:
            took = self._responded_at - self._ready if self._by_api and self._upload is None else 0.0
            waited = self._call.waited if self._call is not None else 0.0
            calls.ended(self._address.tenant, self._status, by_api=self._by_api, took=took, waited=waited)
        self._end_span()
        self._portal.access_log.write(
            method=self._method,
            path=self._path,
            status=self._status,
            milliseconds=round((time.perf_counter() - self._begun) * 1000, 1),
            client=client_of(self._connection, self._headers, self._portal.settings.trusted_proxies),
            request_id=self._request_id,
            socket_bytes=self._socket.passed if self._socket is not None else None,
        )

    def _end_span(self) -> None:
        if self._span is not None:
            address = self._address
            end_span(self._portal, self._span, self._status, route=address.route, tenant=address.tenant)
