"""The overview of the console: the tenants that the viewer may see."""

from __future__ import annotations

from dataclasses import dataclass

from portal.admin.viewers import Right
from portal.web.admin.base import AdminHandler
from portal.web.cards import tenant_card
from portal.web.views import TenantCard


@dataclass(frozen=True, slots=True)
class OverviewPage:
    """`GET /admin/`."""

    tenants: tuple[TenantCard, ...]
    operator: bool


class OverviewHandler(AdminHandler):
    """`GET /admin/`: operators see all tenants, admins theirs."""

    right = Right.VIEW

    async def get(self) -> None:
        registry = self.portal.registry
        slugs = sorted(self.viewer.admin_of)
        mine = [tenant for slug in slugs if (tenant := registry.get(slug)) is not None]
        found = list(registry.all())[:50] if self.viewer.operator else mine
        cards = tuple(tenant_card(tenant, None) for tenant in found)
        self.show("admin/overview.html", OverviewPage(cards, self.viewer.operator))
