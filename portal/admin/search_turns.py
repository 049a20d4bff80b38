"""Searches of the console take turns, so that who searches much delays only other searches.

A search reads thousands of entries, through the same connection to the database as the calls of all tenants,
and decodes them in the same event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class SearchTurns:
    """Lets one search of a process run at a time; among those that wait, each viewer has one in the queue."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._of_viewers: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, viewer: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it in the block. Parameters: viewer, on whose behalf the search is."""
        own = self._of_viewers.get(viewer)
        if own is None:
            own = self._of_viewers[viewer] = asyncio.Lock()
        async with own, self._turn:
            yield
