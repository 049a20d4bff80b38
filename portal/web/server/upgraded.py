"""Passes what happens on an upgraded connection to its new protocol, and to the connection that counts it."""

from __future__ import annotations

import asyncio
from typing import Protocol

READ_BYTES = 64 * 1024
"""The most bytes that are read of an upgraded connection at a time."""


class CountedConnection(Protocol):
    """The part of HttpConnection that learns about its socket."""

    client_ended: bool

    def count_received(self, count: int) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def connection_lost(self, error: Exception | None) -> None: ...


class UpgradedConnection(asyncio.BufferedProtocol):
    """The transport's protocol after an upgrade.

    Parameters: memory, to read into; all connections of an event loop may share it.
    """

    def __init__(
        self, connection: CountedConnection, protocol: asyncio.Protocol, memory: memoryview | None
    ) -> None:
        self._connection = connection
        self._protocol = protocol
        self._memory = memoryview(bytearray(READ_BYTES)) if memory is None else memory

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.count_received(nbytes)
        self._protocol.data_received(bytes(self._memory[:nbytes]))

    def eof_received(self) -> bool | None:
        self._connection.client_ended = True
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._connection.pause_writing()
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
        self._protocol.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._connection.connection_lost(error)
        self._protocol.connection_lost(error)
