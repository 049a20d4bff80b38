"""A time limit for one request after another, which is rarely reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_CLOCK_STEP = 0.001
"""Seconds. uvloop's clock counts milliseconds: a timer may end up to one before its time."""


class TimeLimit:
    """Calls `reached` when a limit that was started is neither stopped nor started again in time.

    To make and cancel a timer of the event loop costs more than to look at the time: one timer stays for many
    requests, and is set anew when it ends before the current limit.
    """

    __slots__ = ("_due", "_reached", "_timer", "loop")

    def __init__(self, reached: Callable[[], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self._reached = reached
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        """Begin a limit; it replaces the one before."""
        self._due = due = self.loop.time() + seconds
        if self._timer is None or self._timer.when() > due:
            self._cancel()
            self._timer = self.loop.call_at(due, self._ended)

    def stop(self) -> None:
        """End the current limit. The timer stays for the next one."""
        self._due = None

    def close(self) -> None:
        """End the current limit and the timer."""
        self._due = None
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ended(self) -> None:
        self._timer, due = None, self._due
        if due is None:
            return
        if due - self.loop.time() > _CLOCK_STEP:
            self._timer = self.loop.call_at(due, self._ended)
        else:
            self._due = None
            self._reached()
