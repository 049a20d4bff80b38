"""The portal's own HTTP/1.1 server: the connections of its clients, and how it stops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

from tornado import httputil

from portal.time_slices import in_slices
from portal.web.server.client_connection import ClientConnection
from portal.web.server.http_connection import HttpConnection
from portal.web.server.http_exchange import ClientContext, RequestLimits
from portal.web.server.lingering import LingeringConnections
from portal.web.server.request_fields import FieldsCache
from portal.web.server.stopping import GracefulStop


class HttpServer(GracefulStop):
    """Serves connections that ConnectionServer accepted.

    Parameters: requests, which gets each request.
    """

    def __init__(self, requests: httputil.HTTPServerConnectionDelegate, limits: RequestLimits) -> None:
        self._requests = requests
        self._limits = limits
        self._fields = FieldsCache()
        self._connections: set[HttpConnection] = set()
        self._starting: set[asyncio.Future[Any]] = set()

    def connect(
        self,
        connection: socket.socket,
        address: Any,
        *,
        lingering: LingeringConnections,
        closed: Callable[[], None],
    ) -> HttpConnection:
        """Serve an accepted socket; call `closed` when it is closed."""

        def on_closed() -> None:
            closed()
            self._connections.discard(made)
            self._requests.on_close(made)

        # A client at a Unix socket has no address; Tornado uses the same one.
        has_address = connection.family in (socket.AF_INET, socket.AF_INET6)
        context = ClientContext(address[0] if has_address else "0.0.0.0")  # noqa: S104
        made = HttpConnection(
            connection,
            context,
            self._requests,
            self._limits,
            self._fields,
            lingering=lingering,
            closed=on_closed,
        )
        self._connections.add(made)
        connection.setblocking(False)
        starting = asyncio.ensure_future(
            asyncio.get_running_loop().connect_accepted_socket(lambda: made, connection)
        )
        self._starting.add(starting)
        starting.add_done_callback(lambda _: self._started(starting, made))
        return made

    def _started(self, starting: asyncio.Future[Any], made: HttpConnection) -> None:
        self._starting.discard(starting)
        if starting.cancelled() or starting.exception() is not None:
            made.close()
            made.socket.close()

    def exchanges(self) -> Iterator[tuple[ClientConnection, bool]]:
        for connection in self._connections:
            if not connection.closed():  # a closed one may linger
                yield connection, connection.has_begun

    async def close_all_connections(self) -> None:
        """Close every connection now."""
        async for connection in in_slices(list(self._connections)):
            connection.close()
        await asyncio.sleep(0)  # handlers learn of it
