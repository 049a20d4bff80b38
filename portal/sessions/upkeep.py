"""Database maintenance in the background: checks its clock and deletes expired documents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from portal.errors import PortalError
from portal.pauses import is_set_within
from portal.stores.clock_check import ClockCheck
from portal.stores.observer import StoreObserver
from portal.stores.store import Store

_log = structlog.get_logger("portal.store")

_INTERVAL_SECONDS = 5.0
_SWEEP_SECONDS = 60.0
_LOG_SECONDS = 60.0
_LEFT_SECONDS = 3600.0


class StoreUpkeep:
    """Maintains a store until the portal stops.

    Parameters: end_expired, deletes logins whose time is over, with their sessions, and returns how many.
    """

    def __init__(
        self,
        store: Store,
        clock_check: ClockCheck,
        observer: StoreObserver,
        *,
        end_expired: Callable[[], Awaitable[int]],
    ) -> None:
        self._store = store
        self._end_expired = end_expired
        self._clock_check = clock_check
        self._observer = observer
        self._logged_at = float("-inf")

    async def run(self, stopped: asyncio.Event) -> None:
        """Maintain the store every 5 s, and sweep every 60 s, until `stopped` is set."""
        sweep_at = time.monotonic() + _SWEEP_SECONDS
        while not stopped.is_set():
            await self.maintain()
            if time.monotonic() >= sweep_at:
                sweep_at = time.monotonic() + _SWEEP_SECONDS
                await self.sweep()
            await is_set_within(stopped, _INTERVAL_SECONDS)

    async def maintain(self) -> None:
        """Measure the database's clock and log when this host's clock differs; see `Store.maintain`."""
        try:
            await self._store.maintain()
        except PortalError as error:
            if time.monotonic() >= self._logged_at + _LOG_SECONDS:
                self._logged_at = time.monotonic()
                _log.warning("store_not_maintained", code=error.code, detail=error.detail)
        self._observer.clock_offset(self._clock_check.offset)
        self._clock_check.report()

    async def sweep(self) -> None:
        """Delete expired documents; databases without TTL indexes rely on it.

        Logins and sessions are left to `end_expired` for an hour, so that nothing else deletes them before.
        A process whose clock is wrong deletes nothing: it may have measured the database's clock wrongly.
        """
        if not self._clock_check.may_sweep():
            return
        try:
            deleted = await self._end_expired()
            deleted += await self._store.purge(keep_sign_ins=_LEFT_SECONDS)
        except PortalError as error:
            _log.warning("sweep_failed", code=error.code, detail=error.detail)
        else:
            _log.debug("swept", deleted=deleted)
