"""`GET /t/{tenant}/authz`: a reverse proxy asks whether a request to an application may pass.

Proxies ask before each request to an application, so this bypasses RequestHandler as calls of APIs do: see
docs/decisions/009 and docs/decisions/086.
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

from portal.errors import PortalError
from portal.traces import Span, current_span
from portal.web.api_proxy.call_headers import client_of
from portal.web.api_proxy.response import ResponseHeaders
from portal.web.context import Portal
from portal.web.exchange_server import ExchangeServer
from portal.web.forward_auth.decision import Question, allow, read_question
from portal.web.forward_auth.original_request import AuthzAddress
from portal.web.forward_auth.response import allowed_response, refused_response
from portal.web.problems import log_failure
from portal.web.request_spans import begin_span, end_span
from portal.web.server.request_body import refusal_of
from portal.web.server.tornado_private import remote_address

_ROUTE = "/t/{tenant}/authz"


class AuthzServer(ExchangeServer):
    """Handles the questions of reverse proxies."""

    def exchange(self, connection: HTTP1Connection, request_id: str) -> httputil.HTTPMessageDelegate:
        return AuthzExchange(self._portal, connection, request_id)


class AuthzExchange(httputil.HTTPMessageDelegate):
    """One question and its answer. A body is read and ignored."""

    def __init__(self, portal: Portal, connection: HTTP1Connection, request_id: str) -> None:
        self._portal = portal
        self._connection = connection
        self._request_id = request_id
        self._begun = time.perf_counter()
        self._status = 0
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        self._span: Span | None = None
        self._decided = False

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        request = cast(httputil.RequestStartLine, start_line)
        self._method = request.method
        self._address = AuthzAddress.of(request.path)
        self._headers = headers
        self._portal.in_flight.begin()
        if self._portal.traces is not None:
            self._span = begin_span(
                self._portal, remote_address(self._connection), headers, self._method, self._request_id
            )
        self._connection.set_close_callback(self.on_connection_close)
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return None

    def finish(self) -> None:
        """Handle the end of the request."""
        if self._connection.stream.closed():
            self._done()
        else:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def on_connection_close(self) -> None:
        """The proxy disconnected."""
        if self._task is not None:
            self._task.cancel()
        self._done()

    async def _run(self) -> None:
        structlog.contextvars.bind_contextvars(request_id=self._request_id)
        if self._span is not None:
            current_span.set(self._span)
        question: Question | None = None
        try:
            question = self._question()
            self._write(200, allowed_response(await allow(self._portal, question)))
            self._decided = True
            self._portal.metrics.forward_auth.allowed(self._address.tenant)
        except StreamClosedError:
            pass  # the proxy disconnected
        except Exception as error:  # noqa: BLE001 - no other code can send a response
            self._refuse(error, question)
        finally:
            self._done()

    def _question(self) -> Question:
        if (refusal := refusal_of(self._connection)) is not None:  # of a long body
            raise refusal
        return read_question(
            self._portal, self._connection, self._headers, method=self._method, address=self._address
        )

    def _refuse(self, error: Exception, question: Question | None) -> None:
        if self._status:
            self._connection.stream.close()  # the response cannot be completed
        log_failure(error, error.__traceback__, path=self._address.path)
        if self._status:
            return
        shown = error if isinstance(error, PortalError) else PortalError()
        self._decided = True
        self._portal.metrics.forward_auth.refused(self._address.tenant, shown)
        status, headers, body = refused_response(
            shown,
            question,
            request_id=self._request_id,
            belongs_to_other=self._portal.front_ends.belongs_to_other,
        )
        self._write(status, headers, None if self._method == "HEAD" else body)

    def _write(self, status: int, headers: ResponseHeaders, body: bytes | None = None) -> None:
        headers.add("X-Request-Id", self._request_id)
        if self._portal.in_flight.draining:
            headers["Connection"] = "close"
        self._status = status
        start_line = httputil.ResponseStartLine("HTTP/1.1", status, responses[status])
        self._connection.write_headers(start_line, headers, body)
        self._connection.finish()

    def _done(self) -> None:
        if self._ended:
            return
        self._ended = True
        if not self._decided:
            self._portal.metrics.forward_auth.aborted(self._address.tenant)
        self._portal.in_flight.end()
        if self._span is not None:
            end_span(self._portal, self._span, self._status, route=_ROUTE, tenant=self._address.tenant)
        self._portal.access_log.write(
            method=self._method,
            path=self._address.path,
            status=self._status,
            milliseconds=round((time.perf_counter() - self._begun) * 1000, 1),
            client=client_of(self._connection, self._headers, self._portal.settings.trusted_proxies),
            request_id=self._request_id,
        )
