"""Tells before the clients' secrets and certificates expire: in the log and in a metric."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog

from portal.clock import Clock
from portal.pauses import is_set_within
from portal.tenancy.model import Tenant
from portal.tenancy.secret_notices import Notice, secret_notices
from portal.time_slices import in_slices

_log = structlog.get_logger("portal.tenants")

MOST_MEASURED = 100
"""How many registrations the metric has: of each tenant the one that expires first, then the others."""
_LOOK_SECONDS = 60.0
_AGAIN_SECONDS = 3600.0
"""How often notices are looked for while no tenant changes."""
_DAY = 86_400.0

Expiries = Sequence[tuple[str, str, float]]
"""Tenant, id of the provider, and when its next credential expires, in seconds since the epoch, UTC."""


class SecretWatch:
    """Logs each notice once for each threshold, and keeps the metric up to date.

    Parameters: tenants, returns the live tenants, the same object until one of them changes; clock, seconds
    since the epoch, UTC; measure, receives the registrations whose credentials expire first.
    """

    def __init__(
        self, tenants: Callable[[], Sequence[Tenant]], *, clock: Clock, measure: Callable[[Expiries], None]
    ) -> None:
        self._tenants = tenants
        self._clock = clock
        self._measure = measure
        self._logged: frozenset[Notice] = frozenset()
        self._looked_at: Sequence[Tenant] | None = None
        self._looked = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Look for notices until `stop` is set."""
        while not stop.is_set():
            await self.look()
            await is_set_within(stop, _LOOK_SECONDS)

    async def look(self) -> None:
        """Look for notices, if a tenant or an hour has changed since the last time."""
        tenants, now = self._tenants(), self._clock()
        if tenants is self._looked_at and now < self._looked + _AGAIN_SECONDS:
            return
        self._looked_at, self._looked = tenants, now
        notices: list[Notice] = []
        expiries: list[tuple[int, float, str, str]] = []
        async for tenant in in_slices(tenants):
            expiries += _expiries(tenant)
            notices += secret_notices(tenant, now)
        first = heapq.nsmallest(MOST_MEASURED, expiries)
        self._measure([(slug, provider, at) for _, at, slug, provider in first])
        for notice in notices:
            if notice not in self._logged:
                _report(notice, now)
        self._logged = frozenset(notices)


def _expiries(tenant: Tenant) -> list[tuple[int, float, str, str]]:
    """The place of each registration among those of its tenant, its next expiry, and tenant and provider.

    Sorted by them, no tenant hides the others with many registrations.
    """
    times = sorted(
        (min(one.at for one in provider.expiries), provider.id)
        for provider in tenant.providers.values()
        if provider.expiries
    )
    return [(place, at, tenant.slug, provider) for place, (at, provider) in enumerate(times)]


def _report(notice: Notice, now: float) -> None:
    _log.warning(
        "client_secret_expired" if notice.expired else "client_secret_expires",
        tenant=notice.tenant,
        provider=notice.provider,
        expires_at=datetime.fromtimestamp(notice.expires_at, UTC).isoformat(timespec="seconds"),
        days_left=max(0, int((notice.expires_at - now) // _DAY)),
        detail=notice.text,
    )
