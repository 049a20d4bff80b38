"""Bounds how many events of a kind are recorded, where strangers can cause them."""

from __future__ import annotations

from collections.abc import Hashable

_MOST_KEYS = 10_000


class EventRate:
    """Allows so many events for each key in each minute of this process. Parameters: most, of a key."""

    def __init__(self, most: int, *, seconds: float = 60.0) -> None:
        self._most = most
        self._seconds = seconds
        self._ends = 0.0
        self._counts: dict[Hashable, int] = {}

    def allows(self, key: Hashable, now: float) -> bool:
        """Count an event; False if there were enough. Parameters: now, seconds."""
        if now >= self._ends or now < self._ends - self._seconds:
            self._ends = now + self._seconds
            self._counts = {}
        count = self._counts.get(key, 0)
        if count >= self._most or (count == 0 and len(self._counts) >= _MOST_KEYS):
            return False
        self._counts[key] = count + 1
        return True
