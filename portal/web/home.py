"""The tenant chooser, and the tenant home with its API explorer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlencode

from tornado.httputil import HTTPHeaders

from portal.display_text import display_text
from portal.errors import AccessDenied, BadRequest, LoginRequired, NotFound, PortalError
from portal.oidc.distributed_claims import claims_held_elsewhere
from portal.oidc.errors import RefreshRejected
from portal.oidc.provider import Provider, TokenSet
from portal.outbound.stream import OutboundStream
from portal.stores.model import Login
from portal.tenancy.model import Api, Tenant
from portal.web.api_proxy.rules import RESPONSE_HEADERS, passed_headers, target_url
from portal.web.api_proxy.upstream import UpstreamCall
from portal.web.base import PageHandler
from portal.web.cards import clock_text, roles_of, tenant_card, user_name
from portal.web.views import (
    ChooserPage,
    ClaimRow,
    Explorer,
    ExplorerResult,
    ProviderChoice,
    SignInPage,
    TenantHomePage,
)

_SHOWN_WITHOUT_SEARCH = 12
_MOST_FOUND = 50
_PROTOCOL_CLAIMS = frozenset(
    (
        *("iss", "aud", "azp", "exp", "iat", "nbf", "nonce", "at_hash", "c_hash", "s_hash"),
        *("sid", "jti", "auth_time", "acr", "amr", "typ", "session_state"),
        *("_claim_names", "_claim_sources", "hasgroups"),
    )
)
_IDENTITY_SCOPES = frozenset(("openid", "profile", "email", "address", "phone"))
_MOST_CLAIMS = 60
_EXPLORER_BYTES = 256 * 1024
_ENDED = "Your sign-in here has ended. Sign in again to go on."
_AGAIN = {413: "Go back", 503: "Try again"}
"""What the button to this page says on error pages, by status."""
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class _ApiRequest:
    """What somebody asks the API explorer to send. `path` begins with a slash and may have a query."""

    method: str
    path: str
    body: str


class ChooserHandler(PageHandler):
    """`GET /`: your logins first, then find your organisation."""

    async def get(self) -> None:
        if self.site.tenant is not None:
            self.redirect(f"/t/{self.site.tenant}/", status=303)
            return
        query = display_text(self.get_query_argument("q", ""), limit=254)
        everyone = self.portal.registry.all()
        mine = self.cards()
        if query:
            found = self.portal.registry.search(query)[:_MOST_FOUND]
        else:
            found = list(everyone) if len(everyone) <= _SHOWN_WITHOUT_SEARCH else []
        signed_in = {card.slug: card for card in mine}
        cards = [signed_in.get(tenant.slug) or tenant_card(tenant, None) for tenant in found]
        self.show(
            "chooser.html",
            ChooserPage(
                signed_in=mine,
                found=tuple(card for card in cards if query or not card.signed_in),
                query=query,
                total=len(everyone),
            ),
        )


class ToHomeHandler(PageHandler):
    """`GET /t/{tenant}`: leads to the tenant home."""

    async def get(self, tenant: str) -> None:
        self.redirect(f"/t/{tenant}/", permanent=True)


class TenantHomeHandler(PageHandler):
    """`GET /t/{tenant}/`: who you are there; `POST`: the API explorer without JavaScript."""

    _calling: asyncio.Task[ExplorerResult] | None = None
    _left = False
    _cut_by: PortalError | None = None

    async def get(self, tenant: str) -> None:
        live = self.tenant(tenant)
        login = self._login(tenant)
        if login is None:
            self._show_sign_in(live)
            return
        path = live.api.example_paths[0] if live.api and live.api.example_paths else "/"
        await self._show_home(live, login, Explorer(paths=_paths(live), path=path))

    async def post(self, tenant: str) -> None:
        live = self.tenant(tenant)
        login = self._login(tenant)
        if login is None:
            self.set_status(401)
            self._show_sign_in(live, _ENDED)
            return
        if live.api is None:
            raise NotFound(f"tenant {tenant} has no API")
        asked = self._asked()
        result, error = None, None
        try:
            result = await self._send(live, live.api, login, asked)
        except (LoginRequired, RefreshRejected):
            self.set_status(401)
            self._show_sign_in(live, _ENDED)
            return
        except PortalError as problem:
            error = _in_words(problem)
        except asyncio.CancelledError:
            if self._left:
                return
            if self._cut_by is None:
                raise
            if not isinstance(self._cut_by, AccessDenied):
                self.set_status(401)
                self._show_sign_in(live, _ENDED)
                return
            error = _in_words(self._cut_by)
        explorer = Explorer(
            paths=_paths(live),
            path=display_text(asked.path, limit=2000),
            method=asked.method,
            body=asked.body,
            result=result,
            error=error,
        )
        await self._show_home(live, login, explorer)

    def _asked(self) -> _ApiRequest:
        """The request in the explorer's form. Raises: BadRequest."""
        method = self.get_body_argument("method", "GET")
        path = self.get_body_argument("path", "", strip=False).strip()
        body = self.get_body_argument("body", "", strip=False)
        if method not in _METHODS:
            raise BadRequest("the explorer knows no such method")
        if "path" not in self.request.body_arguments:
            raise BadRequest("the explorer was sent something else than its form")
        return _ApiRequest(method, path if path.startswith("/") else f"/{path}", body)

    async def _send(self, tenant: Tenant, api: Api, login: Login, asked: _ApiRequest) -> ExplorerResult:
        """Call the API, for as long as the browser waits and the login lives.

        Raises: a PortalError; CancelledError when the call was cut (`_cut_by`) or the browser left (`_left`).
        """
        call = self._call(tenant, api, login, asked)
        self._calling = asyncio.ensure_future(self._try(call, asked.body if asked.method != "GET" else ""))
        watched = self.portal.live_calls.add(login, api, call.path, self._cut)
        try:
            return await self._calling
        finally:
            self.portal.live_calls.remove(watched)

    def on_connection_close(self) -> None:
        """The browser has gone: the API is not asked for it any more."""
        if self._calling is not None and self._calling.cancel():
            self._left = True

    def _cut(self, error: PortalError) -> None:
        """The login, the tenant or the right to the path is gone: the API is not asked any more."""
        self._cut_by = error
        if self._calling is not None:
            self._calling.cancel()

    def retry_url(self, error: PortalError) -> str | None:
        """This page again, when a form was too large or the database is away: the login here goes on."""
        return self.request.path if error.status in _AGAIN else super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        return _AGAIN.get(error.status) or super().retry_label(error)

    def _login(self, tenant: str) -> Login | None:
        return next((login for login in self.logins if login.tenant == tenant), None)

    def _show_sign_in(self, tenant: Tenant, notice: str = "") -> None:
        back = urlencode({"return_to": f"/t/{tenant.slug}/"})
        choices = tuple(
            ProviderChoice(
                id=provider.id,
                label=display_text(provider.label or provider.id, limit=80),
                login_url=f"/t/{tenant.slug}/login?{urlencode({'provider': provider.id})}&{back}",
            )
            for provider in tenant.providers.values()
        )
        self.show("sign_in.html", SignInPage(tenant_card(tenant, None), providers=choices, notice=notice))

    async def _show_home(self, tenant: Tenant, login: Login, explorer: Explorer) -> None:
        provider = tenant.providers[login.provider]
        login = await self._as_stored(login)
        tokens = self.portal.sessions.stored_tokens(login)
        left = max(0, int(tokens.expires_at - self.portal.clock()))
        self.show(
            "tenant_home.html",
            TenantHomePage(
                tenant=tenant_card(tenant, login),
                user=user_name(tenant, login),
                email=_email(tenant, login),
                subject=display_text(login.subject, limit=255),
                issuer=display_text(login.issuer, limit=255),
                provider_label=display_text(provider.label or "", limit=80),
                roles=roles_of(tenant, login),
                claims=_claim_rows(tenant, login),
                scopes=tuple(display_text(scope, limit=100) for scope in tokens.scope),
                missing_scopes=missing_scopes(provider, tokens),
                access_expires_at=tokens.expires_at,
                access_expires_text=clock_text(tokens.expires_at),
                access_expires_in=left,
                refreshes=tokens.refresh_token is not None,
                refresh_token_missing=provider.refresh_tokens and tokens.refresh_token is None,
                claims_elsewhere=_claims_elsewhere(login),
                signed_in_at_text=clock_text(login.signed_in_at, date=True),
                explorer=explorer if tenant.api else None,
            ),
        )

    async def _as_stored(self, login: Login) -> Login:
        """The login as it is after a call that may have refreshed it."""
        request_session = await self.open_session(login.tenant)
        return request_session.login if request_session and request_session.login else login

    def _call(self, tenant: Tenant, api: Api, login: Login, asked: _ApiRequest) -> UpstreamCall:
        raw_path, _, query = asked.path.partition("?")
        target = target_url(api.base_url, raw_path, query)
        headers = HTTPHeaders({"Accept": "application/json, */*;q=0.5"})
        if asked.body and asked.method != "GET":
            headers["Content-Type"] = "application/json"
        return UpstreamCall(
            self.portal,
            tenant,
            login,
            api,
            method=asked.method,
            path=raw_path,
            target=target,
            headers=headers,
            request_id=self.request_id,
        )

    async def _try(self, call: UpstreamCall, body: str) -> ExplorerResult:
        begun = time.perf_counter()
        response = await call.send(body.encode())
        try:
            text, truncated = await _read_text(response)
        finally:
            await response.aclose()
        passed = passed_headers(
            response.headers,
            target=call.target,
            base_url=call.api.base_url,
            public_base=f"/t/{call.login.tenant}/api",
        )
        return ExplorerResult(
            status=response.status,
            reason=display_text(response.reason or "", limit=60),
            headers=tuple(
                (name, display_text(value, limit=500)) for name, value in (*passed, *RESPONSE_HEADERS)
            ),
            body=text,
            truncated=truncated,
            elapsed_ms=round((time.perf_counter() - begun) * 1000),
        )


def _in_words(error: PortalError) -> str:
    return f"{error.title}. {error.explanation or error.advice}"


def _paths(tenant: Tenant) -> tuple[str, ...]:
    return tenant.api.example_paths if tenant.api else ()


def _email(tenant: Tenant, login: Login) -> str:
    value = login.claims.get(tenant.claims.email)
    return display_text(value, limit=254) if isinstance(value, str) else ""


def _claim_rows(tenant: Tenant, login: Login) -> tuple[ClaimRow, ...]:
    names = tenant.claims.show or tuple(name for name in login.claims if name not in _PROTOCOL_CLAIMS)
    return tuple(
        ClaimRow(
            display_text(name, limit=100), display_text(login.claims[name], limit=1000, line_breaks=True)
        )
        for name in names[:_MOST_CLAIMS]
        if name in login.claims
    )


def _claims_elsewhere(login: Login) -> tuple[str, ...]:
    names = claims_held_elsewhere(login.claims)
    return tuple(display_text(name, limit=100) for name in names[:_MOST_CLAIMS])


def missing_scopes(provider: Provider, tokens: TokenSet) -> tuple[str, ...]:
    """Return what was asked for and not granted.

    A provider that knows resource indicators (RFC 8707) says of the access token's API what was granted. The
    scopes for claims (OIDC Core 5.4) are for no API, and `offline_access` shows in the refresh token.
    """
    granted = _IDENTITY_SCOPES.union(tokens.scope, ("offline_access",) if tokens.refresh_token else ())
    return tuple(scope for scope in provider.scopes if scope not in granted)


async def _read_text(response: OutboundStream) -> tuple[str, bool]:
    """Read a bounded part of a response as text, and whether there was more.

    JSON stays as the API sent it: read and written again, numbers would lose digits. The script of the page
    indents it.
    """
    body = bytearray()
    async for chunk in response.chunks():
        body.extend(chunk)
        if len(body) > _EXPLORER_BYTES:
            return body[:_EXPLORER_BYTES].decode(errors="replace"), True
    return body.decode(errors="replace"), False
