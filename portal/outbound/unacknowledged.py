"""How long bytes that were sent to a server may stay unacknowledged (RFC 5482; tcp(7), TCP_USER_TIMEOUT).

A server that vanishes without closing its connections acknowledges nothing. The kernel then sends the same
bytes again for about 15 minutes before the connection fails. Since Linux 5.11, the limit also ends a
connection whose server acknowledges but reads nothing, so it must not be shorter than the request allows for
that. Only Linux has this option. Elsewhere the limits of the request remain, and those of WebSockets: a
server that takes nothing more is noticed, one whose last bytes are lost only when the kernel gives up.
"""

from __future__ import annotations

import contextlib
import socket
import sys

LEAST_SECONDS = 60.0


class UnacknowledgedLimit:
    """The limit of one connection. Parameters: connection, over TCP."""

    __slots__ = ("_connection", "_seconds")

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._seconds = 0.0
        self.allow(LEAST_SECONDS)

    def allow(self, seconds: float) -> None:
        """Let the server take this long, and at least LEAST_SECONDS."""
        seconds = max(LEAST_SECONDS, seconds)
        if seconds != self._seconds:
            self._seconds = seconds
            self._set(round(seconds * 1000))

    def _set(self, milliseconds: int) -> None:
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # it has failed, which the event loop reports next
                self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
