"""Threads for the TLS handshakes of all tenants, and the order in which waiting steps get one.

A step of a handshake cannot be interrupted, and limits per tenant do not limit many tenants together. So the
tenant that used the least time recently is next, and steps that are expected to be slow share one thread: the
others serve tenants that used little time (THREATS D5).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from portal.errors import OutboundFailed

LONG = 0.03
"""A step is slow if it is expected to take more than so many seconds of CPU; usually it takes 0.001."""
_LONG_AT_ONCE = 1
_MAX_CANCELLED = 64
"""Cancelled steps are removed from the queue when there are more than this, and more than half of it."""

T = TypeVar("T")
_Waiter = asyncio.Future[None]


class HandshakeThreads:
    """Runs steps of handshakes; those that are expected to take the least time run first.

    Parameters: count, number of threads; at least one more than slow steps may use.
    """

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="tls-handshake")
        self._free = count
        self._long_running = 0
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, _Waiter]] = []
        """A heap, ordered by the expected time."""
        self._cancelled = 0
        self._closed = False

    async def start(self, work: Callable[[], T], expected: float) -> asyncio.Future[T]:
        """Wait for a thread, start the work in it, and return its future.

        If it is cancelled while it waits, the work does not run.

        Parameters: expected, seconds of CPU of this work, plus what its tenant used recently.
        Raises: OutboundFailed after `close`.
        """
        is_long = expected > LONG
        await self._take(expected, is_long=is_long)
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        running.add_done_callback(lambda _: self._give_back(is_long=is_long))
        return running

    async def close(self) -> None:
        """Stop the threads after their current steps. Closing twice is allowed."""
        self._closed = True
        for *_, waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(_closed())
        self._waiting.clear()
        await asyncio.to_thread(self._threads.shutdown)

    async def _take(self, expected: float, *, is_long: bool) -> None:
        if self._closed:
            raise _closed()
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (expected, next(self._numbers), waiter))
        self._serve()
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.exception() is None:
                self._give_back(is_long=is_long)
            else:
                self._drop_cancelled()
            raise
        if self._closed:
            raise _closed()

    def _give_back(self, *, is_long: bool) -> None:
        self._free += 1
        self._long_running -= is_long
        self._serve()

    def _serve(self) -> None:
        waiting = self._waiting
        while waiting and self._free:
            expected, _, waiter = waiting[0]
            if not waiter.done():
                if expected > LONG and self._long_running >= _LONG_AT_ONCE:
                    return  # the other waiting steps are slow, too
                self._free -= 1
                self._long_running += expected > LONG
                waiter.set_result(None)
            heapq.heappop(waiting)

    def _drop_cancelled(self) -> None:
        """Remove cancelled steps now and then; those at the end of the queue would otherwise stay."""
        self._cancelled += 1
        if self._cancelled > max(_MAX_CANCELLED, len(self._waiting) // 2):
            self._waiting[:] = [entry for entry in self._waiting if not entry[2].done()]
            heapq.heapify(self._waiting)
            self._cancelled = 0


def _closed() -> OutboundFailed:
    return OutboundFailed("the client is closed")
