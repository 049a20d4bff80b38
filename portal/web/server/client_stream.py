"""The stream of one client connection: Tornado's IOStream with limits for misbehaving clients.

It overrides only methods that Tornado documents for subclasses.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from tornado.httputil import HTTPInputError
from tornado.iostream import IOStream, StreamClosedError

from portal.web.server.client_connection import CHUNKS_AT_ONCE, PAUSE_SECONDS, SMALL_CHUNK, ClientConnection
from portal.web.server.lingering import LingeringConnections


class ClientStream(IOStream, ClientConnection):
    """The connection of one client to Tornado's server. Parameters: connection, the accepted socket."""

    def __init__(
        self,
        connection: socket.socket,
        *,
        lingering: LingeringConnections,
        closed: Callable[[], None],
        max_buffer_size: int | None = None,
        read_chunk_size: int | None = None,
    ) -> None:
        IOStream.__init__(self, connection, max_buffer_size=max_buffer_size, read_chunk_size=read_chunk_size)
        ClientConnection.__init__(self, lingering=lingering, closed=closed)
        self._chunks = 0
        self._small_since = 0

    def begin_request(self, *, body: bool) -> None:
        super().begin_request(body=body)
        self._chunks = 0
        self._small_since = self.received

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """Count and slow down chunks: Tornado calls this only to read the length of a chunk of a body.

        Many small chunks are read with pauses. Raises HTTPInputError when there are too many chunks, and
        StreamClosedError when the connection is closed, even if buffered data remains.
        """
        if self.closed():
            raise StreamClosedError
        self._chunks += 1
        if self.max_chunks is not None and self._chunks > self.max_chunks:
            raise HTTPInputError("the body has too many chunks")
        line = super().read_until(delimiter, max_bytes)
        if self._chunks % CHUNKS_AT_ONCE:
            return line
        received, self._small_since = self.received - self._small_since, self.received
        return _delayed(line) if received < CHUNKS_AT_ONCE * SMALL_CHUNK else line

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        count = super().read_from_fd(buf)
        if count:
            self.count_received(count)
        elif count == 0:
            self.client_ended = True
        return count

    def write_to_fd(self, data: memoryview) -> int:
        count = super().write_to_fd(data)
        self.written_bytes += count
        self.responding = True
        return count

    def close_fd(self) -> None:
        connection = self.socket
        if self.error is None and self.must_linger():
            self.lingering.add(connection, self.on_closed)
        else:
            connection.close()
            self.on_closed()
        self.socket = None  # type: ignore[assignment]
        self.release_waiting()


async def _delayed(line: Awaitable[bytes]) -> bytes:
    await asyncio.sleep(PAUSE_SECONDS)
    return await line


def client_stream(connection: object) -> ClientStream | None:
    """Return the stream of a connection that Tornado's server reads; None for any other."""
    stream = getattr(connection, "stream", None)
    return stream if isinstance(stream, ClientStream) else None
