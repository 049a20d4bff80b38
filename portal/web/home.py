"""The tenant home page: the user's organisation, its applications, and switching to another one."""

from __future__ import annotations

from portal.stores.model import Login
from portal.tenancy.model import Tenant
from portal.web.base import PageHandler
from portal.web.cards import email_of, roles_of, user_name
from portal.web.tenant_page import TenantPageHandler
from portal.web.views import HomeLink, TenantHomePage


class TenantHomeRedirectHandler(PageHandler):
    """`GET /t/{tenant}`: redirects to the tenant home page."""

    async def get(self, tenant: str) -> None:
        self.redirect(f"/t/{tenant}/", permanent=True)


class TenantHomeHandler(TenantPageHandler):
    """`GET /t/{tenant}/`: the home of the tenant's user, or the tenant's sign-in."""

    async def get(self, tenant: str) -> None:
        live = self.tenant(tenant)
        login = self.login_at(tenant)
        if login is None:
            self.show_sign_in(live)
            return
        if (home := self.portal.front_ends.home_of(self.site, tenant)) is not None:
            self.redirect(home, status=303)
            return
        self._show_home(live, login)

    def _show_home(self, tenant: Tenant, login: Login) -> None:
        self.show(
            "tenant_home.html",
            TenantHomePage(
                tenant=self.card(tenant, login),
                user=user_name(tenant, login),
                email=email_of(tenant, login),
                roles=roles_of(tenant, login),
                home_url=tenant.home_url or "",
                links=tuple(HomeLink(link.title, link.url, link.description) for link in tenant.links),
                others=tuple(card for card in self.cards() if card.slug != tenant.slug),
            ),
        )
