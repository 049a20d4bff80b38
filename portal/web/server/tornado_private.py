"""The only module that uses what Tornado keeps private. tests/unit/test_private_attributes.py notices
changes."""

from __future__ import annotations

from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.httpserver import _HTTPRequestContext


def close_after_response(connection: HTTP1Connection) -> None:
    """Close the connection when the response to the request under way has been written."""
    connection._disconnect_on_finish = True


def remote_address(connection: HTTP1Connection) -> str:
    """The IP address at the other end of a connection."""
    address: str = cast(_HTTPRequestContext, connection.context).remote_ip
    return address


def has_begun(exchange: HTTP1Connection) -> bool:
    """Whether a request has come on a connection since its last response, or a part of its head."""
    return exchange._request_start_line is not None or exchange.stream._read_buffer_size > 0
