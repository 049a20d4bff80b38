"""The metric of how late the event loop is."""

from __future__ import annotations

import asyncio

from portal.ops.tallies import Tallies
from portal.pauses import is_set_within

_INTERVAL_SECONDS = 0.25
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class LoopLag:
    """Measures how much later than planned the event loop runs a timer."""

    def __init__(self, tallies: Tallies) -> None:
        self._lag = tallies.histogram(
            "portal_event_loop_lag_seconds",
            "How much later than planned an event loop ran a timer; measured four times a second in "
            "each process.",
            bounds=_BOUNDS,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Measure until `stop` is set."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            due = loop.time() + _INTERVAL_SECONDS
            if await is_set_within(stop, _INTERVAL_SECONDS):
                return
            self._lag.observe(max(0.0, loop.time() - due))
