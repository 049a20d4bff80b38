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
        self._chunks: list[bytes | None] = []
        """The chunk that waits for the reader, if there is one."""
        self._closed = False
        self._changed: asyncio.Future[None] | None = None
        """What the writer or the reader waits for."""

    def offer(self, chunk: bytes) -> bool:
        """Put a chunk if the reader has room; return whether it had. Chunks after `close` are dropped."""
        if self._chunks and not self._closed:
            return False
        self._put(chunk)
        return True

    async def put(self, chunk: bytes | None) -> None:
        """Wait until the reader has room. None ends the body. Chunks after `close` are dropped.

        Raises UpstreamTimeout when the reader takes no chunk within the timeout.
        """
        try:
            async with asyncio.timeout(self._timeout):
                while self._chunks and not self._closed:
                    await self._change()
        except TimeoutError:
            raise UpstreamTimeout("the API does not read the body") from None
        self._put(chunk)

    def close(self) -> None:
        """Report that the reader has stopped reading."""
        self._closed = True
        self._wake()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body to the reader."""
        while True:
            while not self._chunks:
                await self._change()
            chunk = self._chunks.pop()
            self._wake()
            if chunk is None:
                return
            yield chunk

    def _put(self, chunk: bytes | None) -> None:
        if not self._closed:
            self._chunks.append(chunk)
            self._wake()

    async def _change(self) -> None:
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)  # cancelling one waiter does not cancel the others

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
