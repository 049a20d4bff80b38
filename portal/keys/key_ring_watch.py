"""Reloads the key ring file in a thread while the portal runs.

Rule: a request uses keys in memory. It waits for no disk and no lock, and neither reads nor creates keys.
There are two exceptions, each at most once per change of the file: a sealed value, or a token that a provider
encrypted, names a key that this process has not loaded.
"""

from __future__ import annotations

import asyncio

import structlog

from portal.keys.client_key_ring import ClientKeyRing
from portal.keys.vault import Vault
from portal.pauses import is_set_within

_log = structlog.get_logger("portal.keys")

_INTERVAL_SECONDS = 1.0


class KeyRingWatch:
    """Reloads the vault and the client keys when the file changes."""

    def __init__(self, vault: Vault, client_keys: ClientKeyRing) -> None:
        self._vault = vault
        self._client_keys = client_keys

    async def reload(self) -> None:
        """Reload once. Call it before the portal serves, so that no request has to load keys."""
        await asyncio.to_thread(self._vault.reload)
        await asyncio.to_thread(self._client_keys.reload)

    async def run(self, stop: asyncio.Event) -> None:
        """Reload every second until `stop` is set."""
        while not await is_set_within(stop, _INTERVAL_SECONDS):
            try:
                await self.reload()
            except Exception as error:  # noqa: BLE001 - the next reload may succeed
                _log.error("key_ring_not_checked", exc_info=error)
