"""A thread that runs the reads of API calls, one after another.

Motor runs each operation in a pool of threads. The futures and locks of the pool, and a thread that has to be
woken up for each, take a quarter of the CPU time of a short read.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class ReadThread:
    """Runs one function at a time in its own thread. Call all methods on one event loop.

    It has no queue on purpose: when it is busy, because a database does not respond for example, the caller
    runs its function elsewhere.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._busy = False
        threading.Thread(target=self._work, name="mongodb-reads", daemon=True).start()

    @property
    def is_idle(self) -> bool:
        """Whether no function runs."""
        return not self._busy

    def run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run a function; the future has its result or error. Call it only while the thread is idle."""
        self._busy = True
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((function, future))
        return future

    def stop(self) -> None:
        """End the thread when its function has ended."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, future = job
            result, error = None, None
            try:
                result = function()
            except BaseException as raised:  # noqa: BLE001 - passed to the caller
                error = raised
            try:
                self._loop.call_soon_threadsafe(self._finish, future, result, error)
            except RuntimeError:  # the event loop is closed, so nothing waits for the result
                return
            del job, function, future, result, error  # until the next job, which may be long from now

    def _finish(self, future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
        self._busy = False
        if future.done():  # the caller was cancelled
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
