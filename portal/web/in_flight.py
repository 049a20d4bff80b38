"""How many requests are in flight, and whether the portal is stopping."""

from __future__ import annotations


class RequestsInFlight:
    """Counts requests between their beginning and their end."""

    def __init__(self) -> None:
        self.count = 0
        self.draining = False
        """Set when the portal stops: every response then ends its connection."""

    def begin(self) -> None:
        self.count += 1

    def end(self) -> None:
        self.count -= 1
