"""Passes a request body from the browser's connection to the API's connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from portal.errors import UpstreamTimeout


class BodyPipe:
    """Passes chunks on. It buffers at most one, so that a fast browser waits for a slow API.

    Parameters: timeout, seconds that a chunk waits for the reader.
    """

    def __init__(self, *, timeout: float) -> None:
        self._timeout = timeout
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._closed = asyncio.Event()

    async def put(self, chunk: bytes | None) -> None:
        """Wait until the reader has room. None ends the body. Chunks after `close` are dropped.

        Raises UpstreamTimeout when the reader takes no chunk within the timeout.
        """
        if self._closed.is_set():
            return
        put = asyncio.ensure_future(self._chunks.put(chunk))
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait((put, closed), return_when=asyncio.FIRST_COMPLETED, timeout=self._timeout)
            if not put.done() and not closed.done():
                raise UpstreamTimeout("the API does not read the body")
        finally:
            put.cancel()
            closed.cancel()

    def close(self) -> None:
        """Report that the reader has stopped reading."""
        self._closed.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body to the reader."""
        while (chunk := await self._chunks.get()) is not None:
            yield chunk
