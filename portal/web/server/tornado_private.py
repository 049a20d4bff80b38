"""The only module that uses private attributes of Tornado. tests/unit/test_private_attributes.py detects
changes."""

from __future__ import annotations

from typing import cast

from tornado import httputil
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import _HTTPRequestContext

from portal.web.server.http_exchange import HttpExchange


def close_after_response(connection: httputil.HTTPConnection) -> None:
    """Close the connection after the response to the current request has been written."""
    if isinstance(connection, HttpExchange):
        connection.close_after_response()
    else:
        cast(HTTP1Connection, connection)._disconnect_on_finish = True


def remote_address(connection: HTTP1Connection) -> str:
    """The IP address at the other end of a connection."""
    address: str = cast(_HTTPRequestContext, connection.context).remote_ip
    return address


def has_begun(exchange: HTTP1Connection) -> bool:
    """Whether a request, or a part of its head, has arrived since the last response."""
    return exchange._request_start_line is not None or exchange.stream._read_buffer_size > 0
