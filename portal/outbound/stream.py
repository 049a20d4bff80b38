"""A response under way: its head, and its body as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from portal.errors import OutboundTimeout
from portal.outbound.response_parser import ResponseHead

_HIGH_WATER = 131_072
"""Bytes that wait to be read; with more, the connection is not read from."""


class Source(Protocol):
    """The connection that a response comes from, as the response sees it."""

    def pause_body(self) -> None: ...

    def resume_body(self) -> None: ...

    def close(self) -> None: ...


class OutboundStream:
    """A response under way. Whoever opened it closes it.

    Parameters: idle_timeout, seconds that may pass without a byte of the body.
    """

    __slots__ = (
        "_ended",
        "_error",
        "_idle_timeout",
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
        self.status: int = head.status
        self.reason: str = head.reason
        self.headers: list[tuple[str, str]] = head.headers
        """As received: order, case of letters and repeated names are kept."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, undecoded; what has arrived meanwhile comes in one piece.

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
        """The whole body at once, undecoded; for one whose length is known to be small. Raises: as chunks."""
        if self._ended and self._error is None:
            return self._take()
        return b"".join([piece async for piece in self.chunks()])

    async def aclose(self) -> None:
        """Let go; before the end of the body this closes the connection to the server."""
        source, self._source = self._source, None
        self._pieces.clear()
        self._size = 0
        if source is not None and not self._ended:
            source.close()

    # --- called by the connection

    def receive(self, data: bytes) -> None:
        """Take a piece of the body."""
        if not data or self._source is None:
            return
        self._pieces.append(data)
        self._size += len(data)
        self._wake()
        if self._size > _HIGH_WATER:
            self._source.pause_body()

    def end(self, error: BaseException | None = None) -> None:
        """The body is complete, or broke off with an error."""
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
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_later(self._idle_timeout, self._time_out)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _time_out(self) -> None:
        if self._ended:  # the connection may be another's
            return
        source = self._source
        self.end(OutboundTimeout(f"nothing came for {self._idle_timeout:g} s"))
        if source is not None:
            source.close()
