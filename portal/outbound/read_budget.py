"""How much of the event loop's time one tenant's servers may take by sending their bytes in small pieces.

Reading a piece costs time whatever its size. A server that sends single bytes could keep the event loop busy
without end (THREATS D2), so what small pieces cost is charged here, and whoever has spent the share waits.
"""

from __future__ import annotations

SHARE = 0.05
"""Part of the time of the event loop that all connections of a tenant may spend on small pieces."""
_SAVED = 1.0
"""Seconds for which an unused share is kept."""
_PASSING_ON = 0.0002
"""Seconds that passing on what was read takes, beside reading and parsing it."""
_DEAREST = 0.02
"""Seconds; more is the machine's fault."""


class ReadBudget:
    """The share of one tenant. Times are seconds of the event loop's clock."""

    __slots__ = ("_spent_until",)

    def __init__(self) -> None:
        self._spent_until = float("-inf")

    def spend(self, seconds: float, now: float) -> float:
        """Charge a read that took so many seconds; return how long its connection must not read again.

        Connections that have to wait get different times, so that they do not all read at once.
        """
        begin = max(self._spent_until, now - _SAVED)
        self._spent_until = begin + min(_PASSING_ON + seconds, _DEAREST) / SHARE
        return max(0.0, self._spent_until - now)
