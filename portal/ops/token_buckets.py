"""Token buckets for the networks of clients, in bounded memory.

Each network has a bucket, and so have the larger networks that contain it, with 16 times as many tokens at
each step: who has a /48 of IPv6 does not have the tokens of its 65,536 networks. When the table is full, a
new network has no bucket of its own; those of the larger networks count, or else one that all others share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from portal.clock import Clock

LARGER = 16
"""How many times the tokens of a network the next larger one has."""
MOST_NETWORKS = 10_000
"""Buckets of a table: with 200 bytes each, 2 MB."""
_OTHERS = b""
_SWEEP_SECONDS = 1.0
_ROUNDING = 1e-6


class TokenBuckets:
    """The buckets of one limit.

    A bucket has at most `burst` tokens and gets `rate` of them every second. So in any period of `seconds` a
    network takes at most `burst + rate * seconds`. A full bucket needs no memory.

    Parameters: monotonic, a clock in seconds; most, how many buckets are kept.
    """

    def __init__(self, *, rate: float, burst: float, monotonic: Clock, most: int = MOST_NETWORKS) -> None:
        self._interval = 1.0 / rate
        self._longest = burst / rate
        self._monotonic = monotonic
        self._most = most
        self._full_at: dict[bytes, float] = {}
        """When each bucket is full again; one that is missing is full."""
        self._swept_at = -math.inf

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, networks: Sequence[bytes]) -> float:
        """Take a token of every network; return 0.0, or the seconds until there is one, and take none.

        Parameters: networks, the smallest first; without any, the client is unknown and nothing is counted.
        """
        if not networks:
            return 0.0
        now = self._monotonic()
        changed: list[tuple[bytes, float]] = []
        for level, network in enumerate(networks):
            if self._has_place(network, now):
                changed.append((network, self._after(network, level, now)))
        if not changed:
            changed.append((_OTHERS, self._after(_OTHERS, len(networks), now)))
        wait = max(full_at for _, full_at in changed) - now - self._longest
        if wait > _ROUNDING:
            return wait
        self._full_at.update(changed)
        return 0.0

    def _after(self, network: bytes, level: int, now: float) -> float:
        """When a bucket is full again after one more token is taken."""
        return max(self._full_at.get(network, now), now) + self._interval / float(LARGER**level)

    def _has_place(self, network: bytes, now: float) -> bool:
        if network in self._full_at or len(self._full_at) < self._most:
            return True
        if now - self._swept_at < _SWEEP_SECONDS:
            return False
        self._swept_at = now
        self._full_at = {name: full_at for name, full_at in self._full_at.items() if full_at > now}
        return len(self._full_at) < self._most
