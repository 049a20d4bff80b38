"""The type of every injected clock, and the clock of the host."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns seconds. A parameter called `clock` counts from the epoch, UTC; one called `monotonic` counts from
an arbitrary start and never goes back."""


def now() -> float:
    """Return this host's time in seconds since the epoch, UTC, rounded to a millisecond."""
    return round(time.time(), 3)
