"""Deletes events that are older than the operator keeps them, in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from portal.clock import Clock
from portal.errors import PortalError
from portal.pauses import is_set_within
from portal.stores.tenant_store import TenantStore

_log = structlog.get_logger("portal.events")

_INTERVAL_SECONDS = 3600.0
_FIRST_SECONDS = 60.0
_DELETED_AT_ONCE = 1000
_PAUSE_SECONDS = 0.2
"""Between two steps, so that other writes are not delayed."""


class EventUpkeep:
    """Deletes old events every hour. Several processes may do it at once: each deletes what is left.

    Parameters: retention, how long events are kept, in seconds; clock, that of the database; may_delete,
    whether this process can trust that clock.
    """

    def __init__(
        self, store: TenantStore, *, retention: float, clock: Clock, may_delete: Callable[[], bool]
    ) -> None:
        self._store = store
        self._retention = retention
        self._clock = clock
        self._may_delete = may_delete

    async def run(self, stopped: asyncio.Event) -> None:
        """Delete old events every hour, the first time after a minute, until `stopped` is set."""
        seconds = _FIRST_SECONDS
        while not await is_set_within(stopped, seconds):
            await self.delete_old(stopped)
            seconds = _INTERVAL_SECONDS

    async def delete_old(self, stopped: asyncio.Event) -> None:
        """Delete what is older now, in steps of 1,000 events with pauses; end early when `stopped` is set."""
        if not self._may_delete():
            return
        before = max(0.0, self._clock() - self._retention)
        deleted = 0
        try:
            while True:
                some = await self._store.purge_events(before=before, most=_DELETED_AT_ONCE)
                deleted += some
                if some < _DELETED_AT_ONCE or await is_set_within(stopped, _PAUSE_SECONDS):
                    break
        except PortalError as error:
            _log.warning("old_events_not_deleted", code=error.code, deleted=deleted)
            return
        if deleted:
            _log.info("old_events_deleted", count=deleted)
