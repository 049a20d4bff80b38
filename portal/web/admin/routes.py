"""The addresses of the console."""

from __future__ import annotations

from portal.web.admin.base import AdminHandler, ConsoleMissingHandler, ConsoleRedirectHandler
from portal.web.admin.links import RevokeSetupLinkHandler, SetupLinksHandler
from portal.web.admin.overview import OverviewHandler
from portal.web.admin.tenant import TenantPageHandler

TENANT = r"/admin/t/(?P<tenant>[a-z0-9][a-z0-9-]{0,62})"
"""The beginning of the addresses of a tenant's pages."""

ADMIN_ROUTES: list[tuple[str, type[AdminHandler]]] = [
    (r"/admin/", OverviewHandler),
    (r"/admin", ConsoleRedirectHandler),
    (rf"{TENANT}/", TenantPageHandler),
    (rf"{TENANT}/links", SetupLinksHandler),
    (rf"{TENANT}/links/(?P<link>[0-9a-f]{{12}})/revoke", RevokeSetupLinkHandler),
]
ANY_ADDRESS = (r"/admin/.*", ConsoleMissingHandler)
"""What no route of ADMIN_ROUTES matches."""
