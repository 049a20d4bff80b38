"""Dispatches each request: API calls to the API proxy, questions of reverse proxies to forward
authentication, everything else to the Tornado application.

Tornado's router makes a complete request object before it selects a handler; the first two do not need one.
See docs/decisions/009.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import cast

from tornado import httputil
from tornado.http1connection import HTTP1Connection

from portal.web.server.client_stream import client_stream
from portal.web.server.http_exchange import HttpExchange
from portal.web.server.refused_request import RefusedRequest, ShortResponse
from portal.web.server.request_body import BodyRules, BoundedBody, has_body
from portal.web.server.request_fields import RequestHeaders

Refuse = Callable[[str, str, httputil.HTTPHeaders, HTTP1Connection], ShortResponse | None]
"""Returns the response to a request that gets no handler. Its parameters: method, path without the query,
headers, connection."""
_HOST = re.compile(r"[A-Za-z0-9.\-]+(?::[0-9]+)?|\[[0-9A-Fa-f:.]+\](?::[0-9]+)?")


class Dispatcher(httputil.HTTPServerConnectionDelegate):
    """Passes a request to `api` or `authz` when its target matches `api_target` or `authz_target`, else to
    `application`.

    Parameters: bodies, the limits for request bodies of the application; refuse, which requests of it get a
    response from the head alone.
    """

    def __init__(
        self,
        *,
        api_target: re.Pattern[str],
        api: httputil.HTTPServerConnectionDelegate,
        authz_target: re.Pattern[str],
        authz: httputil.HTTPServerConnectionDelegate,
        application: httputil.HTTPServerConnectionDelegate,
        bodies: BodyRules,
        refuse: Refuse = lambda method, path, headers, connection: None,
    ) -> None:
        self._refuse = refuse
        self._bodies = bodies
        self._api_target = api_target
        self._api = api
        self._authz_target = authz_target
        self._authz = authz
        self._application = application

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        if isinstance(request_conn, HttpExchange):  # its head has arrived
            head = request_conn.head
            server = self.delegate_for(head.start_line.path, head.headers)
            if server is self._api or (server is self._authz and not has_body(head.headers)):
                return server.start_request(server_conn, request_conn)
        elif (stream := client_stream(request_conn)) is not None:
            stream.await_request()
        return _PendingRequest(self, server_conn, request_conn)

    def on_close(self, server_conn: object) -> None:
        """Report a closed connection to the application."""
        self._application.on_close(server_conn)

    def delegate_for(
        self, target: str, headers: httputil.HTTPHeaders
    ) -> httputil.HTTPServerConnectionDelegate:
        """Return the server that handles a request with this target and headers."""
        if self._api_target.fullmatch(target):
            server = self._api
        elif self._authz_target.fullmatch(target):
            server = self._authz
        else:
            return self._application
        return server if _has_valid_host(headers) else self._application

    def begin(
        self,
        server_conn: object,
        request_conn: httputil.HTTPConnection,
        start_line: httputil.RequestStartLine,
        headers: httputil.HTTPHeaders,
    ) -> httputil.HTTPMessageDelegate:
        """Return the delegate for a request whose head arrived."""
        server = self.delegate_for(start_line.path, headers)
        path = start_line.path.partition("?")[0]
        body = has_body(headers)
        if (stream := client_stream(request_conn)) is not None:
            stream.begin_request(body=body)
        if server is self._application:
            connection = cast(HTTP1Connection, request_conn)
            response = self._refuse(start_line.method, path, headers, connection)
            if response is not None:
                return RefusedRequest(request_conn, response)
        delegate = server.start_request(server_conn, request_conn)
        if not body or server is self._api or self._bodies.find(path).streamed:
            return delegate
        return BoundedBody(delegate, request_conn, self._bodies)


class _PendingRequest(httputil.HTTPMessageDelegate):
    """A request whose head has not arrived yet. After the head, it forwards to the selected delegate."""

    def __init__(
        self, dispatcher: Dispatcher, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> None:
        self._dispatcher = dispatcher
        self._delegate: httputil.HTTPMessageDelegate = self
        self._server_conn = server_conn
        self._request_conn = request_conn

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        if isinstance(self._request_conn, HttpExchange):
            headers = self._request_conn.head.all_headers()  # the application may change them
        request = cast(httputil.RequestStartLine, start_line)
        self._delegate = self._dispatcher.begin(self._server_conn, self._request_conn, request, headers)
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        if (stream := client_stream(self._request_conn)) is not None:
            stream.body_incomplete = False
        self._delegate.finish()

    def on_connection_close(self) -> None:
        if self._delegate is not self:
            self._delegate.on_connection_close()


def _has_valid_host(headers: httputil.HTTPHeaders) -> bool:
    """RFC 9112 3.2: a request without exactly one valid Host is an error, which the application reports."""
    if isinstance(headers, RequestHeaders):
        known: bool | None = headers.derived.get(_has_valid_host)
        if known is not None:
            return known
    hosts = headers.get_list("Host")
    found = len(hosts) == 1 and _HOST.fullmatch(hosts[0]) is not None
    if isinstance(headers, RequestHeaders):
        headers.derived[_has_valid_host] = found
    return found
