"""Follows the key ring file while the portal serves, in a thread.

Rule: a request takes keys from memory. It waits for no disk and no lock, and neither reads nor makes keys.
Two cases are excepted, each at most once for each change of the file: a sealed value, or a token that a
provider encrypted, names a key that this process does not know yet.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from portal.keys.client_key_ring import ClientKeyRing
from portal.keys.vault import Vault

_log = structlog.get_logger("portal.keys")

_LOOK_SECONDS = 1.0


class KeyRingWatch:
    """Looks at the file again and again for everything that keeps keys of it."""

    def __init__(self, vault: Vault, client_keys: ClientKeyRing) -> None:
        self._vault = vault
        self._client_keys = client_keys

    async def look(self) -> None:
        """Look once. Before a portal serves, so that no request is the first to read its own keys."""
        await asyncio.to_thread(self._vault.reload)
        await asyncio.to_thread(self._client_keys.reload)

    async def run(self, stop: asyncio.Event) -> None:
        """Look every second until `stop` is set."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await stop.wait()
                    return
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - the next look may go well
                _log.error("key_ring_not_looked_at", exc_info=error)
