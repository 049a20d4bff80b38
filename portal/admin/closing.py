"""Closes tenants of the database: to new logins, to everybody, or for good; and opens them again."""

from __future__ import annotations

from dataclasses import dataclass

from portal.admin.events import Act
from portal.admin.logins import StoredTenantLogins
from portal.admin.tenants import TenantAdmin
from portal.stores.tenant_records import TenantStatus


@dataclass(frozen=True, slots=True)
class Closed:
    """What an act did: whether the status changed, and how many logins ended."""

    changed: bool
    ended: int


class Closing:
    """Changes what a tenant may do, together with its logins."""

    def __init__(self, tenants: TenantAdmin, logins: StoredTenantLogins) -> None:
        self._tenants = tenants
        self._logins = logins

    async def set_status(self, slug: str, status: TenantStatus, act: Act) -> Closed:
        """Set the status of a tenant; suspending it ends its logins.

        At a resume, logins that were completed while it closed end as well. Raises TenantMissing,
        TenantChanged, StoreUnavailable.
        """
        before = (await self._tenants.get(slug)).status
        ended = 0
        if before == TenantStatus.SUSPENDED and status != before:
            ended = await self._logins.end(slug)
        changed = await self._tenants.set_status(slug, status, act)
        if status == TenantStatus.SUSPENDED:
            ended = await self._logins.end(slug)
        return Closed(changed, ended)

    async def remove(self, slug: str, act: Act) -> int:
        """Remove a tenant with its revisions and logins; return how many logins ended.

        Raises TenantMissing, StoreUnavailable.
        """
        await self._tenants.remove(slug, act)
        return await self._logins.end(slug)
