"""A tenant's page of the console."""

from __future__ import annotations

from dataclasses import dataclass

from portal.admin.viewers import Right
from portal.web.admin.base import AdminHandler, file_name


@dataclass(frozen=True, slots=True)
class TenantPage:
    """`GET /admin/t/{tenant}/`."""

    slug: str
    name: str
    file: str | None
    """Where a tenant of a file lives."""


class TenantPageHandler(AdminHandler):
    """`GET /admin/t/{tenant}/`: what the tenant is now."""

    right = Right.VIEW

    async def get(self, tenant: str) -> None:
        live, file = self.portal.registry.get(tenant), self.portal.registry.file_of(tenant)
        if file is None:
            await self.services.tenants.get(tenant)
        page = TenantPage(
            tenant,
            live.name if live else tenant,
            file_name(file.parent.name, file.name) if file is not None else None,
        )
        self.show("admin/tenant.html", page)
