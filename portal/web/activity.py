"""How many requests are in flight, so that a stop can wait for them."""

from __future__ import annotations

import asyncio


class Activity:
    """Counts requests between their beginning and their end."""

    def __init__(self) -> None:
        self.count = 0
        self.draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self) -> None:
        self.count += 1
        self._idle.clear()

    def end(self) -> None:
        self.count -= 1
        if self.count <= 0:
            self._idle.set()

    async def drain(self, seconds: float) -> bool:
        """Wait at most `seconds` until nothing is in flight; return whether that is so."""
        self.draining = True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
