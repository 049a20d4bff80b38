"""Runs work once for all callers that request it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """At most one running task per key; concurrent callers share it.

    A task continues when no caller awaits it any more. Await it through `asyncio.shield` or `asyncio.wait`:
    otherwise, cancelling one caller cancels the task for all. For use in one event loop.
    """

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[T]] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def get(self, key: K) -> asyncio.Task[T] | None:
        """Return the running task of a key, if there is one."""
        return self._tasks.get(key)

    def join(
        self,
        key: K,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        on_done: Callable[[asyncio.Task[T]], None] | None = None,
    ) -> asyncio.Task[T]:
        """Return the running task of a key, or start a new one.

        Parameters: work, makes the coroutine of a new task; on_done, called with the new task when it has
        finished. The event loop reports an error that neither `on_done` nor a caller retrieves.
        """
        running = self._tasks.get(key)
        if running is not None:
            return running

        def finished(task: asyncio.Task[T]) -> None:
            del self._tasks[key]
            if on_done is not None:
                on_done(task)

        task = asyncio.create_task(work())
        self._tasks[key] = task
        task.add_done_callback(finished)
        return task

    @property
    def tasks(self) -> set[asyncio.Task[T]]:
        """The running tasks."""
        return set(self._tasks.values())

    async def cancel(self) -> None:
        """Cancel the running tasks and wait until they have finished."""
        tasks = self.tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
