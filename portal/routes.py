"""All URLs of the portal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.routing import Rule, URLSpec
from tornado.web import Application

from portal.config.api_paths import API_PATH, SLUG
from portal.config.front_ends import ICON_PATH
from portal.oidc.global_revocation import LARGEST as LARGEST_REVOCATION
from portal.web.account import AccountHandler, EndLoginHandler, EndOtherLoginsHandler
from portal.web.admin.routes import ADMIN_ROUTES, ANY_ADDRESS, TENANT
from portal.web.admin.setup import SetupHandler
from portal.web.api_proxy.handler import ApiServer
from portal.web.arrival import ArrivalHandler
from portal.web.callback import CallbackHandler, PostedCallbackHandler
from portal.web.callback_of_tests import TestCallbackHandler
from portal.web.chooser import ChooserHandler, FindHandler, ForgetHandler
from portal.web.client_keys import KeySetHandler, TenantKeySetHandler
from portal.web.context import Portal
from portal.web.cookie_check import CookieCheckHandler
from portal.web.cookies import BINDING_COOKIE, POSTED_BINDING_COOKIE, SESSION_COOKIE, SETUP_COOKIE
from portal.web.developer import DeveloperHandler
from portal.web.forward_auth.handler import AuthzServer
from portal.web.forward_auth.original_request import AUTHZ_PATH
from portal.web.front_ends.routing import front_end_delegate
from portal.web.home import TenantHomeHandler, TenantHomeRedirectHandler
from portal.web.language_choice import LanguageHandler
from portal.web.login import InitiateLoginHandler, LoginHandler
from portal.web.logout import AllSignedOutHandler, LogoutHandler, SignedOutHandler, TenantLogoutHandler
from portal.web.monitoring import HealthHandler, ReadyHandler
from portal.web.not_found import NotFoundHandler
from portal.web.page_addresses import PageAddresses
from portal.web.product import FaviconHandler, ProductFileHandler
from portal.web.provider_logout import (
    BackchannelLogoutHandler,
    FrontchannelLogoutHandler,
    GlobalRevocationHandler,
)
from portal.web.refused_requests import RefusedRequests
from portal.web.server.dispatch import Dispatcher
from portal.web.server.request_body import BodyRule, BodyRules
from portal.web.session import SessionEventsHandler, SessionHandler
from portal.web.signed_in import SignedInHandler
from portal.web.tenant_files import TenantLogoHandler, TenantStyleHandler

_TENANT = rf"/t/(?P<tenant>{SLUG})"
_PROVIDER = rf"(?P<provider>{SLUG})"
_LOGIN = re.compile(rf"{_TENANT}/(?P<page>login|callback)")
"""The two addresses of a login; they are in `routes` as well."""

LARGEST_FORM = 128 * 1024
"""Most bytes of a body, except for API calls. Parsing more would block the event loop (THREATS D1)."""

LARGEST_YAML_FORM = 256 * 1024
"""Most bytes of a form with a draft: 64 KB, of which each byte may be three. Parsing it takes 2 ms."""


def dispatcher(portal: Portal, application: Application, developed: Sequence[str] = ()) -> Dispatcher:
    """Return the delegate that serves a portal: API calls by `ApiServer`, questions of reverse proxies by
    `AuthzServer`, all else by the application.

    Parameters: developed, as in `body_rules`.
    """
    return Dispatcher(
        api_target=re.compile(rf"{API_PATH}.*", re.DOTALL),
        api=ApiServer(portal),
        authz_target=re.compile(rf"{AUTHZ_PATH}.*", re.DOTALL),
        authz=AuthzServer(portal),
        application=application,
        bodies=body_rules(developed),
        refuse=RefusedRequests(portal).response_to,
    )


def body_rules(developed: Sequence[str] = ()) -> BodyRules:
    """Return the addresses of the application that accept more than a small form, and their limits.

    Parameters: developed, the paths of front ends that a development server makes.
    """
    return BodyRules(
        [
            *(
                BodyRule(re.compile(rf"{re.escape(path)}(?:/.*)?", re.DOTALL), largest=0, streamed=True)
                for path in developed
            ),
            BodyRule(
                re.compile(rf"{_TENANT}/callback(?:/.*)?"),
                largest=96 * 1024,
                cookies=(POSTED_BINDING_COOKIE, BINDING_COOKIE),
            ),
            BodyRule(re.compile(rf"{_TENANT}/backchannel-logout"), largest=64 * 1024),
            BodyRule(re.compile(rf"{_TENANT}/global-token-revocation"), largest=LARGEST_REVOCATION),
            BodyRule(
                re.compile(rf"{TENANT}/draft/yaml"),
                largest=LARGEST_YAML_FORM,
                cookies=(SESSION_COOKIE, SETUP_COOKIE),
            ),
            BodyRule(
                re.compile(r"/admin/.*", re.DOTALL),
                largest=LARGEST_FORM,
                cookies=(SESSION_COOKIE, SETUP_COOKIE),
            ),
            BodyRule(re.compile(rf"{_TENANT}/developer"), largest=LARGEST_FORM, cookies=(SESSION_COOKIE,)),
        ]
    )


class PortalApplication(Application):
    """An application that finds the handlers of a login without comparing one route after the other.

    Front ends have the addresses that none of the portal's own begin like, and the root of some hosts.
    """

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        found = _LOGIN.fullmatch(request.path)
        if found is None:
            if (delegate := front_end_delegate(self, request)) is not None:
                return delegate
            if request.path == ICON_PATH:  # Tornado looks for it among the static files, before any route
                return self.get_handler_delegate(request, FaviconHandler)
            return super().find_handler(request, **kwargs)
        handler = LoginHandler if found["page"] == "login" else CallbackHandler
        return self.get_handler_delegate(request, handler, path_kwargs={"tenant": found["tenant"].encode()})


def routes() -> list[Rule]:
    """Return the routes of the application except /static/, the most used first."""
    table: list[tuple[str, type[Any]]] = [
        (rf"{_TENANT}/login", LoginHandler),
        (rf"{_TENANT}/callback", CallbackHandler),
        (rf"{_TENANT}/", TenantHomeHandler),
        (rf"{_TENANT}/developer", DeveloperHandler),
        (_TENANT, TenantHomeRedirectHandler),
        (rf"{_TENANT}/initiate-login", InitiateLoginHandler),
        (rf"{_TENANT}/callback/{_PROVIDER}", CallbackHandler),
        (rf"{_TENANT}/callback/{_PROVIDER}/test-[0-9a-f]{{16}}", TestCallbackHandler),
        (rf"{_TENANT}/finish-login", PostedCallbackHandler),
        (rf"{_TENANT}/cookie-check", CookieCheckHandler),
        (rf"{_TENANT}/logout", TenantLogoutHandler),
        (rf"{_TENANT}/signed-out", SignedOutHandler),
        (rf"{_TENANT}/signed-in", SignedInHandler),
        (rf"{_TENANT}/backchannel-logout", BackchannelLogoutHandler),
        (rf"{_TENANT}/global-token-revocation", GlobalRevocationHandler),
        (rf"{_TENANT}/frontchannel-logout", FrontchannelLogoutHandler),
        (r"/", ChooserHandler),
        (r"/find", FindHandler),
        (r"/forget", ForgetHandler),
        (r"/session", SessionHandler),
        (r"/session/events", SessionEventsHandler),
        (r"/account", AccountHandler),
        (r"/account/end", EndLoginHandler),
        (r"/account/end-others", EndOtherLoginsHandler),
        (r"/logout", LogoutHandler),
        (r"/language", LanguageHandler),
        (r"/signed-out", AllSignedOutHandler),
        (r"/\.well-known/jwks\.json", KeySetHandler),
        (rf"{_TENANT}/jwks\.json", TenantKeySetHandler),
        (rf"{_TENANT}/logo", TenantLogoHandler),
        (rf"{_TENANT}/style-(?P<version>[0-9a-f]{{16}})\.css", TenantStyleHandler),
        (r"/product/(?P<file>[a-z0-9.-]+)", ProductFileHandler),
        (r"/favicon\.ico", FaviconHandler),
        (r"/healthz", HealthHandler),
        (r"/healthz/request", ArrivalHandler),
        (r"/readyz", ReadyHandler),
        (r"/setup/(?P<token>.*)", SetupHandler),
        *ADMIN_ROUTES,
        ANY_ADDRESS,
    ]
    pages = PageAddresses(one for one in table if one is not ANY_ADDRESS)
    rules: list[Rule] = [
        URLSpec(pattern, handler, {"pages": pages} if handler is LanguageHandler else None)
        for pattern, handler in table
    ]
    rules.append(URLSpec(r".*", NotFoundHandler))
    return rules
