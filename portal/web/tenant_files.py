"""Serves a tenant's logo, and the style sheet with its colour, from the portal's own origin."""

from __future__ import annotations

from portal.errors import NotFound
from portal.web.base import PortalHandler
from portal.web.cache_control import FOREVER
from portal.web.product import LOGO_POLICY
from portal.web.product_files import MEDIA_TYPES
from portal.web.tenant_style import style_sheet


class TenantLogoHandler(PortalHandler):
    """`GET /t/{tenant}/logo`: the tenant's logo.

    A logo that is opened as a page can run no script and load nothing (THREATS T4).
    Pages add the beginning of the hash of the content as `v`; browsers keep a logo with the right one. The
    process that serves it may not have fetched it yet, and then waits for it.
    """

    async def get(self, tenant: str) -> None:
        found = await self.portal.logos.get(self.tenant(tenant))
        if found is None:
            raise NotFound(f"the logo of {tenant} is not here")
        is_current = self.get_query_argument("v", "") == found.version
        self.set_header("Content-Type", MEDIA_TYPES[found.logo.kind])
        self.set_header("Cache-Control", FOREVER if is_current else "no-cache")
        self.set_header("Content-Security-Policy", LOGO_POLICY)
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.finish(found.logo.content)

    head = get


class TenantStyleHandler(PortalHandler):
    """`GET /t/{tenant}/style-{hash}.css`: the tenant's colour on primary buttons of its own pages.

    An old address has the current style sheet, for pages that were made before a change; it is not kept.
    """

    async def get(self, tenant: str, version: str) -> None:
        color = self.tenant(tenant).branding.color
        if color is None:
            raise NotFound(f"{tenant} has no colour")
        content, current = style_sheet(color)
        self.set_header("Content-Type", MEDIA_TYPES["css"])
        self.set_header("Cache-Control", FOREVER if version == current else "no-cache")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.finish(content)

    head = get
