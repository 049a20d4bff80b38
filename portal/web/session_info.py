"""`GET /session`: who am I, in which tenants — for scripts of the portal's own pages."""

from __future__ import annotations

from portal.web.base import PortalHandler
from portal.web.cards import roles_of, user_name


class SessionInfoHandler(PortalHandler):
    """The tenants this browser is signed in to. No claim but name and roles, and never a token."""

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
            for login in logins
            if (tenant := self.portal.registry.get(login.tenant)) and self.site.serves(login.tenant)
        ]
        self.finish({"tenants": tenants})
