"""Stops an HTTP server without interrupting requests."""

from __future__ import annotations

import asyncio
import select
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from tornado import httputil
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

from portal.ops.sockets import are_waiting
from portal.web.server.client_connection import ClientConnection
from portal.web.server.tornado_private import has_begun

_TICK = 0.01
_LONGEST_ACCEPT = 2.0
"""Seconds for which queued connections are accepted when the server stops."""


@dataclass(frozen=True, slots=True)
class StopDelays:
    """Seconds that a stop waits for TCP handshakes, and for requests on open connections."""

    handshake: float = 0.0
    request: float = 0.0


class RequestsInFlight:
    """Counts requests in progress, and knows whether the portal is stopping."""

    def __init__(self) -> None:
        self.count = 0
        self.draining = False
        """Set when the portal stops: every response then closes its connection."""

    def begin(self) -> None:
        self.count += 1

    def end(self) -> None:
        self.count -= 1


class GracefulStop(ABC):
    """A server that can stop without interrupting requests.

    Stopping: `accept_waiting`, then `stop`, `drain` and `close_all_connections`.
    """

    @abstractmethod
    def exchanges(self) -> Iterable[tuple[ClientConnection | IOStream, bool]]:
        """The open connections, and whether a request, or a part of its head, has arrived on each."""

    @property
    def in_flight(self) -> int:
        """Number of connections with a request whose response is not complete."""
        return sum(has_request for _, has_request in self.exchanges())

    async def drain(self, *, quiet: float, longest: float) -> bool:
        """Wait at most `longest` seconds until every response is complete; return whether all are.

        A connection without a request within `quiet` seconds is closed. So a request that is in transit when
        the stop begins still gets its response.
        """
        begun = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(_TICK)  # also lets just accepted connections start
            waited = asyncio.get_running_loop().time() - begun
            if waited >= quiet:
                self._close_unused()
            if waited >= longest or not any(True for _ in self.exchanges()):
                return not self.in_flight

    def _close_unused(self) -> None:
        """Close connections without a request, unless bytes of a request have just arrived."""
        unused = {
            stream.socket.fileno(): stream
            for stream, has_request in self.exchanges()
            if not has_request and not stream.closed()
        }
        poll = select.poll()
        for descriptor in unused:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(0):
            del unused[descriptor]
        for stream in unused.values():
            stream.close()


class GracefulServer(HTTPServer, GracefulStop):
    """Tornado's server, extended to track connections that wait for a request."""

    def initialize(self, *arguments: object, **options: object) -> None:
        self._exchanges: dict[object, HTTP1Connection] = {}
        super().initialize(*arguments, **options)  # type: ignore[arg-type]

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Handle a new connection, or the next request after a complete response."""
        self._exchanges[server_conn] = cast(HTTP1Connection, request_conn)
        return super().start_request(server_conn, request_conn)

    def on_close(self, server_conn: object) -> None:
        self._exchanges.pop(server_conn, None)
        super().on_close(server_conn)

    def exchanges(self) -> Iterable[tuple[ClientConnection | IOStream, bool]]:
        return [(exchange.stream, has_begun(exchange)) for exchange in self._exchanges.values()]


async def accept_waiting(sockets: Sequence[socket.socket], *, linger: float) -> None:
    """Wait until the queued connections of the listening sockets are accepted, so that these can be closed.

    Call `refuse_new_connections` first. Parameters: linger, seconds to wait for started handshakes.
    """
    end = asyncio.get_running_loop().time() + _LONGEST_ACCEPT
    await asyncio.sleep(linger)
    while are_waiting(sockets):
        await asyncio.sleep(0)
        if asyncio.get_running_loop().time() >= end:
            return
