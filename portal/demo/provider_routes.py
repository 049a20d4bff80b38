"""The routes of the development provider."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from tornado.web import Application, RequestHandler, StaticFileHandler

from portal.demo.provider import DevelopmentProvider
from portal.demo.provider_endpoints import (
    DiscoveryHandler,
    KeysHandler,
    ProviderHandler,
    RevocationHandler,
    TokenHandler,
)
from portal.demo.provider_logout import EndSessionHandler
from portal.demo.provider_pages import AuthorizeHandler, ConsentHandler, FrontPageHandler, SignInHandler
from portal.demo.provider_second_factor import SecondFactorHandler

_PAGES = Path(__file__).parent / "pages"
_log = logging.getLogger(__name__)

PROVIDER_ROUTES: Mapping[str, type[ProviderHandler]] = {
    "/": FrontPageHandler,
    r"/\.well-known/openid-configuration": DiscoveryHandler,
    "/jwks": KeysHandler,
    "/authorize": AuthorizeHandler,
    "/sign-in/([A-Za-z0-9_-]+)": SignInHandler,
    "/second-factor/([A-Za-z0-9_-]+)": SecondFactorHandler,
    "/consent/([A-Za-z0-9_-]+)": ConsentHandler,
    "/token": TokenHandler,
    "/revoke": RevocationHandler,
    "/logout": EndSessionHandler,
}
"""Path (a regular expression) → handler."""


def provider_application(
    provider: DevelopmentProvider, routes: Mapping[str, type[ProviderHandler]] = PROVIDER_ROUTES
) -> Application:
    """The provider as a Tornado application, to be served at the issuer's URL."""
    settings = provider.settings
    handlers = [(path, handler, {"provider": provider}) for path, handler in routes.items()]
    assets = ("/assets/(.*)", StaticFileHandler, {"path": str(_PAGES / "assets")})
    return Application(
        [*handlers, assets],
        template_path=str(_PAGES),
        xsrf_cookies=True,
        xsrf_cookie_name=f"{settings.id}_provider_xsrf",
        xsrf_cookie_kwargs={"httponly": True, "samesite": "Lax"},
        log_function=_log_request,
    )


def _log_request(handler: RequestHandler) -> None:
    """Log one line for each request, without the query, which may contain a code."""
    _log.debug("%s %s %s", handler.get_status(), handler.request.method, handler.request.path)
