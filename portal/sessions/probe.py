"""A health probe that performs the database operations of an API call."""

from __future__ import annotations

import asyncio
import time

from portal.clock import Clock
from portal.errors import StoreUnavailable
from portal.sessions.reader import BatchedReader
from portal.stores.store import Store
from portal.traces import current_span

_INTERVAL_SECONDS = 1.0
_TIMEOUT_SECONDS = 4.0


class StoreProbe:
    """Reads and writes as calls do, at most once a second; all callers share the result.

    `monotonic` returns seconds of a monotonic clock.
    """

    def __init__(self, store: Store, reader: BatchedReader, *, monotonic: Clock = time.monotonic) -> None:
        self._store = store
        self._reader = reader
        self._monotonic = monotonic
        self._next_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Raise StoreUnavailable when the probe of the last second failed."""
        if self._task is None or (self._task.done() and self._monotonic() >= self._next_at):
            self._next_at = self._monotonic() + _INTERVAL_SECONDS
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(_retrieve)
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        current_span.set(None)  # all who ask share the result
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._store.probe()
                await self._reader.retry_failed_read()
        except TimeoutError:
            raise StoreUnavailable("the database does not respond in time") from None


def _retrieve(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
