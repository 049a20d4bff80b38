"""The stream of one client connection: Tornado's IOStream with limits for misbehaving clients.

It overrides only methods that Tornado documents for subclasses.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from collections.abc import Awaitable, Callable

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPInputError
from tornado.iostream import IOStream, StreamClosedError

from portal.errors import PortalError
from portal.web.server.lingering import LingeringConnections

SLOW_READER_SECONDS = 60.0
"""A client that reads less than LEAST_PROGRESS of its response in this time is disconnected."""
LEAST_PROGRESS = 4096
"""Bytes."""
_LEAST_BODY_PROGRESS = 1024
"""Bytes. A client that sends less counts as idle."""
_CHUNKS_AT_ONCE = 1024
_SMALL_CHUNK = 64
_PAUSE_SECONDS = 0.1
"""Pause after `_CHUNKS_AT_ONCE` chunks with less than `_SMALL_CHUNK` bytes on average."""


class ClientStream(IOStream):
    """The connection of one client.

    Parameters: connection, the accepted socket; lingering, which closes the socket while the client may still
    be sending; closed, called once when the socket is closed.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        lingering: LingeringConnections,
        closed: Callable[[], None],
        max_buffer_size: int | None = None,
        read_chunk_size: int | None = None,
    ) -> None:
        super().__init__(connection, max_buffer_size=max_buffer_size, read_chunk_size=read_chunk_size)
        self._lingering = lingering
        self._on_closed = closed
        now = asyncio.get_running_loop().time()
        self.waiting_since: float | None = now
        """Loop time since which no request is in progress; None during a request."""
        self.has_requested = False
        """Whether a request head has ever arrived."""
        self.refusal: PortalError | None = None
        """Why the current request is refused without its body; its handler raises it."""
        self.max_chunks: int | None = None
        """The most chunks that the body of the current request may have; None for no limit."""
        self.body_incomplete = False
        """Whether the request body is incomplete."""
        self._responding = False
        self._client_ended = False
        self._chunks = 0
        self._small_since = 0
        self._received = 0
        self._body_since = (now, 0)
        self._sent = 0
        self._progress_at = now
        self._progress_bytes = 0
        self._until_closed: asyncio.Future[None] | None = None

    # --- requests

    def begin_request(self, *, body: bool) -> None:
        """Record that a request head arrived. Parameters: body, whether a body follows."""
        self.waiting_since = None
        self.has_requested = True
        self.body_incomplete = body
        self.refusal = None
        self.max_chunks = None
        self._responding = False
        self._chunks = 0
        self._small_since = self._received
        self._body_since = (asyncio.get_running_loop().time(), self._received)

    def await_request(self) -> None:
        """Record that the current request ended, and wait for the next one."""
        self.waiting_since = asyncio.get_running_loop().time()
        self.body_incomplete = False

    @property
    def idle_since(self) -> float | None:
        """Loop time since which the portal waits for a request or its body; None when it does not."""
        if self.waiting_since is not None:
            return self.waiting_since
        return self._body_since[0] if self.body_incomplete and self.reading() else None

    async def until_closed(self) -> None:
        """Wait until the connection is closed, so that Tornado reads nothing more from it."""
        if self.closed():
            return
        if self._until_closed is None:
            self._until_closed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._until_closed)

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
        if self._chunks % _CHUNKS_AT_ONCE:
            return line
        received, self._small_since = self._received - self._small_since, self._received
        return _delayed(line) if received < _CHUNKS_AT_ONCE * _SMALL_CHUNK else line

    # --- progress

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        count = super().read_from_fd(buf)
        if count:
            self._received += count
            if self._received - self._body_since[1] >= _LEAST_BODY_PROGRESS:
                self._body_since = (asyncio.get_running_loop().time(), self._received)
        elif count == 0:
            self._client_ended = True
        return count

    def write_to_fd(self, data: memoryview) -> int:
        count = super().write_to_fd(data)
        self._sent += count
        self._responding = True
        return count

    def is_slow_reader(self, now: float) -> bool:
        """Whether the client has made too little progress reading. Call this every few seconds."""
        if not self.writing():
            self._progress_at = now
            return False
        acknowledged = self._sent - _unacknowledged(self.socket)
        if abs(acknowledged - self._progress_bytes) >= LEAST_PROGRESS:
            self._progress_bytes = acknowledged
            self._progress_at = now
        return now - self._progress_at >= SLOW_READER_SECONDS

    # --- the end

    def abort(self) -> None:
        """Reset the connection, so that the client cannot mistake a partial response for a complete one."""
        if not self.closed():
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._responding = False
            self.close()

    def close_fd(self) -> None:
        connection = self.socket
        self.socket = None  # type: ignore[assignment]
        if (
            self._responding
            and not self._client_ended
            and self.error is None
            and self._is_sending(connection)
        ):
            self._lingering.add(connection, self._on_closed)
        else:
            connection.close()
            self._on_closed()
        if self._until_closed is not None and not self._until_closed.done():
            self._until_closed.set_result(None)

    def _is_sending(self, connection: socket.socket) -> bool:
        """Whether the client may still be sending: closing now could reset the connection."""
        if self.body_incomplete:
            return True
        try:
            return bool(connection.recv(1, socket.MSG_PEEK))
        except OSError:
            return False


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes in the kernel's send buffer, which can last a slow client minutes (tcp(7), SIOCOUTQ)."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))[0])
    except OSError:
        return 0


async def _delayed(line: Awaitable[bytes]) -> bytes:
    await asyncio.sleep(_PAUSE_SECONDS)
    return await line


def client_stream(connection: object) -> ClientStream | None:
    """Return the stream of a connection that the portal's server accepted; None for any other."""
    stream = getattr(connection, "stream", None)
    return stream if isinstance(stream, ClientStream) else None


def abort(connection: HTTP1Connection) -> None:
    """Reset a connection of the portal's server; close any other."""
    stream = client_stream(connection)
    if stream is not None:
        stream.abort()
    else:
        connection.stream.close()
