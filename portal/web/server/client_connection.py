"""A client's connection, for both HTTP servers: its state, and limits for misbehaving clients."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from abc import ABC, abstractmethod
from collections.abc import Callable

from portal.errors import PortalError
from portal.web.server.lingering import LingeringConnections

Socket = socket.socket

SLOW_READER_SECONDS = 60.0
"""A client that reads less than LEAST_PROGRESS of its response in this time is disconnected."""
LEAST_PROGRESS = 4096
"""Bytes."""
_LEAST_BODY_PROGRESS = 1024
"""Bytes. A client that sends less counts as idle."""
CHUNKS_AT_ONCE = 1024
SMALL_CHUNK = 64
PAUSE_SECONDS = 0.1
"""Pause after `CHUNKS_AT_ONCE` chunks with less than `SMALL_CHUNK` bytes on average."""
_ESTABLISHED = 1
"""State of a TCP connection that neither end has closed (Linux, include/net/tcp_states.h)."""


class ClientConnection(ABC):
    """A connection of one client.

    Parameters: lingering, which closes the socket while the client may still be sending; closed, called once
    when the socket is closed.
    """

    socket: Socket

    def __init__(self, *, lingering: LingeringConnections, closed: Callable[[], None]) -> None:
        self.lingering = lingering
        self.on_closed = closed
        self._time = asyncio.get_running_loop().time
        now = self._time()
        self.waiting_since: float | None = now
        """Loop time since which no request is in progress; None during a request."""
        self.counted_client = ""
        """The client that it counts for, from `ClientShares.client`; empty for none."""
        self.has_requested = False
        """Whether a request head has ever arrived."""
        self.refusal: PortalError | None = None
        """Why the current request is refused without its body; its handler raises it."""
        self.max_chunks: int | None = None
        """The most chunks that the body of the current request may have, as a form; None for no limit."""
        self.body_incomplete = False
        """Whether the request body is incomplete."""
        self.deadline: float | None = None
        """Loop time at which the connection is closed unless what it waits for has arrived; None: never."""
        self.responding = False
        self.client_ended = False
        self.received = 0
        self._request_since = now
        self._body_since = (now, 0)
        self.written_bytes = 0
        self._progress_at = now
        self._progress_bytes = 0
        self._until_closed: asyncio.Future[None] | None = None

    @abstractmethod
    def closed(self) -> bool:
        """Whether the connection is closed."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection now, without sending buffered data."""

    @abstractmethod
    def reading(self) -> bool:
        """Whether the portal waits for bytes of the client."""

    @abstractmethod
    def writing(self) -> bool:
        """Whether there are bytes that the kernel has not taken yet."""

    def has_disconnected(self) -> bool:
        """Whether the client has disconnected, and nobody has noticed because nothing is read at present."""
        return False

    def sent(self) -> int:
        """Bytes that the kernel has taken."""
        return self.written_bytes

    # --- requests

    def begin_request(self, *, body: bool) -> None:
        """Record that a request head arrived. Parameters: body, whether a body follows."""
        self.waiting_since = None
        self.has_requested = True
        self.body_incomplete = body
        self.refusal = None
        self.max_chunks = None
        self.responding = False
        self._request_since = self._time()
        self._body_since = (self._request_since, self.received)

    def await_request(self) -> None:
        """Record that the current request ended, and wait for the next one."""
        self.waiting_since = self._time()
        self.body_incomplete = False

    @property
    def idle_since(self) -> float | None:
        """Loop time since which the portal waits for a request, its body, or a client that reads too little.

        None when it does not. For the last, `is_slow_reader` must be called every few seconds.
        """
        if self.waiting_since is not None:
            return self.waiting_since
        if self.body_incomplete and self.reading():  # forms are short: a few bytes at a time are no progress
            return self._request_since if self.max_chunks is not None else self._body_since[0]
        return self._progress_at if self.writing() else None

    async def until_closed(self) -> None:
        """Wait until the connection is closed, so that nothing more is read from it."""
        if self.closed():
            return
        if self._until_closed is None:
            self._until_closed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._until_closed)

    # --- progress

    def count_received(self, count: int) -> None:
        self.received += count
        if self.received - self._body_since[1] >= _LEAST_BODY_PROGRESS:
            self._body_since = (self._time(), self.received)

    def acknowledged(self) -> int:
        """Bytes that have arrived at the client."""
        return self.sent() - _unacknowledged(self.socket)

    def is_slow_reader(self, now: float) -> bool:
        """Whether the client has made too little progress reading. Call this every few seconds."""
        if not self.writing():
            self._progress_at = now
            return False
        acknowledged = self.acknowledged()
        if abs(acknowledged - self._progress_bytes) >= LEAST_PROGRESS:
            self._progress_bytes = acknowledged
            self._progress_at = now
        return now - self._progress_at >= SLOW_READER_SECONDS

    def is_overdue(self, now: float) -> bool:
        """Whether the time limit for what the portal waits for has passed."""
        return self.deadline is not None and now >= self.deadline

    # --- the end

    def abort(self) -> None:
        """Reset the connection, so that the client cannot mistake a partial response for a complete one."""
        if not self.closed():
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.responding = False
            self.close()

    def must_linger(self) -> bool:
        """Whether the client may still be sending: closing now could destroy the response (RFC 9112 9.6)."""
        if not self.responding or self.client_ended:
            return False
        if self.body_incomplete:
            return True
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def release_waiting(self) -> None:
        """Let those continue who wait until the connection is closed."""
        if self._until_closed is not None and not self._until_closed.done():
            self._until_closed.set_result(None)


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes in the kernel's send buffer, which can last a slow client minutes (tcp(7), SIOCOUTQ)."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))[0])
    except OSError:
        return 0


def is_established(connection: Socket) -> bool:
    """Whether neither end has closed a TCP connection (tcp(7), TCP_INFO); other sockets always are."""
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED
    except OSError:
        return True


def client_connection(connection: object) -> ClientConnection | None:
    """Return the client's connection that carries a request; None if ConnectionServer did not accept it."""
    stream = getattr(connection, "stream", None)
    return stream if isinstance(stream, ClientConnection) else None


def abort(connection: object) -> None:
    """Reset the client's connection that carries a request."""
    if (stream := client_connection(connection)) is not None:
        stream.abort()
