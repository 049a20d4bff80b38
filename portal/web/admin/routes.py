"""The addresses of the console."""

from __future__ import annotations

from portal.config.api_paths import SLUG
from portal.web.admin.all_sessions import AllSessionsHandler, EndSessionsHandler
from portal.web.admin.api import ApiHandler
from portal.web.admin.apis import ApisHandler
from portal.web.admin.applications import ApplicationsHandler
from portal.web.admin.base import AdminHandler, ConsoleMissingHandler, ConsoleRedirectHandler
from portal.web.admin.checks import ChecksHandler
from portal.web.admin.domains import (
    ApproveDomainHandler,
    CheckDomainHandler,
    DomainsHandler,
    ReleaseDomainHandler,
)
from portal.web.admin.draft_yaml import DraftYamlHandler
from portal.web.admin.drafts import DiscardHandler, DraftHandler
from portal.web.admin.events import AllEventsHandler, EventsHandler
from portal.web.admin.general import GeneralHandler
from portal.web.admin.links import RevokeSetupLinkHandler, SetupLinksHandler
from portal.web.admin.new import NewTenantHandler
from portal.web.admin.overview import OverviewHandler
from portal.web.admin.provider import ProviderHandler
from portal.web.admin.providers import NewProviderHandler, RemoveProviderHandler
from portal.web.admin.publish import PublishHandler
from portal.web.admin.revisions import RevisionHandler, RevisionsHandler, RollBackHandler
from portal.web.admin.sessions import EndAllLoginsHandler, EndLoginHandler, SessionsHandler
from portal.web.admin.status import RemoveTenantHandler, StatusHandler
from portal.web.admin.tenant import TenantPageHandler
from portal.web.admin.test_login import (
    TestAdminHandler,
    TestClaimsHandler,
    TestLoginsHandler,
    TestResultHandler,
)

TENANT = rf"/admin/t/(?P<tenant>{SLUG})"
"""The beginning of the addresses of a tenant's pages."""
NUMBER = r"(?P<number>[0-9]{1,16})"

PROVIDER = rf"(?P<provider>{SLUG})"

API = rf"(?P<api>{SLUG})"

ADMIN_ROUTES: list[tuple[str, type[AdminHandler]]] = [
    (r"/admin/", OverviewHandler),
    (r"/admin", ConsoleRedirectHandler),
    (r"/admin/new", NewTenantHandler),
    (r"/admin/events", AllEventsHandler),
    (r"/admin/sessions", AllSessionsHandler),
    (r"/admin/sessions/end", EndSessionsHandler),
    (rf"{TENANT}/", TenantPageHandler),
    (rf"{TENANT}/draft", DraftHandler),
    (rf"{TENANT}/draft/general", GeneralHandler),
    (rf"{TENANT}/draft/applications", ApplicationsHandler),
    (rf"{TENANT}/draft/apis", ApisHandler),
    (rf"{TENANT}/draft/api", ApiHandler),
    (rf"{TENANT}/draft/apis/{API}", ApiHandler),
    (rf"{TENANT}/draft/providers/new", NewProviderHandler),
    (rf"{TENANT}/draft/providers/{PROVIDER}", ProviderHandler),
    (rf"{TENANT}/draft/providers/{PROVIDER}/remove", RemoveProviderHandler),
    (rf"{TENANT}/draft/yaml", DraftYamlHandler),
    (rf"{TENANT}/draft/checks", ChecksHandler),
    (rf"{TENANT}/draft/test", TestLoginsHandler),
    (rf"{TENANT}/draft/test/{PROVIDER}", TestResultHandler),
    (rf"{TENANT}/draft/test/{PROVIDER}/claims", TestClaimsHandler),
    (rf"{TENANT}/draft/test/{PROVIDER}/admin", TestAdminHandler),
    (rf"{TENANT}/draft/publish", PublishHandler),
    (rf"{TENANT}/draft/discard", DiscardHandler),
    (rf"{TENANT}/domains", DomainsHandler),
    (rf"{TENANT}/domains/check", CheckDomainHandler),
    (rf"{TENANT}/domains/approve", ApproveDomainHandler),
    (rf"{TENANT}/domains/release", ReleaseDomainHandler),
    (rf"{TENANT}/sessions", SessionsHandler),
    (rf"{TENANT}/sessions/end", EndLoginHandler),
    (rf"{TENANT}/sessions/end-all", EndAllLoginsHandler),
    (rf"{TENANT}/events", EventsHandler),
    (rf"{TENANT}/revisions", RevisionsHandler),
    (rf"{TENANT}/revisions/{NUMBER}", RevisionHandler),
    (rf"{TENANT}/revisions/{NUMBER}/rollback", RollBackHandler),
    (rf"{TENANT}/links", SetupLinksHandler),
    (rf"{TENANT}/links/(?P<link>[0-9a-f]{{12}})/revoke", RevokeSetupLinkHandler),
    (rf"{TENANT}/status", StatusHandler),
    (rf"{TENANT}/remove", RemoveTenantHandler),
]
ANY_ADDRESS = (r"/admin/.*", ConsoleMissingHandler)
"""What no route of ADMIN_ROUTES matches."""
