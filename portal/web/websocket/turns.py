"""Turns of WebSockets: how much of their work one iteration of the event loop does, and for which tenants.

The event loop reads all connections that are readable in one iteration. Passing on what one socket sent
takes about 20 microseconds, so a thousand sockets that send at the same time would hold it for tens of
milliseconds. After BUDGET_SECONDS of an iteration, what was read waits for a later one. The tenants then take
turns: a tenant with a thousand sockets does not delay another's by more than one iteration.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque

from portal.clock import Clock
from portal.outbound.tunnel import Waiting

BUDGET_SECONDS = 0.001
"""Of one iteration of the event loop. Other work of the same iteration is not counted."""
_UNCOUNTED = 16
"""Reads of an iteration that may pass before the clock is read: with few sockets, turns cost nothing."""


class Turns:
    """The turns of all WebSockets of a process. Parameters: monotonic, a clock in seconds."""

    def __init__(self, monotonic: Clock = time.perf_counter) -> None:
        self._monotonic = monotonic
        self._waiting: OrderedDict[str, deque[Waiting]] = OrderedDict()
        """By tenant; the tenant whose turn is next comes first."""
        self._reads = 0
        """Reads since the last iteration that was counted."""
        self._has_turn = False
        """Whether something passes in its turn at present."""
        self._ends: float | None = None
        """When the budget of this iteration is used up; None while it is not counted."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def may_pass(self) -> bool:
        """Whether data may pass at once. If not, `wait` for a turn."""
        if self._has_turn:
            return True
        if self._ends is not None:
            return not self._waiting and self._monotonic() < self._ends
        self._reads += 1
        if self._reads > _UNCOUNTED:
            self._begin()
        return True

    def wait(self, tenant: str, waiting: Waiting) -> None:
        """Call `take_turn` in a later iteration. What waits already must not wait again."""
        self._waiting.setdefault(tenant, deque()).append(waiting)

    def _begin(self) -> float:
        """Begin to count an iteration; it has ended when the event loop calls what is scheduled here."""
        self._ends = ends = self._monotonic() + BUDGET_SECONDS
        asyncio.get_running_loop().call_soon(self._next_iteration)
        return ends

    def _next_iteration(self) -> None:
        self._reads, self._ends = 0, None
        if not self._waiting:
            return
        ends = self._begin()
        while self._waiting:
            tenant, queue = self._waiting.popitem(last=False)
            waiting = queue.popleft()
            if queue:
                self._waiting[tenant] = queue  # after the other tenants
            self._has_turn = True
            try:
                waiting.take_turn()
            finally:
                self._has_turn = False
            if self._monotonic() >= ends:
                return
