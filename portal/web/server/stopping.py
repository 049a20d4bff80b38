"""How an HTTP server stops without cutting a request."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from tornado import httputil
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer

from portal.ops.sockets import are_waiting
from portal.web.server.tornado_private import has_begun

_TICK = 0.01
_LONGEST_ACCEPT = 2.0
"""Seconds for which waiting connections are accepted when the server stops."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a stop waits: for connections that are being made, and for requests on open ones."""

    handshake: float = 0.0
    request: float = 0.0


class RequestsInFlight:
    """Counts requests between their beginning and their end, and knows whether the portal is stopping."""

    def __init__(self) -> None:
        self.count = 0
        self.draining = False
        """Set when the portal stops: every response then ends its connection."""

    def begin(self) -> None:
        self.count += 1

    def end(self) -> None:
        self.count -= 1


class GracefulServer(HTTPServer):
    """Tornado's server, which knows the connections that wait for a request.

    Stopping: `accept_waiting`, then `stop`, `drain` and `close_all_connections`.
    """

    def initialize(self, *arguments: object, **options: object) -> None:
        self._exchanges: dict[object, HTTP1Connection] = {}
        super().initialize(*arguments, **options)  # type: ignore[arg-type]

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """A connection is new, or its last response is complete."""
        self._exchanges[server_conn] = cast(HTTP1Connection, request_conn)
        return super().start_request(server_conn, request_conn)

    def on_close(self, server_conn: object) -> None:
        self._exchanges.pop(server_conn, None)
        super().on_close(server_conn)

    @property
    def in_flight(self) -> int:
        """Connections on which a request has begun whose response is not complete."""
        return sum(1 for exchange in self._exchanges.values() if has_begun(exchange))

    async def drain(self, *, quiet: float, longest: float) -> bool:
        """Wait at most `longest` seconds until every response is complete; return whether that is so.

        A connection on which no request comes within `quiet` seconds is closed: a request that is on its way
        when the stop begins still gets its response.
        """
        begun = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(_TICK)  # also for connections that were accepted a moment ago
            waited = asyncio.get_running_loop().time() - begun
            if waited >= quiet:
                self._close_unused()
            if not self._exchanges or waited >= longest:
                return not self.in_flight

    def _close_unused(self) -> None:
        """Close connections on which no request has begun, unless bytes of one have just arrived."""
        unused = {
            exchange.stream.socket.fileno(): exchange
            for exchange in self._exchanges.values()
            if not exchange.stream.closed() and not has_begun(exchange)
        }
        poll = select.poll()
        for descriptor in unused:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(0):
            del unused[descriptor]
        for exchange in unused.values():
            exchange.stream.close()


async def accept_waiting(sockets: Sequence[socket.socket], *, linger: float) -> None:
    """Wait until the connections that wait at the listening sockets are accepted; close the sockets then.

    Call `refuse_new_connections` before. Parameters: linger, seconds for the handshakes that have begun.
    """
    end = asyncio.get_running_loop().time() + _LONGEST_ACCEPT
    await asyncio.sleep(linger)
    while are_waiting(sockets):
        await asyncio.sleep(0)
        if asyncio.get_running_loop().time() >= end:
            return
