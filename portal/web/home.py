"""The tenant chooser, and the tenant home page with its API explorer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlencode

from portal.display_text import display_text
from portal.errors import AccessDenied, BadRequest, LoginRequired, NotFound, PortalError
from portal.oidc.distributed_claims import claims_held_elsewhere
from portal.oidc.errors import RefreshRejected
from portal.oidc.protocol_claims import PROTOCOL_CLAIMS
from portal.outbound.request import encode_headers
from portal.outbound.stream import OutboundStream
from portal.sessions.login_warnings import missing_scopes
from portal.stores.model import Login
from portal.tenancy.model import Api, Tenant
from portal.web.api_proxy.rules import RESPONSE_HEADERS, passed_headers, target_url
from portal.web.api_proxy.upstream import UpstreamCall
from portal.web.base import PageHandler
from portal.web.cards import clock_text, roles_of, user_name
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
_MOST_CLAIMS = 60
_EXPLORER_BYTES = 256 * 1024
_SIGN_IN_ENDED = "Your sign-in here has ended. Sign in again to continue."
_RETRY_LABELS = {413: "Go back", 503: "Try again"}
"""Label of the error page's button that leads back to this page, by status."""
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class _ApiRequest:
    """A request that the user enters in the API explorer. `path` starts with `/` and may have a query."""

    method: str
    path: str
    body: str


class ChooserHandler(PageHandler):
    """`GET /`: the user's logins, and a search for organisations."""

    async def get(self) -> None:
        if self.site.tenant is not None:
            self.redirect(f"/t/{self.site.tenant}/", status=303)
            return
        query = display_text(self.get_query_argument("q", ""), limit=254)
        everyone = self.portal.registry.all()
        mine = self.cards()
        if query:
            found = self.portal.registry.search(query, most=_MOST_FOUND)
        else:
            found = list(everyone) if len(everyone) <= _SHOWN_WITHOUT_SEARCH else []
        signed_in = {card.slug: card for card in mine}
        cards = [signed_in.get(tenant.slug) or self.card(tenant) for tenant in found]
        self.show(
            "chooser.html",
            ChooserPage(
                signed_in=mine,
                found=tuple(card for card in cards if query or not card.signed_in),
                query=query,
                total=len(everyone),
            ),
        )


class TenantHomeRedirectHandler(PageHandler):
    """`GET /t/{tenant}`: redirects to the tenant home page."""

    async def get(self, tenant: str) -> None:
        self.redirect(f"/t/{tenant}/", permanent=True)


class TenantHomeHandler(PageHandler):
    """`GET /t/{tenant}/`: the user's login at the tenant; `POST`: the API explorer without JavaScript."""

    _call_task: asyncio.Task[ExplorerResult] | None = None
    _browser_disconnected = False
    _cut_error: PortalError | None = None

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
            self._show_sign_in(live, _SIGN_IN_ENDED)
            return
        if live.api is None:
            raise NotFound(f"tenant {tenant} has no API")
        api_request = self._explorer_request()
        result, error = None, None
        try:
            result = await self._send(live, live.api, login, api_request)
        except (LoginRequired, RefreshRejected):
            self.set_status(401)
            self._show_sign_in(live, _SIGN_IN_ENDED)
            return
        except PortalError as problem:
            error = _error_text(problem)
        except asyncio.CancelledError:
            if self._browser_disconnected:
                return
            if self._cut_error is None:
                raise
            if not isinstance(self._cut_error, AccessDenied):
                self.set_status(401)
                self._show_sign_in(live, _SIGN_IN_ENDED)
                return
            error = _error_text(self._cut_error)
        explorer = Explorer(
            paths=_paths(live),
            path=display_text(api_request.path, limit=2000),
            method=api_request.method,
            body=api_request.body,
            result=result,
            error=error,
        )
        await self._show_home(live, login, explorer)

    def _explorer_request(self) -> _ApiRequest:
        """Parse the explorer's form. Raises: BadRequest."""
        method = self.get_body_argument("method", "GET")
        path = self.get_body_argument("path", "", strip=False).strip()
        body = self.get_body_argument("body", "", strip=False)
        if method not in _METHODS:
            raise BadRequest("the explorer does not support this method")
        if "path" not in self.request.body_arguments:
            raise BadRequest("the body is not the explorer's form")
        return _ApiRequest(method, path if path.startswith("/") else f"/{path}", body)

    async def _send(self, tenant: Tenant, api: Api, login: Login, api_request: _ApiRequest) -> ExplorerResult:
        """Call the API. The call ends early when the browser disconnects or the login ends.

        Raises: a PortalError; CancelledError after `_cut` (`_cut_error`) or when the browser disconnected.
        """
        call = self._call(tenant, api, login, api_request)
        self._call_task = asyncio.ensure_future(
            self._run_call(call, api_request.body if api_request.method != "GET" else "")
        )
        watched = self.portal.live_calls.add(login, api, call.path, self._cut)
        try:
            return await self._call_task
        finally:
            self.portal.live_calls.remove(watched)

    def on_connection_close(self) -> None:
        """The browser disconnected: cancel the call to the API."""
        if self._call_task is not None and self._call_task.cancel():
            self._browser_disconnected = True

    def _cut(self, error: PortalError) -> None:
        """The login, the tenant or the access to the path ended: cancel the call to the API."""
        self._cut_error = error
        if self._call_task is not None:
            self._call_task.cancel()

    def retry_url(self, error: PortalError) -> str | None:
        """This page, when a form was too large or the database is unavailable: the login still exists."""
        return self.request.path if error.status in _RETRY_LABELS else super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        return _RETRY_LABELS.get(error.status) or super().retry_label(error)

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
        self.show(
            "sign_in.html",
            SignInPage(self.card(tenant), choices, notice=notice, closed=not tenant.accepts_logins),
        )

    async def _show_home(self, tenant: Tenant, login: Login, explorer: Explorer) -> None:
        provider = tenant.providers[login.provider]
        login = await self._reload_login(login)
        tokens = self.portal.sessions.stored_tokens(login)
        left = max(0, int(tokens.expires_at - self.portal.clock()))
        self.show(
            "tenant_home.html",
            TenantHomePage(
                tenant=self.card(tenant, login),
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

    async def _reload_login(self, login: Login) -> Login:
        """Read the login again: a call may have refreshed it."""
        request_session = await self.open_session(login.tenant)
        return request_session.login if request_session and request_session.login else login

    def _call(self, tenant: Tenant, api: Api, login: Login, api_request: _ApiRequest) -> UpstreamCall:
        raw_path, _, query = api_request.path.partition("?")
        target = target_url(api.base_url, raw_path, query)
        headers = [("Accept", "application/json, */*;q=0.5")]
        if api_request.body and api_request.method != "GET":
            headers.append(("Content-Type", "application/json"))
        return UpstreamCall(
            self.portal,
            tenant,
            login,
            api,
            method=api_request.method,
            path=raw_path,
            target=target,
            headers=encode_headers(headers),
            request_id=self.request_id,
        )

    async def _run_call(self, call: UpstreamCall, body: str) -> ExplorerResult:
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


def _error_text(error: PortalError) -> str:
    return f"{error.title}. {error.explanation or error.advice}"


def _paths(tenant: Tenant) -> tuple[str, ...]:
    return tenant.api.example_paths if tenant.api else ()


def _email(tenant: Tenant, login: Login) -> str:
    value = login.claims.get(tenant.claims.email)
    return display_text(value, limit=254) if isinstance(value, str) else ""


def _claim_rows(tenant: Tenant, login: Login) -> tuple[ClaimRow, ...]:
    names = tenant.claims.show or tuple(name for name in login.claims if name not in PROTOCOL_CLAIMS)
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


async def _read_text(response: OutboundStream) -> tuple[str, bool]:
    """Read at most `_EXPLORER_BYTES` of a response as text, and return whether it was truncated.

    JSON stays as the API sent it: parsing and writing it again could change numbers. The page's script
    indents it.
    """
    body = bytearray()
    async for chunk in response.chunks():
        body.extend(chunk)
        if len(body) > _EXPLORER_BYTES:
            return body[:_EXPLORER_BYTES].decode(errors="replace"), True
    return body.decode(errors="replace"), False
