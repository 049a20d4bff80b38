"""A SQLite database as a portal leaves it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from portal.keys.key_ring import KeyRing
from portal.keys.key_ring_check import check_key_ring
from portal.stores.by_url import store_for


def opened_once(url: str, keys: Path) -> None:
    """Create a database, and record the key ring in it."""

    async def run() -> None:
        store = store_for(url)
        await store.open()
        await check_key_ring(store, KeyRing.load(keys))
        await store.close()

    asyncio.run(run())
