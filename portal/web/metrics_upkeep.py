"""Keeps the metrics of a process up to date, and measures what there is when they are served."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import structlog

from portal.errors import StoreUnavailable
from portal.ops.state_metric import MeasuredState
from portal.ops.tenant_labels import OTHER
from portal.pauses import is_set_within
from portal.stores.tenant_logins import LiveCounts, TenantLogins
from portal.tenancy.model import Tenant
from portal.tenancy.stored import StoredTenants
from portal.time_slices import in_slices
from portal.web.context import Portal

_log = structlog.get_logger("portal.metrics")

_FLUSH_SECONDS = 1.0
_COUNT_SECONDS = 15.0
"""How long counts of the database are served again."""


class MetricsUpkeep:
    """Follows the tenants, and shares what this process counts with the others.

    Parameters: logins, counts what the database has; stored, the tenants of the database; key_created, when
    the newest key of the vault was created.
    """

    def __init__(
        self,
        portal: Portal,
        logins: TenantLogins,
        stored: StoredTenants,
        *,
        key_created: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._portal = portal
        self._metrics = portal.metrics
        self._logins = logins
        self._stored = stored
        self._key_created = key_created
        self._monotonic = monotonic
        self._followed: Sequence[Tenant] | None = None
        self._counts: LiveCounts | None = None
        self._counted_at = float("-inf")

    async def follow(self) -> None:
        """Choose the tenants that have metrics of their own, if a tenant has changed."""
        tenants = self._portal.registry.all()
        if tenants is not self._followed:
            self._followed = tenants
            await asyncio.to_thread(self._metrics.tenants.follow, [tenant.slug for tenant in tenants])

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the metrics up to date until `stop` is set."""
        while not await is_set_within(stop, _FLUSH_SECONDS):
            await self.follow()
            await self._metrics.flush()
        await self._metrics.close()

    async def measure(self) -> None:
        """Measure what there is, before the metrics are served."""
        await self.follow()
        counts = await self._live_counts()
        registry, labels = self._portal.registry, self._metrics.tenants
        revisions = {
            slug: stored.state.revision
            for slug, stored in self._stored.tenants.items()
            if labels.is_named(slug) and registry.file_of(slug) is None
        }
        self._metrics.state.set(
            MeasuredState(
                sessions=counts.sessions if counts else None,
                logins=counts.logins if counts else None,
                tenants=len(registry.all()),
                revisions=revisions,
                problems=await self._problems(),
                vault_key_created=self._key_created(),
            )
        )
        await self._metrics.flush()

    async def _problems(self) -> Mapping[str, int]:
        """The number of problems by the label of their tenant; also of tenants that were never live."""
        most = self._portal.settings.metrics.tenants
        found: Counter[str] = Counter()
        async for name, error in in_slices(sorted(self._portal.registry.problems.items())):
            slug = self._portal.registry.slug_of_problem(name)
            named = slug in found or (slug and len(found) < most)
            found[slug if named else OTHER] += len(error.problems)
        return found

    async def _live_counts(self) -> LiveCounts | None:
        """None while the database cannot be read."""
        now = self._monotonic()
        if now >= self._counted_at + _COUNT_SECONDS:
            self._counted_at = now
            try:
                self._counts = await self._logins.count_all(now=self._portal.clock())
            except StoreUnavailable as error:
                self._counts = None
                _log.warning("sessions_not_counted", code=error.code, detail=error.detail)
        return self._counts
