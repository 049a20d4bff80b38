"""The threads in which all tenants' TLS handshakes run, and who is next when there are too few.

A step of a handshake cannot be stopped, and a share for each tenant does not bound many tenants together. So
the tenant that has taken least of the threads lately is next, and steps that are expected to take long have
one thread: the others serve tenants that have taken little (THREATS D5).
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
"""Seconds of CPU from which a step is expected to take long; usual are 0.001 for a server's whole flight."""
_LONG_AT_ONCE = 1
_MOST_GIVEN_UP = 64
"""Steps that were given up while they waited, beside as many that wait: then they are dropped."""

T = TypeVar("T")
_Waiter = asyncio.Future[None]


class HandshakeThreads:
    """Runs steps of handshakes, those that are expected to take least first.

    Parameters: count, of threads; one more than is ever used by steps that take long.
    """

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="tls-handshake")
        self._free = count
        self._long_running = 0
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, _Waiter]] = []
        """A heap, by what the step is expected to take."""
        self._given_up = 0
        self._closed = False

    async def start(self, work: Callable[[], T], expected: float) -> asyncio.Future[T]:
        """Wait for a thread, begin the work there, and return its future. Nothing runs when cancelled before.

        Parameters: expected, seconds of CPU that the work and its tenant's work lately take.
        Raises: OutboundFailed, the threads have been ended.
        """
        is_long = expected > LONG
        await self._take(expected, is_long=is_long)
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        running.add_done_callback(lambda _: self._give_back(is_long=is_long))
        return running

    async def close(self) -> None:
        """End the threads, after the steps that they are at. Closing twice is allowed."""
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
                self._drop_given_up()
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
                    return  # so are all the others
                self._free -= 1
                self._long_running += expected > LONG
                waiter.set_result(None)
            heapq.heappop(waiting)

    def _drop_given_up(self) -> None:
        """Drop them now and then: those at the end of the queue would never be reached."""
        self._given_up += 1
        if self._given_up > max(_MOST_GIVEN_UP, len(self._waiting) // 2):
            self._waiting[:] = [entry for entry in self._waiting if not entry[2].done()]
            heapq.heapify(self._waiting)
            self._given_up = 0


def _closed() -> OutboundFailed:
    return OutboundFailed("the client is closed")
