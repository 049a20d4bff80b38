"""A request that gets a short response from its head alone, without a handler."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from http.client import responses
from typing import NamedTuple

from tornado import httputil

from portal.web.server.client_connection import client_connection
from portal.web.server.request_body import has_body
from portal.web.server.tornado_private import close_after_response


class ShortResponse(NamedTuple):
    """A whole response."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    """Empty for HEAD."""
    length: int
    """Bytes of the body, also for HEAD (RFC 9110 8.6)."""


class RefusedRequest(httputil.HTTPMessageDelegate):
    """Sends a response to a request. A body is not read: the connection closes instead."""

    def __init__(self, connection: httputil.HTTPConnection, response: ShortResponse) -> None:
        self._connection = connection
        self._response = response
        self._has_responded = False

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        if not has_body(headers):
            return None
        close_after_response(self._connection)
        self._respond()
        return self._stop_reading()

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._stop_reading()

    def finish(self) -> None:
        if not self._has_responded:
            self._respond()

    def _stop_reading(self) -> Awaitable[None] | None:
        stream = client_connection(self._connection)
        return None if stream is None else stream.until_closed()

    def _respond(self) -> None:
        self._has_responded = True
        status, pairs, body, length = self._response
        fields = httputil.HTTPHeaders()
        for name, value in pairs:
            fields.add(name, value)
        fields["Content-Length"] = str(length)
        start_line = httputil.ResponseStartLine("HTTP/1.1", status, responses[status])
        self._connection.write_headers(start_line, fields, body)
        self._connection.finish()
