"""Work that many ask for and that is done once at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Tasks by key, at most one for each. Whoever asks while one is under way is given the same task.

    A task goes on when nobody waits for it any more. Await it through `asyncio.shield` or `asyncio.wait`:
    else a caller that is cancelled cancels it for everybody. For one event loop.
    """

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[T]] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def join(
        self,
        key: K,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        on_done: Callable[[asyncio.Task[T]], None] | None = None,
    ) -> asyncio.Task[T]:
        """The task that does the work of a key: the one under way, or a new one.

        Parameters: work, makes the coroutine of a new task; on_done, called with the new task when it has
        ended. An error that neither `on_done` nor a caller retrieves is reported by the event loop.
        """
        under_way = self._tasks.get(key)
        if under_way is not None:
            return under_way

        def ended(task: asyncio.Task[T]) -> None:
            del self._tasks[key]
            if on_done is not None:
                on_done(task)

        task = asyncio.create_task(work())
        self._tasks[key] = task
        task.add_done_callback(ended)
        return task

    @property
    def tasks(self) -> set[asyncio.Task[T]]:
        """What is under way."""
        return set(self._tasks.values())

    async def cancel(self) -> None:
        """Cancel what is under way, and wait until it has ended."""
        tasks = self.tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
