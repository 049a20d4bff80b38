"""The tenants that a browser is signed in to: the account page, and the same as JSON for scripts."""

from __future__ import annotations

from portal.time_slices import in_slices
from portal.web.base import PageHandler, PortalHandler
from portal.web.cards import clock_text, roles_of, user_name
from portal.web.views import AccountPage


class AccountHandler(PageHandler):
    """`GET /account`: the tenants that this browser is signed in to, and for how long."""

    async def get(self) -> None:
        expires = (
            clock_text(self.request_session.session.absolute_expires_at, date=True)
            if self.request_session
            else ""
        )
        self.show(
            "account.html",
            AccountPage(
                logins=self.cards(),
                session_expires_text=expires,
                signed_in_texts={
                    login.tenant: clock_text(login.signed_in_at, date=True) for login in self.logins
                },
            ),
        )


class SessionInfoHandler(PortalHandler):
    """`GET /session`: for scripts of the portal's pages. Only names and roles, never a token."""

    async def get(self) -> None:
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        request_session = await self.open_session()
        logins = await self.portal.sessions.logins(request_session.session) if request_session else []
        tenants = [
            {
                "slug": tenant.slug,
                "name": tenant.name,
                "user": user_name(tenant, login),
                "roles": roles_of(tenant, login),
                "access_expires_at": login.access_expires_at,
            }
            async for login in in_slices(logins)
            if (tenant := self.portal.registry.get(login.tenant)) and self.site.serves(login.tenant)
        ]
        self.finish({"tenants": tenants})
