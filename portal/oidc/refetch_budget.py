"""Rate limit for fetching a provider's keys because a token has an unknown `kid`.

Anybody can send a token with an invented `kid`, and an honest provider may rotate its keys several times in
succession (OIDC Core 10.1.1): hence a token bucket with a burst and a slow refill.
"""

from __future__ import annotations

from collections.abc import Hashable

from portal.clock import Clock

BURST = 5
"""Fetches that are allowed without a pause."""
REFILL_SECONDS = 30.0
"""Seconds after which one more fetch is allowed."""

_ROUNDING = 0.001


class RefetchBudget:
    """Counts fetches by key, usually a registration and a purpose.

    Parameters: clock, seconds since the epoch, UTC; burst, fetches that are allowed without a pause; refill,
    seconds after which one more is allowed.
    """

    def __init__(self, clock: Clock, *, burst: int = BURST, refill: float = REFILL_SECONDS) -> None:
        self._clock = clock
        self._burst = burst
        self._refill = refill
        self._full_at: dict[Hashable, float] = {}

    def take(self, key: Hashable) -> bool:
        """Count one fetch if it is allowed now. Return whether it is."""
        now, whole = self._clock(), self._burst * self._refill
        full_at = min(self._full_at.get(key, now), now + whole)  # the clock may have been set back
        full_after = max(full_at, now) + self._refill
        is_allowed = full_after - now <= whole + _ROUNDING
        self._full_at[key] = full_after if is_allowed else full_at
        return is_allowed
