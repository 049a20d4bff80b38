"""Decides whether a request to an application behind a reverse proxy may pass (THREATS P1 to P4)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders

from portal.errors import CrossSiteRequest, LoginRequired, NotFound
from portal.stores.model import Login
from portal.tenancy.model import Tenant
from portal.web.api_proxy.call_headers import session_cookie, socket_refusal
from portal.web.api_proxy.path_access import check_path
from portal.web.client_address import is_trusted
from portal.web.context import Portal
from portal.web.forward_auth.errors import OriginalRequestRefused, ProxyNotTrusted, TokenBound
from portal.web.forward_auth.identity import identity_headers
from portal.web.forward_auth.original_request import AuthzAddress, OriginalRequest, original_request
from portal.web.origin import Origin, origin_of
from portal.web.server.tornado_private import remote_address
from portal.web.sites import Site

SECRET_HEADER = "X-Portal-Forward-Auth"  # noqa: S105 - the name of the header
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_SOCKET_HEADERS = ("Sec-Websocket-Key", "Sec-Websocket-Version")


@dataclass(frozen=True, slots=True)
class Question:
    """A proxy's question, which needs an answer about the user."""

    connection: HTTP1Connection
    headers: HTTPHeaders
    site: Site
    tenant: Tenant
    original: OriginalRequest

    @property
    def is_navigation(self) -> bool:
        """Whether the browser shows the response as a page, so that it can follow a redirect to the login."""
        if self.original.method != "GET":
            return False
        modes = self.headers.get_list("Sec-Fetch-Mode")
        if modes:
            return modes == ["navigate"] and self.headers.get_list("Sec-Fetch-Dest") in ([], ["document"])
        return "text/html" in self.headers.get("Accept", "")


def read_question(
    portal: Portal, connection: HTTP1Connection, headers: HTTPHeaders, *, method: str, address: AuthzAddress
) -> Question:
    """Return the question of a trusted proxy about a request that the portal can decide.

    Raises: ProxyNotTrusted, MethodNotAllowed, OriginalRequestMalformed, OriginalRequestRefused, NotFound,
    CrossSiteRequest.
    """
    _require_proxy(portal, connection, headers)
    original = original_request(headers, method=method, appended=address.appended)
    site = portal.sites.find(original.host)
    if site.host != original.host:
        raise OriginalRequestRefused(
            "the original host is not the portal's",
            explanation="The application must be on the host of the portal: no other has its sign-ins.",
        )
    tenant = portal.registry.get(address.tenant)
    if tenant is None or not site.serves(address.tenant):
        raise NotFound(f"no tenant {address.tenant!r} at {site.origin}")
    if tenant.forward_auth.token and portal.settings.forward_auth.secret is None:
        raise ProxyNotTrusted(f"forward_auth.token of {tenant.slug} needs the setting forward_auth.secret")
    _require_own_origin(headers, site, original)
    return Question(connection, headers, site, tenant, original)


async def allow(portal: Portal, question: Question) -> list[tuple[str, str]]:
    """Return the header fields for the application when the request may pass.

    This is a use of the session, which extends its idle limit.
    Raises: LoginRequired, AccessDenied, StoreUnavailable, IdentityTooLong; with `forward_auth.token`,
    TokenBound, and what SessionService.tokens raises.
    """
    tenant = question.tenant
    cookie = session_cookie(question.connection, question.headers, question.site)
    request_session = await portal.sessions.open_session(cookie, tenant.slug)
    if request_session is None or request_session.login is None:
        raise LoginRequired("this session has no live login at this tenant")
    login = request_session.login
    check_path(tenant, login, question.original.path)
    if not tenant.forward_auth.token:
        return identity_headers(tenant, login)
    return await _allow_with_token(portal, question, login)


async def _allow_with_token(portal: Portal, question: Question, login: Login) -> list[tuple[str, str]]:
    """As `allow`, with an access token; a refresh may take a while and change the claims."""
    tokens = await portal.sessions.tokens(login)
    if tokens.dpop_key is not None:
        raise TokenBound("the access token is bound to a DPoP key")
    tenant = portal.registry.get(question.tenant.slug)
    if tenant is None or not tenant.forward_auth.token:
        raise LoginRequired("the tenant changed during the request")
    if tenant is not question.tenant or portal.sessions.stored_tokens(login) != tokens:
        login = await portal.sessions.read_again(login)
        check_path(tenant, login, question.original.path)
    bearer = ("Authorization", f"Bearer {tokens.access_token.reveal()}")  # RFC 6750 2.1
    return [*identity_headers(tenant, login), bearer]


def _require_proxy(portal: Portal, connection: HTTP1Connection, headers: HTTPHeaders) -> None:
    settings = portal.settings
    if not is_trusted(remote_address(connection), settings.trusted_proxies):
        raise ProxyNotTrusted("the client is not one of trusted_proxies")
    secret = settings.forward_auth.secret
    if secret is None:
        return
    sent = headers.get_list(SECRET_HEADER)
    if len(sent) != 1 or not hmac.compare_digest(sent[0].encode(), secret.reveal().encode()):
        raise ProxyNotTrusted(f"{SECRET_HEADER} is missing, or not forward_auth.secret")


def _asks_for_socket(headers: HTTPHeaders) -> bool:
    """Whether a WebSocket is to be opened. Proxies leave out Upgrade, which concerns one connection."""
    is_upgrade = "Upgrade" in headers and "websocket" in headers["Upgrade"].lower()
    return is_upgrade or any(name in headers for name in _SOCKET_HEADERS)


def _require_own_origin(headers: HTTPHeaders, site: Site, original: OriginalRequest) -> None:
    """Refuse what another site may have made the browser send (docs/architecture.md rule 4)."""
    if _asks_for_socket(headers):
        refusal = socket_refusal(headers, site)
    elif original.method not in _SAFE_METHODS and origin_of(headers, site.origin) is not Origin.SAME:
        refusal = f"{original.method} of an application needs its own origin"
    else:
        return
    if refusal is not None:
        raise CrossSiteRequest(
            refusal, explanation="A page of another site may have caused this request. Nothing was done."
        )
