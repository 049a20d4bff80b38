"""The whole URL surface on one page."""

from __future__ import annotations

from typing import Any

from tornado.routing import PathMatches, Rule, URLSpec

from portal.web.callback import CallbackHandler, PostedCallbackHandler
from portal.web.context import Portal
from portal.web.health import HealthHandler, ReadyHandler
from portal.web.home import AccountHandler, ChooserHandler, TenantHomeHandler
from portal.web.login import InitiateLoginHandler, LoginHandler
from portal.web.logout import AllSignedOutHandler, LogoutHandler, SignedOutHandler, TenantLogoutHandler
from portal.web.nothing_here import NothingHereHandler
from portal.web.own_keys import KeySetHandler
from portal.web.provider_logout import BackchannelLogoutHandler, FrontchannelLogoutHandler
from portal.web.proxy import ApiServer
from portal.web.session_info import SessionInfoHandler
from portal.web.to_home import ToHomeHandler

_TENANT = r"/t/(?P<tenant>[a-z0-9][a-z0-9-]{0,62})"


def routes(portal: Portal) -> list[Rule]:
    """Return every address of the portal but /static/, the busiest first."""
    table: list[tuple[str, type[Any]]] = [
        (rf"{_TENANT}/", TenantHomeHandler),
        (_TENANT, ToHomeHandler),
        (rf"{_TENANT}/login", LoginHandler),
        (rf"{_TENANT}/initiate-login", InitiateLoginHandler),
        (rf"{_TENANT}/callback", CallbackHandler),
        (rf"{_TENANT}/callback/finish", PostedCallbackHandler),
        (rf"{_TENANT}/logout", TenantLogoutHandler),
        (rf"{_TENANT}/signed-out", SignedOutHandler),
        (rf"{_TENANT}/backchannel-logout", BackchannelLogoutHandler),
        (rf"{_TENANT}/frontchannel-logout", FrontchannelLogoutHandler),
        (r"/", ChooserHandler),
        (r"/session", SessionInfoHandler),
        (r"/account", AccountHandler),
        (r"/logout", LogoutHandler),
        (r"/signed-out", AllSignedOutHandler),
        (r"/\.well-known/jwks\.json", KeySetHandler),
        (r"/healthz", HealthHandler),
        (r"/readyz", ReadyHandler),
    ]
    rules: list[Rule] = [Rule(PathMatches(rf"{_TENANT}/api(?:/.*)?"), ApiServer(portal))]
    rules += [URLSpec(pattern, handler) for pattern, handler in table]
    rules.append(URLSpec(r".*", NothingHereHandler))
    return rules
