"""The type of every clock that is passed to a function or class, and the clock of the host."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns seconds: since the epoch, UTC, where a parameter is called `clock`; since any fixed moment, and
never less than before, where it is called `monotonic`."""


def now() -> float:
    """The time of this host in seconds since the epoch, UTC, rounded to a millisecond."""
    return round(time.time(), 3)
