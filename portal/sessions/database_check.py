"""Checks that the key ring matches the database and that the database is not an older copy."""

from __future__ import annotations

import asyncio

import structlog

from portal.errors import StartupError, StoreUnavailable
from portal.keys.key_ring import KeyRing
from portal.keys.key_ring_check import check_key_ring
from portal.pauses import is_set_within
from portal.sessions.generation_check import GenerationCheck
from portal.stores.tenant_store import Database

_log = structlog.get_logger("portal.store")


class DatabaseCheck:
    """Checks an open database with `start`, then every `interval` seconds with `watch`."""

    def __init__(
        self, store: Database, keyring: KeyRing, generation: GenerationCheck, *, interval: float = 60.0
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._generation = generation
        self._interval = interval
        self.refused = asyncio.Event()
        """Set by `watch` when the portal must stop using the database."""
        self.refusal: StartupError | None = None

    async def start(self) -> None:
        """Raise StartupError when the database must not be used with this key ring; StoreUnavailable."""
        await self.check_key_ring()
        await self._generation.advance()

    async def check_key_ring(self) -> None:
        """The first half of `start`, for commands that serve nothing. Raises as `start`."""
        await check_key_ring(self._store, self._keyring)

    async def watch(self, stopped: asyncio.Event) -> None:
        """Check until `stopped`, and once after: a copy made before then is behind the last generation.

        When the database has been replaced with an older copy, sets `refused` and returns: the process must
        exit.
        """
        while not stopped.is_set():
            await is_set_within(stopped, self._interval)
            try:
                await self._generation.advance()
                await self._record_key_ring()
            except StoreUnavailable as error:
                _log.warning("database_not_checked", detail=error.detail)
            except StartupError as error:
                _log.error("database_refused", detail=error.message, remedy=error.remedy)
                self.refusal = error
                self.refused.set()
                return

    async def _record_key_ring(self) -> None:
        """Record new keys of the ring. Only log a mismatch: this process can still decrypt stored values."""
        try:
            await check_key_ring(self._store, self._keyring)
        except StartupError as error:
            _log.error("key_ring_does_not_match", detail=error.message)
