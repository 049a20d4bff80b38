"""Work on the event loop in slices of time, between which the loop serves others.

Rule: a loop over what others can make many (calls, logins, waiting requests, connections, tenants) goes
through `in_slices`, or runs in a thread. Time counts and not the number of items: what one item costs depends
on what a tenant or a provider wrote. One item must take less than 10 ms by itself
(docs/architecture.md, rule 6).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

SLICE_SECONDS = 0.002
"""How long a slice may take before its last item begins."""


async def in_slices(
    items: Iterable[T], *, monotonic: Callable[[], float] = time.perf_counter
) -> AsyncIterator[T]:
    """Yield items; let the event loop run between two of them once a slice has taken SLICE_SECONDS.

    Parameters: items, which must not change meanwhile: pass a copy of a collection that others change;
    monotonic, a clock in seconds.
    """
    ends = monotonic() + SLICE_SECONDS
    for item in items:
        if monotonic() >= ends:
            await asyncio.sleep(0)
            ends = monotonic() + SLICE_SECONDS
        yield item
