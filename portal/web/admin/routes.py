"""The addresses of the console."""

from __future__ import annotations

from portal.web.admin.base import AdminHandler, ConsoleMissingHandler, ConsoleRedirectHandler
from portal.web.admin.draft_yaml import DraftYamlHandler
from portal.web.admin.drafts import DiscardHandler, DraftHandler
from portal.web.admin.overview import OverviewHandler
from portal.web.admin.publish import PublishHandler
from portal.web.admin.tenant import TenantPageHandler
from portal.web.admin.test_login import TestClaimsHandler, TestLoginsHandler, TestResultHandler

TENANT = r"/admin/t/(?P<tenant>[a-z0-9][a-z0-9-]{0,62})"
"""The beginning of the addresses of a tenant's pages."""

_PROVIDER = r"(?P<provider>[a-z0-9][a-z0-9-]{0,62})"

ADMIN_ROUTES: list[tuple[str, type[AdminHandler]]] = [
    (r"/admin/", OverviewHandler),
    (r"/admin", ConsoleRedirectHandler),
    (rf"{TENANT}/", TenantPageHandler),
    (rf"{TENANT}/draft", DraftHandler),
    (rf"{TENANT}/draft/yaml", DraftYamlHandler),
    (rf"{TENANT}/draft/publish", PublishHandler),
    (rf"{TENANT}/draft/discard", DiscardHandler),
    (rf"{TENANT}/draft/test", TestLoginsHandler),
    (rf"{TENANT}/draft/test/{_PROVIDER}", TestResultHandler),
    (rf"{TENANT}/draft/test/{_PROVIDER}/claims", TestClaimsHandler),
]
ANY_ADDRESS = (r"/admin/.*", ConsoleMissingHandler)
"""What no route of ADMIN_ROUTES matches."""
