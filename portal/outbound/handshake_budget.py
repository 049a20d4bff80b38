"""Limits the CPU time of each tenant's TLS handshakes, and runs them in threads.

A server decides how long a handshake takes: to verify a chain of a tenant's own authorities (`tls.ca`) takes
128 ms or more, an untrusted chain 20 ms, and a Diffie-Hellman group of 8192 bits, which any server with a
public certificate can choose, 229 ms. A step cannot be interrupted, so all steps run in threads, one per
tenant at a time; the time of a step beyond the usual is charged to the tenant.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from portal.errors import OutboundFailed

SHARE = 0.05
"""Fraction of one processor core that a tenant's slow handshakes may use."""
USUAL = 0.01
"""Seconds of CPU time that are free in each step of a handshake."""
FREE_STEPS = 16
"""Each further step of a handshake is charged: a server may send its bytes one by one."""
_STEP_SECONDS = 0.0002
"""Seconds of CPU time to switch to a thread and back."""
_SAVED = 2.0
"""An unused share can be used for this many seconds."""

T = TypeVar("T")


class HandshakeBudget:
    """The time that the handshakes of one tenant have used. Times are seconds of a monotonic clock."""

    __slots__ = ("_spent_until",)

    def __init__(self) -> None:
        self._spent_until = float("-inf")

    def spend(self, seconds: float, now: float, *, step: int = 1) -> None:
        """Charge one step of a handshake, its number and its seconds of CPU time given."""
        charged = max(0.0, seconds - USUAL) + (_STEP_SECONDS if step > FREE_STEPS else 0.0)
        if charged:
            begin = max(self._spent_until, now - _SAVED)
            self._spent_until = begin + charged / SHARE

    def pause(self, now: float) -> float:
        """Seconds for which no handshake may begin or continue."""
        return max(0.0, self._spent_until - now)


class HandshakeTurn:
    """Runs the handshakes of one tenant in threads, one step at a time, so that other tenants get a thread.

    Parameters: threads, which all tenants share.
    """

    __slots__ = ("_free", "_threads", "budget")

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._free = asyncio.Lock()
        self.budget = HandshakeBudget()

    async def run(self, work: Callable[[], T], *, step: int) -> T:
        """Run one step of a handshake and return its result.

        When the caller is cancelled, the work continues and keeps the tenant's turn until it ends; it must
        use nothing that the caller uses afterwards.
        Raises: OutboundFailed when the tenant's handshakes have used too much time; any exception of `work`.
        """
        loop = asyncio.get_running_loop()
        await self._free.acquire()
        if self.budget.pause(time.monotonic()):
            self._free.release()
            raise OutboundFailed("no TLS connection: handshakes took too long")
        try:
            running = loop.run_in_executor(self._threads, self._measure, work, step)
        except RuntimeError as error:  # the executor is shut down
            self._free.release()
            raise OutboundFailed("the client is closed") from error
        running.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(running)

    def _measure(self, work: Callable[[], T], step: int) -> T:
        began = time.thread_time()
        try:
            return work()
        finally:
            self.budget.spend(time.thread_time() - began, time.monotonic(), step=step)
