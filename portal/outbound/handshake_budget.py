"""Limits the CPU time of each tenant's TLS handshakes, and runs them in threads.

A server decides how long a handshake takes: a chain of a tenant's own authorities (`tls.ca`) takes 128 ms or
more to verify, a chain without a trusted root 20 ms, and a Diffie-Hellman group of 8192 bits, which needs
only a public certificate, 229 ms. A step cannot be interrupted, so all steps run in threads, one per tenant
at a time; the time of a step beyond the usual is charged to the tenant. The time that each tenant used
recently decides which one is next (`handshake_threads`).
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
"""Seconds of unused share that can be used later."""
_HALF_LIFE = 300.0
"""Seconds after which used time counts half when the next tenant is chosen."""
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
        """Charge a step of a handshake: its number, from 1, and the seconds of CPU that it took."""
        self._taken = self.taken_lately(now) + seconds
        self._taken_at = now
        charged = max(0.0, seconds - USUAL) + (_STEP_SECONDS if step > FREE_STEPS else 0.0)
        if charged:
            begin = max(self._spent_until, now - _SAVED)
            self._spent_until = begin + charged / SHARE

    def taken_lately(self, now: float) -> float:
        """Seconds of CPU used; earlier use counts less."""
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
        """Run a step of a handshake in a thread and return its result.

        A step that is cancelled before it starts does not run. A running step continues when the caller is
        cancelled, and the tenant's next step waits for it: it must not use what the caller uses afterwards.
        Parameters: step, its number, from 1; received, bytes that the server sent in this handshake.
        Raises: OutboundFailed when the tenant's handshakes have used too much time; what the work raises.
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
