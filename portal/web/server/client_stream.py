"""The stream of one client's connection: what Tornado's does, and what bounds a client that misbehaves.

Only methods that Tornado documents for subclasses are overridden.
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
"""A client that takes less than LEAST_PROGRESS of its response in so long is cut off."""
LEAST_PROGRESS = 4096
"""Bytes."""
_LEAST_OF_A_BODY = 1024
"""Bytes. A client that sends less in a while does not send its body."""
_CHUNKS_AT_ONCE = 1024
_SMALL_CHUNK = 64
_PAUSE_SECONDS = 0.1
"""After `_CHUNKS_AT_ONCE` chunks that hold less than `_SMALL_CHUNK` bytes on average."""


class ClientStream(IOStream):
    """The connection of one client.

    Parameters: connection, as it was accepted; lingering, where it goes when it is closed while the client
    may still be sending; closed, called once when the socket is closed.
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
        """Since when no request is under way; None while one is."""
        self.has_requested = False
        """Whether a head has ever arrived."""
        self.refusal: PortalError | None = None
        """Why the request under way is refused without its body; its handler raises it."""
        self.most_chunks: int | None = None
        """How many chunks the body of the request under way may have; None for any number."""
        self.body_under_way = False
        """Whether a part of the request's body has not been read yet."""
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
        """A head has arrived; `body` says whether a body follows."""
        self.waiting_since = None
        self.has_requested = True
        self.body_under_way = body
        self.refusal = None
        self.most_chunks = None
        self._responding = False
        self._chunks = 0
        self._small_since = self._received
        self._body_since = (asyncio.get_running_loop().time(), self._received)

    def await_request(self) -> None:
        """The request under way, if there was one, has ended."""
        self.waiting_since = asyncio.get_running_loop().time()
        self.body_under_way = False

    @property
    def idle_since(self) -> float | None:
        """Since when the client is waited for: for a request or for its body; None when it is not."""
        if self.waiting_since is not None:
            return self.waiting_since
        return self._body_since[0] if self.body_under_way and self.reading() else None

    async def until_closed(self) -> None:
        """Wait until the connection is closed: nothing more is to be read of it."""
        if self.closed():
            return
        if self._until_closed is None:
            self._until_closed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._until_closed)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """Tornado reads the length of a chunk of a body in this way, and nothing else.

        Many small ones are read with pauses. Raises HTTPInputError when there are too many chunks, and
        StreamClosedError when the connection is closed, whatever has been received before.
        """
        if self.closed():
            raise StreamClosedError
        self._chunks += 1
        if self.most_chunks is not None and self._chunks > self.most_chunks:
            raise HTTPInputError("the body has too many chunks")
        line = super().read_until(delimiter, max_bytes)
        if self._chunks % _CHUNKS_AT_ONCE:
            return line
        received, self._small_since = self._received - self._small_since, self._received
        return _later(line) if received < _CHUNKS_AT_ONCE * _SMALL_CHUNK else line

    # --- progress

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        count = super().read_from_fd(buf)
        if count:
            self._received += count
            if self._received - self._body_since[1] >= _LEAST_OF_A_BODY:
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
        """Whether bytes have waited for this client for too long. To be asked every few seconds."""
        if not self.writing():
            self._progress_at = now
            return False
        taken = self._sent - _unacknowledged(self.socket)
        if abs(taken - self._progress_bytes) >= LEAST_PROGRESS:
            self._progress_bytes = taken
            self._progress_at = now
        return now - self._progress_at >= SLOW_READER_SECONDS

    # --- the end

    def abort(self) -> None:
        """Reset the connection, so that what was sent of a response cannot be taken for the whole of it."""
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
        """Whether closing now could reset the connection under a response."""
        if self.body_under_way:
            return True
        try:
            return bool(connection.recv(1, socket.MSG_PEEK))
        except OSError:
            return False


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes in the kernel's send buffer: minutes of what a slow client reads (tcp(7), SIOCOUTQ)."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))[0])
    except OSError:
        return 0


async def _later(line: Awaitable[bytes]) -> bytes:
    await asyncio.sleep(_PAUSE_SECONDS)
    return await line


def client_stream(connection: object) -> ClientStream | None:
    """Return the stream of a connection that the portal's server accepted; None for any other."""
    stream = getattr(connection, "stream", None)
    return stream if isinstance(stream, ClientStream) else None


def abort(connection: HTTP1Connection) -> None:
    """Reset a connection, whoever accepted it."""
    stream = client_stream(connection)
    if stream is not None:
        stream.abort()
    else:
        connection.stream.close()
