"""Accepts client connections up to a limit, and closes connections that make no progress.

A process without free file descriptors can neither accept nor refuse a connection, so it stops accepting
before that: further clients wait in the kernel's queue, or another process accepts them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from functools import partial
from typing import Any

import structlog
from tornado.httpserver import HTTPServer

from portal.ops.limit_metrics import Limit
from portal.ops.metrics import Metrics
from portal.ops.worker_loads import WorkerLoad
from portal.time_slices import in_slices
from portal.web.client_address import client_network
from portal.web.server.client_connection import ClientConnection
from portal.web.server.client_shares import ClientShares
from portal.web.server.client_stream import ClientStream
from portal.web.server.http_server import HttpServer
from portal.web.server.lingering import LingeringConnections

_log = structlog.get_logger("portal.connections")

_ACCEPTED_AT_ONCE = 32
_LEFT_TO_OTHERS = 0.003
"""Seconds for which a worker leaves new connections to one that has fewer."""
_TAKEN_AFTER_THAT = 4
"""Connections that it accepts then, if they still wait: the other worker may be busy."""
_CHECK_SECONDS = 1.0
_IDLE_SECONDS = 5.0
"""A connection that is idle for this time is closed when the limit is reached."""
_SILENT_SECONDS = 1.0
"""The same for a connection that has never sent a request."""
_REPORT_SECONDS = 60.0
_LINGER_AT_STOP = 2.0


class ConnectionServer:
    """Accepts at most `most` connections at a time for a server. Has the interface of HTTPServer.

    Parameters: load, where it reports its connections to other workers; shares, how many connections each
    client may have; None: as many as there are.
    """

    def __init__(
        self,
        server: HTTPServer | HttpServer,
        *,
        most: int,
        metrics: Metrics,
        load: WorkerLoad | None = None,
        shares: ClientShares | None = None,
    ) -> None:
        self._server = server
        self._shares = shares
        self._most = most
        self._resume_at = most - max(1, most // 20)
        self._metrics = metrics
        self._load = load
        self._later: asyncio.TimerHandle | None = None
        self._listeners: list[socket.socket] = []
        self._streams: set[ClientConnection] = set()
        self._lingering = LingeringConnections()
        self._open = 0
        self._accepting = False
        self._retry_at: float | None = None
        self._reported_at = float("-inf")
        self._refused = 0
        """Connections since the last line of the log."""
        self._refused_at = float("-inf")
        self._watching: asyncio.Task[None] | None = None

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections on these listening sockets."""
        self._loop = asyncio.get_running_loop()
        self._listeners += sockets
        self._report_load()
        self._resume()
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    def accept_everything(self) -> None:
        """Leave no connection to other workers from now on: they are stopping too."""
        if self._load is not None:
            self._load.end()
            self._load = None

    def stop(self) -> None:
        """Accept no more connections; current requests continue."""
        self.accept_everything()
        if self._later is not None:
            self._later.cancel()
        self._pause()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    async def close_all_connections(self) -> None:
        """Close every connection, after a short time for clients to read their responses."""
        if self._watching is not None:
            self._watching.cancel()
        await self._server.close_all_connections()
        await self._lingering.drain(_LINGER_AT_STOP)

    # --- accepting

    def _accept(self, listener: socket.socket, at_least: int = 0) -> None:
        for accepted in range(_ACCEPTED_AT_ONCE):
            if self._open >= self._most:
                self._pause()
                self._report_pause("the limit is reached (limits.connections)")
                return
            if accepted >= at_least and self._load is not None and self._load.is_above(self._open):
                self._leave_to_others()
                return
            try:
                connection, address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # EMFILE, ENFILE, ENOBUFS, ENOMEM: an immediate retry would busy-loop
                self._pause()
                self._retry_at = self._loop.time() + _CHECK_SECONDS
                self._report_pause(error.strerror or "the system has no free resources")
                return
            self._serve(connection, address)

    def _leave_to_others(self) -> None:
        """Stop accepting for a moment; then accept some of what nobody else has accepted."""
        self._pause()
        if self._later is not None:
            self._later.cancel()
        self._later = self._loop.call_later(_LEFT_TO_OTHERS, self._accept_the_rest)

    def _accept_the_rest(self) -> None:
        self._later = None
        if self._accepting or self._retry_at is not None:
            return
        self._resume()
        for listener in list(self._listeners):
            self._accept(listener, at_least=_TAKEN_AFTER_THAT)

    def _report_load(self) -> None:
        if self._load is not None:
            self._load.report(self._open)

    def _serve(self, connection: socket.socket, address: Any) -> None:
        has_address = connection.family in (socket.AF_INET, socket.AF_INET6)
        shares = self._shares
        client = shares.client(address[0]) if has_address and shares is not None else ""
        if client and shares is not None:
            if not shares.has_place(client):
                connection.close()
                self._report_refusal(client)
                return
            shares.add(client)
        self._open += 1
        self._report_load()
        self._metrics.connections.inc()
        if isinstance(self._server, HttpServer):
            made = self._server.connect(
                connection, address, lingering=self._lingering, closed=partial(self._closed, client)
            )
            made.counted_client = client
            self._streams.add(made)
            return
        stream = ClientStream(
            connection,
            lingering=self._lingering,
            closed=partial(self._closed, client),
            max_buffer_size=self._server.max_buffer_size,
            read_chunk_size=self._server.read_chunk_size,
        )
        stream.counted_client = client
        self._streams.add(stream)
        self._server.handle_stream(stream, address)

    def _closed(self, client: str) -> None:
        if client and self._shares is not None:
            self._shares.remove(client)
        self._open -= 1
        self._report_load()
        self._metrics.connections.dec()
        if self._is_paused_by_limit and self._open <= self._resume_at:
            self._resume()

    @property
    def _is_paused_by_limit(self) -> bool:
        return not self._accepting and self._retry_at is None and self._later is None

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            for listener in self._listeners:
                self._loop.remove_reader(listener)

    def _resume(self) -> None:
        self._retry_at = None
        self._accepting = bool(self._listeners)
        for listener in self._listeners:
            self._loop.add_reader(listener, self._accept, listener)

    def _report_pause(self, reason: str) -> None:
        self._metrics.accept_pauses.inc()
        self._metrics.limits.hit(Limit.CONNECTIONS)
        if self._loop.time() - self._reported_at >= _REPORT_SECONDS:
            self._reported_at = self._loop.time()
            _log.warning("accepting_paused", connections=self._open, reason=reason)

    def _report_refusal(self, client: str) -> None:
        self._metrics.limits.hit(Limit.CONNECTIONS_PER_CLIENT)
        self._refused += 1
        if self._loop.time() - self._refused_at >= _REPORT_SECONDS:
            self._refused_at = self._loop.time()
            refused, self._refused = self._refused, 0
            network, limit = client_network(client.partition("/")[0]), Limit.CONNECTIONS_PER_CLIENT
            _log.warning("client_limit_reached", limit=limit, client=network, refused=refused)

    # --- checking open connections

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                await self.check(self._loop.time())
            except Exception as error:  # noqa: BLE001 - the next check may succeed
                _log.error("connections_not_checked", exc_info=error)

    async def check(self, now: float) -> None:
        """Close connections past a time limit, and idle ones at the limit. `now` is the loop's time."""
        async for stream in in_slices(list(self._streams)):
            if stream.closed():
                self._streams.discard(stream)
            elif stream.is_slow_reader(now):
                self._end_slow_reader(stream)
            elif stream.is_overdue(now) or stream.has_disconnected():
                stream.close()
        if self._shares is not None and self._shares.crowded:
            await self._make_room_for_clients(self._shares, now)
        if self._accepting or self._later is not None or not self._listeners:
            return
        await self._close_idle(list(self._streams), now, most=max(1, self._most // 4))
        await self._lingering.close_oldest(self._open - self._resume_at)
        if self._retry_at is not None and now >= self._retry_at and self._open < self._most:
            self._resume()

    def _end_slow_reader(self, stream: ClientConnection) -> None:
        self._metrics.slow_readers.inc()
        _log.info("slow_reader_closed", client=_address(stream))
        stream.abort()

    async def _make_room_for_clients(self, shares: ClientShares, now: float) -> None:
        """Close idle connections of clients that have almost all they may have."""
        crowded: dict[str, list[ClientConnection]] = {client: [] for client in shares.crowded}
        async for stream in in_slices(list(self._streams)):
            if stream.counted_client in crowded:
                crowded[stream.counted_client].append(stream)
        for client, streams in crowded.items():
            await self._close_idle(streams, now, most=shares.over(client))

    async def _close_idle(self, streams: list[ClientConnection], now: float, *, most: int) -> None:
        """Close connections without any request, then at most `most`: the longest idle ones, then those whose
        clients do not read their response.
        """
        idle: list[tuple[float, ClientConnection]] = []
        async for stream in in_slices(streams):
            since = None if stream.closed() else stream.idle_since
            if since is None:
                continue
            if not stream.has_requested and now - since >= _SILENT_SECONDS:
                stream.close()
            elif now - since >= _IDLE_SECONDS:
                idle.append((since, stream))
        idle.sort(key=lambda pair: (pair[1].writing(), pair[0]))
        async for since, stream in in_slices(idle[:most]):
            if stream.idle_since != since:  # no longer idle
                continue
            if stream.writing():
                self._end_slow_reader(stream)
            else:
                stream.close()


def _address(stream: ClientConnection) -> str:
    try:
        return str(stream.socket.getpeername()[0])
    except (OSError, IndexError):
        return ""
