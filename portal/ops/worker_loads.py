"""How many connections each worker process has open, in memory that all workers share.

Workers accept from the same listening sockets, and the kernel wakes all of them for each connection. The one
that runs first would accept nearly all connections of a quiet portal. So a worker with more connections than
another leaves a new one to it for a moment (docs/decisions/045).
"""

from __future__ import annotations

import mmap

_NONE = -1
"""The count of a worker that does not accept."""
_MOST_AHEAD = 2
"""Connections that a worker may have more than another; with many, a tenth more."""


class WorkerLoads:
    """The loads of `count` workers. Make it before they are forked."""

    def __init__(self, count: int) -> None:
        self._counts = memoryview(mmap.mmap(-1, 4 * count)).cast("i")
        for slot in range(count):
            self._counts[slot] = _NONE

    def of(self, slot: int) -> WorkerLoad:
        """The load of one worker, from 0 to count - 1."""
        return WorkerLoad(self._counts, slot)


class WorkerLoad:
    """The load of one worker beside the others."""

    def __init__(self, counts: memoryview[int], slot: int) -> None:
        self._counts = counts
        self._slot = slot

    def report(self, connections: int) -> None:
        """Tell the other workers how many connections this one has open."""
        self._counts[self._slot] = connections

    def end(self) -> None:
        """Tell them that this one accepts no more, or has ended."""
        self._counts[self._slot] = _NONE

    def is_above(self, connections: int) -> bool:
        """Whether a worker that accepts has clearly fewer connections than so many."""
        others = (count for slot, count in enumerate(self._counts) if slot != self._slot and count != _NONE)
        least = min(others, default=connections)
        return connections >= least + max(_MOST_AHEAD, least // 10)
