"""Limits the event loop's time that one tenant's servers can use up by sending data in small pieces.

Reading a piece costs time whatever its size. A server that sends single bytes could keep the event loop busy
forever (THREATS D2), so the time for small pieces is charged here, and the connections of a tenant whose
share is spent are paused. While the event loop is not busy, no connection is paused: many streams of small
events are no attack.
"""

from __future__ import annotations

import time

SHARE = 0.03
"""Fraction of the event loop's time that all connections of a tenant may spend on small pieces."""
BUSY = 0.5
"""The limit applies when the event loop's thread uses more than this fraction of the time."""
_LOOK_SECONDS = 0.1
"""Interval at which the load is measured."""
_SAVED = 1.0
"""An unused share can be used for this many seconds."""
_PASSING_ON = 0.0002
"""Seconds to pass data on to the client, in addition to reading and parsing it."""
_MAX_CHARGE = 0.02
"""The most seconds that one read is charged; a longer time is the fault of the machine."""


class LoopLoad:
    """Measures whether the calling thread has been busy. Times are seconds of the event loop's clock."""

    __slots__ = ("_busy", "_since", "_used")

    def __init__(self) -> None:
        self._busy = False
        self._since = float("-inf")
        self._used = 0.0

    def is_busy(self, now: float) -> bool:
        """Whether the thread used more than BUSY of the last interval as CPU time."""
        passed = now - self._since
        if passed >= _LOOK_SECONDS:
            used = time.thread_time()
            self._busy = used - self._used > BUSY * passed
            self._since, self._used = now, used
        return self._busy


class ReadBudget:
    """The share of one tenant. Times are seconds of the event loop's clock."""

    __slots__ = ("_load", "_spent_until")

    def __init__(self, load: LoopLoad) -> None:
        self._load = load
        self._spent_until = float("-inf")

    def spend(self, seconds: float, now: float) -> float:
        """Charge a read that took `seconds`; return for how many seconds its connection must pause.

        The pauses of several connections differ, so that they do not all read at the same time.
        """
        begin = max(self._spent_until, now - _SAVED)
        self._spent_until = begin + min(_PASSING_ON + seconds, _MAX_CHARGE) / SHARE
        if not self._load.is_busy(now):
            self._spent_until = min(self._spent_until, now)
        return max(0.0, self._spent_until - now)
