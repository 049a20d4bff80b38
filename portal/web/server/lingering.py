"""Closes connections whose client is still sending.

A socket that is closed while bytes of the client are unread, or still arrive, is reset (RFC 9112 9.6), and
a reset can make the client lose a response that it has not read yet. So the portal ends its own direction,
reads and drops what comes until the client closes, and only then lets go of the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from portal.time_slices import in_slices

IDLE_SECONDS = 5.0
"""A client that sends nothing for so long is let go (nginx: `lingering_timeout`)."""
TOTAL_SECONDS = 30.0
"""A client is let go after so long in any case (nginx: `lingering_time`)."""
MOST_BYTES = 256 * 1024 * 1024
"""What is read and dropped of one connection."""
_BUFFER_BYTES = 256 * 1024


class LingeringConnections:
    """Connections that are being closed. Belongs to the event loop that adds the first of them."""

    def __init__(self) -> None:
        self._open: dict[_Lingering, None] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._buffer = bytearray(_BUFFER_BYTES)

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: socket.socket, closed: Callable[[], None]) -> None:
        """Take over a socket whose response has been written; call `closed` when it is closed."""
        lingering = _Lingering(connection, self._buffer, lambda: self._forget(lingering, closed))
        self._open[lingering] = None
        self._empty.clear()
        lingering.begin()

    async def close_oldest(self, count: int) -> None:
        """Close so many now, the oldest first."""
        async for lingering in in_slices(list(self._open)[: max(0, count)]):
            lingering.close()

    async def drain(self, seconds: float) -> None:
        """Wait until every client has closed, but at most `seconds`; then close what is left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        await self.close_oldest(len(self._open))

    def _forget(self, lingering: _Lingering, closed: Callable[[], None]) -> None:
        self._open.pop(lingering, None)
        if not self._open:
            self._empty.set()
        closed()


class _Lingering:
    """One socket that is read until its client closes."""

    def __init__(self, connection: socket.socket, buffer: bytearray, closed: Callable[[], None]) -> None:
        self._connection = connection
        self._buffer = buffer
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + TOTAL_SECONDS
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:  # the client has gone
            self.close()
            return
        self._loop.add_reader(self._connection, self._read)
        self._wait()

    def _read(self) -> None:
        try:
            count = self._connection.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        self._bytes += count
        if count and self._bytes <= MOST_BYTES:
            self._wait()
        else:
            self.close()

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(self._end, self._loop.time() + IDLE_SECONDS), self.close)

    def close(self) -> None:
        """Let go of the socket. Closing twice is allowed."""
        if self._timer is not None:
            self._timer.cancel()
        if self._connection.fileno() < 0:
            return
        with contextlib.suppress(ValueError):
            self._loop.remove_reader(self._connection)
        self._connection.close()
        self._closed()
