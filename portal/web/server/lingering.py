"""Closes connections whose client is still sending.

Closing a socket with unread or arriving bytes resets the connection (RFC 9112 9.6), and a reset can destroy a
response that the client has not read yet. So the portal shuts down its own direction, reads and drops
incoming bytes until the client closes, and only then closes the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from portal.time_slices import in_slices

IDLE_SECONDS = 5.0
"""The connection is closed when the client sends nothing for this time (nginx: `lingering_timeout`)."""
TOTAL_SECONDS = 30.0
"""The connection is closed after this time in any case (nginx: `lingering_time`)."""
MOST_BYTES = 256 * 1024 * 1024
"""Most bytes to read and drop from one connection."""
_BUFFER_BYTES = 256 * 1024


class LingeringConnections:
    """Connections that are being closed. Belongs to the event loop that adds the first one."""

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
        """Close `count` connections now, the oldest first."""
        async for lingering in in_slices(list(self._open)[: max(0, count)]):
            lingering.close()

    async def drain(self, seconds: float) -> None:
        """Wait at most `seconds` until every client has closed, then close the remaining connections."""
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
        except OSError:  # the client disconnected
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
        """Close the socket. Closing twice is allowed."""
        if self._timer is not None:
            self._timer.cancel()
        if self._connection.fileno() < 0:
            return
        with contextlib.suppress(ValueError):
            self._loop.remove_reader(self._connection)
        self._connection.close()
        self._closed()
