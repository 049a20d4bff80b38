"""Long loops on the event loop, split into slices of time so that other tasks can run in between.

Rule: a loop over a collection that users, tenants or providers can make large (calls, logins, waiting
requests, connections, tenants) goes through `in_slices`, or runs in a thread. A slice is bounded by time, not
by a number of items, because the cost of an item depends on what a tenant or a provider wrote. Each item must
take less than 10 ms (docs/architecture.md, rule 6).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

SLICE_SECONDS = 0.002
"""No item of a slice begins later than this after the slice began."""


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
