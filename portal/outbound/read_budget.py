"""How much of the event loop's time one tenant's servers may take by sending their bytes in small pieces.

Reading a piece costs time whatever its size. A server that sends single bytes could keep the event loop busy
without end (THREATS D2), so what small pieces cost is charged here, and whoever has spent the share waits.
While the event loop has time to spare, nobody waits: many streams of small events are no attack.
"""

from __future__ import annotations

import time

SHARE = 0.03
"""Part of the time of the event loop that all connections of a tenant may spend on small pieces."""
BUSY = 0.5
"""Part of the time that the event loop's thread works from which the share counts."""
_LOOK_SECONDS = 0.1
"""How often it is looked at."""
_SAVED = 1.0
"""Seconds for which an unused share is kept."""
_PASSING_ON = 0.0002
"""Seconds that passing on what was read takes, beside reading and parsing it."""
_DEAREST = 0.02
"""Seconds; more is the machine's fault."""


class LoopLoad:
    """Whether the thread that asks had much to do lately. Times are seconds of the event loop's clock."""

    __slots__ = ("_busy", "_since", "_used")

    def __init__(self) -> None:
        self._busy = False
        self._since = float("-inf")
        self._used = 0.0

    def is_busy(self, now: float) -> bool:
        """Whether it worked for more than BUSY of the time that was looked at last."""
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
        """Charge a read that took so many seconds; return how long its connection must not read again.

        Connections that have to wait get different times, so that they do not all read at once.
        """
        begin = max(self._spent_until, now - _SAVED)
        self._spent_until = begin + min(_PASSING_ON + seconds, _DEAREST) / SHARE
        if not self._load.is_busy(now):
            self._spent_until = min(self._spent_until, now)
        return max(0.0, self._spent_until - now)
