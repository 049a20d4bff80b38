"""Limits the CPU time of each tenant's TLS handshakes, and runs them in threads.

A server decides how long a handshake takes: a chain of a tenant's own authorities (`tls.ca`) takes 128 ms and
more to verify, a chain that nobody vouches for 20 ms, and a Diffie-Hellman group of 8192 bits, which needs no
more than a public certificate, 229 ms. A step cannot be stopped halfway, so all of them run in threads, one
of a tenant at a time; what a step takes beyond the usual is charged to the tenant. Which of many tenants
is next is decided by what each has taken lately (`handshake_threads`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from portal.errors import OutboundFailed
from portal.outbound.handshake_threads import HandshakeThreads

SHARE = 0.05
"""Fraction of one processor core that a tenant's slow handshakes may use."""
USUAL = 0.01
"""Seconds of CPU time that are free in each step of a handshake."""
FREE_STEPS = 16
"""Each further step of a handshake is charged: a server may send its bytes one by one."""
_STEP_SECONDS = 0.0002
"""Seconds of CPU time to switch to a thread and back."""
_SAVED = 2.0
"""Seconds for which an unused share is kept."""
_HALF_LIFE = 300.0
"""Seconds after which half of what was taken is forgotten, when it is decided who is next."""
_SECONDS_PER_BYTE = 2e-6
"""Seconds of CPU that verifying certificates takes for each byte of them, with the slowest keys."""

T = TypeVar("T")


class HandshakeBudget:
    """The time that the handshakes of one tenant have used. Times are seconds of a monotonic clock."""

    __slots__ = ("_spent_until", "_taken", "_taken_at")

    def __init__(self) -> None:
        self._spent_until = float("-inf")
        self._taken = 0.0
        self._taken_at = float("-inf")

    def spend(self, seconds: float, now: float, *, step: int = 1) -> None:
        """Charge the step of this number of a handshake, which took so many seconds."""
        self._taken = self.taken_lately(now) + seconds
        self._taken_at = now
        charged = max(0.0, seconds - USUAL) + (_STEP_SECONDS if step > FREE_STEPS else 0.0)
        if charged:
            begin = max(self._spent_until, now - _SAVED)
            self._spent_until = begin + charged / SHARE

    def taken_lately(self, now: float) -> float:
        """Seconds of CPU, those of long ago counted less."""
        return self._taken * 0.5 ** (max(0.0, now - self._taken_at) / _HALF_LIFE) if self._taken else 0.0

    def pause(self, now: float) -> float:
        """Seconds for which no handshake may begin or continue."""
        return max(0.0, self._spent_until - now)


class HandshakeTurn:
    """Runs the handshakes of one tenant in threads, one step at a time, so that other tenants get a thread.

    Parameters: threads, which all tenants share.
    """

    __slots__ = ("_free", "_threads", "budget")

    def __init__(self, threads: HandshakeThreads) -> None:
        self._threads = threads
        self._free = asyncio.Lock()
        self.budget = HandshakeBudget()

    async def run(self, work: Callable[[], T], *, step: int, received: int = 0) -> T:
        """Run the step of this number of a handshake, and return what it returns.

        A step that was given up before it began is not run. Otherwise the turn ends with the work, also when
        the caller was cancelled before: the work goes on, and it must use nothing that the caller uses
        afterwards.
        Parameters: received, bytes that the server has sent in this handshake.
        Raises: OutboundFailed, the tenant's handshakes have taken too long; what the work raises.
        """
        await self._free.acquire()
        now = time.monotonic()
        if self.budget.pause(now):
            self._free.release()
            raise OutboundFailed("no TLS connection: handshakes took too long")
        expected = self.budget.taken_lately(now) + received * _SECONDS_PER_BYTE
        try:
            running = await self._threads.start(partial(self._measure, work, step), expected)
        except BaseException:
            self._free.release()
            raise
        running.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(running)

    def _measure(self, work: Callable[[], T], step: int) -> T:
        began = time.thread_time()
        try:
            return work()
        finally:
            self.budget.spend(time.thread_time() - began, time.monotonic(), step=step)
