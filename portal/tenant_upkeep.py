"""Background work for tenants: reloads changed files and revisions, ends logins of removed registrations.

It also checks losses, records which tenant owns each name, deletes old events, and tells before client
secrets expire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from portal.admin.event_upkeep import EventUpkeep
from portal.admin.file_events import FileEvents
from portal.background import kept_running
from portal.errors import PortalError, StartupError
from portal.oidc.provider import Provider
from portal.pauses import is_set_within
from portal.sessions.registrations import (
    LiveRegistrations,
    Registration,
    RegistrationUpkeep,
    registrations_of,
    served_tenants,
)
from portal.tenancy.model import Tenant
from portal.tenancy.owner_record import OwnerRecord
from portal.tenancy.removals import is_sudden_loss
from portal.tenancy.secret_watch import SecretWatch
from portal.tenancy.stored import StoredTenants
from portal.time_slices import in_turns
from portal.web.context import Portal

_log = structlog.get_logger("portal.tenants")

_STORED_SECONDS = 1.0
"""How often each process asks the database whether a tenant changed."""


@dataclass(frozen=True, slots=True)
class _Served:
    """Tenants and problems of the registry, and the registrations to serve because of them."""

    tenants: Sequence[Tenant]
    problems: object
    registrations: LiveRegistrations


class TenantUpkeep:
    """Follows the tenant files, and ends the logins of registrations that do not return."""

    def __init__(self, portal: Portal, stored: StoredTenants) -> None:
        self._portal = portal
        self._stored = stored
        self._served: _Served | None = None
        self.owners = OwnerRecord(portal.store, portal.registry)
        self.registrations = RegistrationUpkeep(
            portal.store,
            serving=self._serving,
            confirms_removal=self._is_plausible,
            clock=portal.clock,
            ended=portal.user_events.registration_ended,
        )
        self.file_events = FileEvents(
            portal.store, portal.settings.tenants, portal.registry, portal.user_events
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set."""
        portal = self._portal
        events = EventUpkeep(
            portal.admin.store,
            retention=portal.settings.events.retention,
            clock=portal.clock,
            may_delete=portal.clock_check.may_sweep,
        )
        registry, metrics = self._portal.registry, self._portal.metrics
        loops = (
            partial(
                registry.watch,
                accepted=self._is_accepted,
                count_without_file=metrics.tenants_without_file.set,
            ),
            self.registrations.run,
            self.owners.run,
            self.file_events.run,
            self._follow_stored_tenants,
            events.run,
            SecretWatch(registry.all, clock=self._portal.clock, measure=metrics.expiries.set).run,
        )
        await asyncio.gather(*(kept_running(loop, stop) for loop in loops))

    async def read_stored_tenants(self) -> None:
        """Serve the tenants of the database as they are now. Raises StoreUnavailable."""
        changed = await self._stored.changed()
        if changed:
            await self._portal.registry.publish_stored(self._stored.tenants, changed)

    async def _follow_stored_tenants(self, stop: asyncio.Event) -> None:
        """While the database cannot be read, its tenants stay as they are."""
        while not await is_set_within(stop, _STORED_SECONDS):
            try:
                await self.read_stored_tenants()
            except PortalError as error:
                _log.warning("stored_tenants_not_read", code=error.code)

    async def check_replacement(self, *, reloads: bool = False) -> None:
        """Refuse to replace a worker when files of most tenants that other workers serve are missing.

        This worker would respond 404 where the others serve. Raises StartupError, StoreUnavailable.
        Parameters: reloads, whether it replaces a worker that could go on: then a single tenant whose file
        has become invalid is enough, because the worker still serves its last valid version.
        """
        served = await served_tenants(self._portal.store, now=self._portal.clock())
        invalid = served & self._portal.registry.unclear
        if reloads and invalid:
            raise StartupError(
                f"The file of {min(invalid)} is invalid, and {len(invalid)} such tenants are still served.",
                remedy="Correct the file (portal tenant check), then send SIGHUP again.",
            )
        lost = (
            served - {tenant.slug for tenant in self._portal.registry.all()} - self._portal.registry.unclear
        )
        if lost and not await self._is_plausible(len(lost), len(served)):
            raise StartupError(
                f"The files of {len(lost)} of {len(served)} tenants that other processes serve are missing.",
                remedy="Restore the files, or confirm with: portal tenant reload --accept-removals",
            )

    def _serving(self) -> LiveRegistrations:
        """What this process serves; the same object until that changes."""
        registry = self._portal.registry
        before, (tenants, problems) = self._served, (registry.all(), registry.problems)
        if before is None:
            live = frozenset(registrations_of(_providers(tenants)))
        elif before.tenants is tenants and before.problems is problems:
            return before.registrations
        else:
            live = _replaced(frozenset(before.registrations.live), before.tenants, tenants)
        registrations = LiveRegistrations(live, registry.unclear)
        if before is not None and registrations == before.registrations:
            registrations = before.registrations
        self._served = _Served(tenants, problems, registrations)
        return registrations

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


def _providers(tenants: Iterable[Tenant]) -> Iterator[Provider]:
    return (provider for tenant in tenants for provider in tenant.providers.values())


def _replaced(
    live: frozenset[Registration], before: Sequence[Tenant], after: Sequence[Tenant]
) -> frozenset[Registration]:
    """Replace the registrations of tenants that changed; the same object if that changes nothing."""
    old, new = ({id(tenant) for tenant in in_turns(tenants)} for tenants in (before, after))
    removed = registrations_of(_providers(one for one in in_turns(before) if id(one) not in new))
    added = registrations_of(_providers(one for one in in_turns(after) if id(one) not in old))
    return live if removed == added else (live - removed) | added
