"""A connection to a server after its response 101: bytes both ways, with back-pressure.

The connection never carries another request. What the server sends is passed on at once, without a task; it
is read as fast as the receiver takes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from portal.errors import OutboundFailed
from portal.outbound.response_parser import ResponseHead
from portal.outbound.stream import OutboundStream, Source
from portal.outbound.websocket import WebSocketChoice


class TunnelConnection(Source, Protocol):
    """The part of a connection that a tunnel uses."""

    writable: asyncio.Future[None] | None

    def write_body(self, pieces: Sequence[bytes]) -> None: ...


class Waiting(Protocol):
    """Something that was read and waits for its turn."""

    def take_turn(self) -> None:
        """Pass it on."""


class Receiver(Protocol):
    """Who gets the bytes of the server."""

    def may_receive(self, waiting: Waiting) -> bool:
        """Whether bytes may be processed now. If not, `waiting.take_turn` is called later."""

    def data_received(self, data: bytes) -> None: ...

    def ended(self) -> None:
        """The server sends nothing more: it closed the connection, or the connection failed."""


class Tunnel(OutboundStream):
    """The connection after a response 101. The caller must close it.

    Parameters: choice, of the server.
    """

    __slots__ = ("_connection", "_early", "_has_ended", "_receiver", "choice")

    def __init__(self, head: ResponseHead, connection: TunnelConnection, choice: WebSocketChoice) -> None:
        super().__init__(head, connection, idle_timeout=0.0)
        self._connection: TunnelConnection | None = connection
        self._receiver: Receiver | None = None
        self._early: list[bytes] = []
        self._has_ended = False
        self.choice = choice

    def attach(self, receiver: Receiver) -> None:
        """Begin to pass on what arrives, and what has arrived."""
        self._receiver = receiver
        early, self._early = self._early, []
        for data in early:
            receiver.data_received(data)
        self.resume_reading()
        if self._has_ended:
            receiver.ended()

    def write(self, data: bytes) -> bool:
        """Send bytes; return whether there is room for more. Bytes after the end are dropped."""
        if self._connection is None or self._has_ended:
            return True
        try:
            self._connection.write_body((data,))
        except OutboundFailed:
            self._connection.close()
            return True
        return self._connection.writable is None

    def on_room(self, call: Callable[[], None]) -> None:
        """Call this once when there is room for more bytes, or when the connection has ended."""
        writable = self._connection.writable if self._connection is not None else None
        if writable is None:
            asyncio.get_running_loop().call_soon(call)
        else:
            writable.add_done_callback(lambda _: call())

    def pause_reading(self) -> None:
        """Stop reading."""
        if self._connection is not None:
            self._connection.pause_body()

    def resume_reading(self) -> None:
        """Continue to read."""
        if self._connection is not None:
            self._connection.resume_body()

    async def aclose(self) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection. Closing twice is allowed."""
        connection, self._connection = self._connection, None
        self._receiver = None
        self._early.clear()
        if connection is not None:
            connection.close()

    # --- called by the connection

    def may_receive(self, waiting: Waiting) -> bool:
        """See `Receiver.may_receive`."""
        return self._receiver is None or self._receiver.may_receive(waiting)

    def receive(self, data: bytes) -> None:
        if not data or self._connection is None:
            return
        if self._receiver is not None:
            self._receiver.data_received(data)
            return
        self._early.append(data)
        self._connection.pause_body()

    def end(self, error: BaseException | None = None) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        if self._receiver is not None:
            self._receiver.ended()
