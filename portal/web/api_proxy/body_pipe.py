"""Passes a request body from the browser's connection to the API's connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from portal.errors import PayloadTooLarge, UpstreamTimeout
from portal.outbound.upload import PushedBody, Upload


class BodyPipe(PushedBody):
    """Passes chunks on. It buffers at most one, so that a fast browser waits for a slow API.

    While the reader waits, chunks go straight to the API's connection: a task and two iterations of the event
    loop for each chunk of 256 KB would cost more CPU time than the system calls, and the data would leave the
    processor's cache in between.

    Parameters: timeout, seconds that a chunk waits for the reader; limit, bytes of the longest body, None for
    any.
    """

    def __init__(self, *, timeout: float, limit: int | None = None) -> None:
        self._timeout = timeout
        self._left = limit
        self._chunks: list[bytes | None] = []
        """The chunk that waits for the reader, if there is one."""
        self._closed = False
        self._changed: asyncio.Future[None] | None = None
        """What the writer or the reader waits for."""
        self._upload: Upload | None = None
        self._is_awaited = False
        """Whether the reader waits for a chunk."""
        self._room: asyncio.Future[None] | None = None
        """What the writer waits for when the connection takes nothing more."""

    def connect(self, upload: Upload) -> None:
        self._upload = upload

    def offer(self, chunk: bytes) -> bool:
        """Put a chunk if the reader has room; return whether it had. Chunks after `close` are dropped."""
        if (self._chunks and not self._closed) or self._exceeds_limit(chunk):
            return False
        self._put(chunk)
        return True

    def _exceeds_limit(self, chunk: bytes) -> bool:
        return self._left is not None and len(chunk) > self._left

    def room(self) -> Awaitable[None] | None:
        """What to await after `offer` before the next chunk; None when there is room for it."""
        if self._upload is None or self._closed:
            return None
        self._room = self._upload.room()
        return self._room

    async def put(self, chunk: bytes | None) -> None:
        """Wait until the reader has room. None ends the body. Chunks after `close` are dropped.

        Raises UpstreamTimeout when the reader takes no chunk within the timeout, PayloadTooLarge when the
        body exceeds the limit.
        """
        if chunk is not None and self._exceeds_limit(chunk):
            raise PayloadTooLarge("the body is longer than max_body of the API")
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
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._wake()

    async def __anext__(self) -> bytes:
        """The next chunk, for the reader."""
        while not self._chunks:
            self._is_awaited = True
            try:
                await self._change()
            finally:
                self._is_awaited = False
        chunk = self._chunks.pop()
        self._wake()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    def _put(self, chunk: bytes | None) -> None:
        if self._left is not None and chunk is not None:
            self._left -= len(chunk)
        if self._closed or (chunk is not None and self._is_awaited and self._write(chunk)):
            return
        self._chunks.append(chunk)
        self._wake()

    def _write(self, chunk: bytes) -> bool:
        return not self._chunks and self._upload is not None and self._upload.write(chunk)

    async def _change(self) -> None:
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)  # cancelling one waiter does not cancel the others

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
