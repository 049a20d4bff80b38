"""Hands a request body on from the browser's connection to the API's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from portal.errors import UpstreamTimeout


class BodyPipe:
    """Passes chunks on; holds one at most, so that a fast browser waits for a slow API.

    Parameters: patience, seconds that a chunk waits for the reader.
    """

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._closed = asyncio.Event()

    async def put(self, chunk: bytes | None) -> None:
        """Wait until the reader has room. None ends the body. What comes after `close` is dropped.

        Raises UpstreamTimeout when the reader takes nothing for too long.
        """
        if self._closed.is_set():
            return
        put = asyncio.ensure_future(self._chunks.put(chunk))
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait((put, closed), return_when=asyncio.FIRST_COMPLETED, timeout=self._patience)
            if not put.done() and not closed.done():
                raise UpstreamTimeout("the API does not take the body")
        finally:
            put.cancel()
            closed.cancel()

    def close(self) -> None:
        """The reader has gone."""
        self._closed.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, for the reader."""
        while (chunk := await self._chunks.get()) is not None:
            yield chunk
