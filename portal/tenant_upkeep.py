"""Background work for tenants: reloads changed files, ends logins of removed registrations, checks losses."""

from __future__ import annotations

import asyncio

import structlog

from portal.errors import PortalError, StartupError
from portal.sessions.registrations import (
    LiveRegistrations,
    RegistrationUpkeep,
    registrations_of,
    served_tenants,
)
from portal.tenancy.removals import is_sudden_loss
from portal.web.context import Portal

_log = structlog.get_logger("portal.tenants")


class TenantUpkeep:
    """Follows the tenant files, and ends the logins of registrations that do not return."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._served: tuple[object, object, LiveRegistrations] | None = None
        self.registrations = RegistrationUpkeep(
            portal.store, serving=self._serving, confirms_removal=self._is_plausible, clock=portal.clock
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set."""
        registry, metrics = self._portal.registry, self._portal.metrics
        await asyncio.gather(
            registry.watch(
                stop, accepted=self._is_accepted, count_without_file=metrics.tenants_without_file.set
            ),
            self.registrations.run(stop),
        )

    async def check_replacement(self) -> None:
        """Refuse to replace a worker when files of most tenants that other workers serve are missing.

        This worker would respond 404 where the others serve. Raises StartupError, StoreUnavailable.
        """
        served = await served_tenants(self._portal.store, now=self._portal.clock())
        lost = (
            served - {tenant.slug for tenant in self._portal.registry.all()} - self._portal.registry.unclear
        )
        if lost and not await self._is_plausible(len(lost), len(served)):
            raise StartupError(
                f"The files of {len(lost)} of {len(served)} tenants that other processes serve are missing.",
                remedy="Restore the files, or confirm with: portal tenant reload --accept-removals",
            )

    def _serving(self) -> LiveRegistrations:
        """What this process serves; the same object until the registry publishes another state."""
        registry = self._portal.registry
        tenants, problems = registry.all(), registry.problems
        if self._served is None or self._served[0] is not tenants or self._served[1] is not problems:
            providers = (one for tenant in tenants for one in tenant.providers.values())
            self._served = tenants, problems, LiveRegistrations(registrations_of(providers), registry.unclear)
        return self._served[2]

    async def _is_plausible(self, lost: int, before: int) -> bool:
        most = self._portal.settings.max_removed_percent
        if not is_sudden_loss(lost=lost, before=before, max_percent=most):
            return True
        try:
            return await self._portal.registry.is_accepted(self._is_accepted)
        except OSError:
            return False

    async def _is_accepted(self, key: str) -> bool:
        """Whether `portal tenant reload --accept-removals` confirmed this recently, on any host."""
        try:
            return await self._portal.store.is_remembered(key, now=self._portal.clock())
        except PortalError as error:
            _log.warning("confirmation_not_read", code=error.code)
            return False
