"""Long loops, split into slices of time so that the event loop can run in between.

Rule: a loop over a collection that users, tenants or providers can make large (calls, logins, waiting
requests, connections, tenants) goes through `in_slices`, or runs in a thread and goes through `in_turns`. A
slice is bounded by time, not by a number of items, because the cost of an item depends on what a tenant or a
provider wrote. Each item must take less than 10 ms (docs/architecture.md, rule 6).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

SLICE_SECONDS = 0.002
"""No item of a slice begins later than this after the slice began."""
_TURN_SECONDS = 0.0005
_PAUSE_SECONDS = 0.003
_pauses: ContextVar[bool] = ContextVar("pauses", default=True)


async def in_slices(
    items: Iterable[T], *, monotonic: Callable[[], float] = time.perf_counter
) -> AsyncIterator[T]:
    """Yield each item; whenever SLICE_SECONDS have passed, let the event loop run before the next one.

    Parameters: items, which must not change during the loop: pass a copy of a shared collection; monotonic,
    a clock in seconds.
    """
    ends = monotonic() + SLICE_SECONDS
    for item in items:
        if monotonic() >= ends:
            await asyncio.sleep(0)
            ends = monotonic() + SLICE_SECONDS
        yield item


@contextmanager
def without_pauses() -> Iterator[None]:
    """Let `in_turns` make no pauses in threads that are started in the block: before the portal serves."""
    before = _pauses.set(False)
    try:
        yield
    finally:
        _pauses.reset(before)


def in_turns(items: Iterable[T]) -> Iterator[T]:
    """Yield each item, for a loop in a thread: the thread pauses for 3 ms after each half millisecond.

    Otherwise it would give up the interpreter's lock only after 5 ms (`sys.getswitchinterval`), each time
    that the event loop waits for it: several times for each request. In the main thread there is no pause.
    """
    if not _pauses.get() or threading.current_thread() is threading.main_thread():
        yield from items
        return
    ends = time.perf_counter() + _TURN_SECONDS
    for item in items:
        if time.perf_counter() >= ends:
            time.sleep(_PAUSE_SECONDS)
            ends = time.perf_counter() + _TURN_SECONDS
        yield item
