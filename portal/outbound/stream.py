"""A response in progress: its head, and its body as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from portal.errors import OutboundTimeout
from portal.outbound.response_parser import ResponseHead
from portal.outbound.time_limit import TimeLimit

_HIGH_WATER = 131_072
"""Buffered bytes of the body; while there are more, the connection is not read."""


class Source(Protocol):
    """The part of a connection that `OutboundStream` uses."""

    def pause_body(self) -> None: ...

    def resume_body(self) -> None: ...

    def close(self) -> None: ...


class OutboundStream:
    """A response in progress. The caller must close it.

    Parameters: idle_timeout, longest pause between bytes of the body, in seconds.
    """

    __slots__ = (
        "_ended",
        "_error",
        "_idle_timeout",
        "_limit",
        "_pieces",
        "_size",
        "_source",
        "_waiter",
        "headers",
        "reason",
        "status",
    )

    def __init__(self, head: ResponseHead, source: Source, *, idle_timeout: float) -> None:
        self._source: Source | None = source
        self._idle_timeout = idle_timeout
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._limit: TimeLimit | None = None
        self.status: int = head.status
        self.reason: str = head.reason
        self.headers: list[tuple[str, str]] = head.headers
        """As received: order, case and repeated names are kept."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, undecoded; all bytes that have arrived are yielded in one piece.

        Raises: OutboundTimeout, OutboundFailed.
        """
        while True:
            while self._size:
                yield self._take()
            if self._error is not None:
                raise self._error
            if self._ended:
                return
            await self._wait()

    async def read(self) -> bytes:
        """The whole body, undecoded; only for bodies known to be small. Raises: as `chunks`."""
        if self._ended and self._error is None:
            return self._take()
        return b"".join([piece async for piece in self.chunks()])

    async def aclose(self) -> None:
        """Release the response; before the end of the body this closes the connection to the server."""
        source, self._source = self._source, None
        self._pieces.clear()
        self._size = 0
        if self._limit is not None:
            self._limit.close()
        if source is not None and not self._ended:
            source.close()

    # --- called by the connection

    def receive(self, data: bytes) -> None:
        """Add a piece of the body."""
        if not data or self._source is None:
            return
        self._pieces.append(data)
        self._size += len(data)
        self._wake()
        if self._size > _HIGH_WATER:
            self._source.pause_body()

    def end(self, error: BaseException | None = None) -> None:
        """The body is complete, or failed with an error."""
        if self._ended:
            return
        self._ended = True
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._size = 0
        if self._source is not None and not self._ended:
            self._source.resume_body()
        return data

    async def _wait(self) -> None:
        if self._limit is None:
            self._limit = TimeLimit(self._time_out)
        self._waiter = waiter = self._limit.loop.create_future()
        self._limit.start(self._idle_timeout)
        try:
            await waiter
        finally:
            self._limit.stop()
            self._waiter = None

    def _time_out(self) -> None:
        if self._ended:  # another request may use the connection now
            return
        source = self._source
        self.end(OutboundTimeout(f"no byte of the body arrived for {self._idle_timeout:g} s"))
        if source is not None:
            source.close()
