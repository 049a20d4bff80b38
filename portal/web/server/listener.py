"""Accepts clients' connections, as many as there is room for, and lets go of those that make no progress.

A process that has no descriptor left can neither accept a connection nor refuse it, so accepting stops
below that: further clients wait in the kernel's queue, or are accepted by another process.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

import structlog
from tornado.httpserver import HTTPServer

from portal.ops.metrics import Metrics
from portal.time_slices import in_slices
from portal.web.server.client_stream import ClientStream
from portal.web.server.lingering import LingeringConnections

_log = structlog.get_logger("portal.connections")

_ACCEPTED_AT_ONCE = 32
_LOOK_SECONDS = 1.0
_IDLE_SECONDS = 5.0
"""A connection whose client is waited for so long is closed when there is no room for others."""
_SILENT_SECONDS = 1.0
"""The same for one that has never sent a request."""
_SAY_EVERY = 60.0
_LINGER_AT_STOP = 2.0


class ConnectionServer:
    """Serves an HTTPServer with at most `most` connections at a time; the interface is that of HTTPServer."""

    def __init__(self, server: HTTPServer, *, most: int, metrics: Metrics) -> None:
        self._server = server
        self._most = most
        self._resume_at = most - max(1, most // 20)
        self._metrics = metrics
        self._listeners: list[socket.socket] = []
        self._streams: set[ClientStream] = set()
        self._lingering = LingeringConnections()
        self._open = 0
        self._accepting = False
        self._retry_at: float | None = None
        self._said_at = float("-inf")
        self._watching: asyncio.Task[None] | None = None

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections of these listening sockets."""
        self._loop = asyncio.get_running_loop()
        self._listeners += sockets
        self._resume()
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    def stop(self) -> None:
        """Accept no more; requests under way go on."""
        self._pause()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    async def close_all_connections(self) -> None:
        """Close every connection, and give clients a moment to read what was written."""
        if self._watching is not None:
            self._watching.cancel()
        await self._server.close_all_connections()
        await self._lingering.drain(_LINGER_AT_STOP)

    # --- accepting

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            if self._open >= self._most:
                self._pause()
                self._say("the limit is reached (limits.connections)")
                return
            try:
                connection, address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except (
                OSError
            ) as error:  # mostly EMFILE, ENFILE, ENOBUFS, ENOMEM: trying again at once would spin
                self._pause()
                self._retry_at = self._loop.time() + _LOOK_SECONDS
                self._say(error.strerror or "the system has no room")
                return
            self._serve(connection, address)

    def _serve(self, connection: socket.socket, address: Any) -> None:
        stream = ClientStream(
            connection,
            lingering=self._lingering,
            closed=self._closed,
            max_buffer_size=self._server.max_buffer_size,
            read_chunk_size=self._server.read_chunk_size,
        )
        self._open += 1
        self._metrics.connections.inc()
        self._streams.add(stream)
        self._server.handle_stream(stream, address)

    def _closed(self) -> None:
        self._open -= 1
        self._metrics.connections.dec()
        if not self._accepting and self._retry_at is None and self._open <= self._resume_at:
            self._resume()

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

    def _say(self, reason: str) -> None:
        self._metrics.accept_pauses.inc()
        if self._loop.time() - self._said_at >= _SAY_EVERY:
            self._said_at = self._loop.time()
            _log.warning("accepting_paused", connections=self._open, reason=reason)

    # --- looking after those that are open

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.look(self._loop.time())
            except Exception as error:  # noqa: BLE001 - the next look may go well
                _log.error("connections_not_looked_at", exc_info=error)

    async def look(self, now: float) -> None:
        """Cut off slow readers, and make room when there is none. `now` is of the loop's clock."""
        async for stream in in_slices(list(self._streams)):
            if stream.closed():
                self._streams.discard(stream)
            elif stream.is_slow_reader(now):
                self._metrics.slow_readers.inc()
                _log.info("slow_reader_closed", client=_address(stream))
                stream.abort()
        if self._accepting or not self._listeners:
            return
        await self._make_room(now)
        if self._retry_at is not None and now >= self._retry_at and self._open < self._most:
            self._resume()

    async def _make_room(self, now: float) -> None:
        """Close all that have sent nothing yet, and a quarter of the limit of those that are idle longest."""
        idle: list[tuple[float, ClientStream]] = []
        async for stream in in_slices(list(self._streams)):
            since = None if stream.closed() else stream.idle_since
            if since is None:
                continue
            if not stream.has_requested and now - since >= _SILENT_SECONDS:
                stream.close()
            elif now - since >= _IDLE_SECONDS:
                idle.append((since, stream))
        idle.sort(key=lambda pair: pair[0])
        async for since, stream in in_slices(idle[: max(1, self._most // 4)]):
            if stream.idle_since == since:  # it has sent nothing meanwhile
                stream.close()
        await self._lingering.close_oldest(self._open - self._resume_at)


def _address(stream: ClientStream) -> str:
    try:
        return str(stream.socket.getpeername()[0])
    except (OSError, IndexError):
        return ""
