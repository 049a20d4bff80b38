"""The developer page of a tenant: the facts of the login, and the API explorer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from portal.display_text import display_text
from portal.errors import AccessDenied, BadRequest, LoginRequired, NotFound, PortalError
from portal.oidc.api_errors import ApiLoginRequired
from portal.oidc.distributed_claims import claims_held_elsewhere
from portal.oidc.errors import RefreshRejected
from portal.oidc.protocol_claims import PROTOCOL_CLAIMS
from portal.outbound.request import encode_headers
from portal.outbound.stream import OutboundStream
from portal.sentences import moment
from portal.sessions.login_warnings import missing_scopes
from portal.stores.model import Login
from portal.tenancy.model import Api, Tenant
from portal.web.api_proxy.problem_texts import problem_texts
from portal.web.api_proxy.rules import RESPONSE_HEADERS, target_url
from portal.web.api_proxy.upstream import UpstreamCall
from portal.web.cards import email_of, roles_of, user_name
from portal.web.explorer_views import Explorer, ExplorerApi, ExplorerResult
from portal.web.step_up_errors import StepUpRequired
from portal.web.tenant_page import SIGN_IN_ENDED, TenantPageHandler
from portal.web.views import ClaimRow, DeveloperPage

_MOST_CLAIMS = 60
_EXPLORER_BYTES = 256 * 1024
_RETRY_LABELS = {413: "Go back", 503: "Try again"}
"""Label of the error page's button that leads back to this page, by status."""
_DIRECTION = {
    code: f"\\u{code:04x}" for code in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Characters that change the direction of the text around them, as escapes of JSON."""
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class _ApiRequest:
    """A request that the user enters in the API explorer. `path` starts with `/` and may have a query."""

    api: str
    """The name of the API; empty for the default API."""
    method: str
    path: str
    body: str


class DeveloperHandler(TenantPageHandler):
    """`GET /t/{tenant}/developer`: the login's tokens and claims; `POST`: the explorer without scripts."""

    _call_task: asyncio.Task[ExplorerResult] | None = None
    _browser_disconnected = False
    _cut_error: PortalError | None = None

    async def get(self, tenant: str) -> None:
        live = self.tenant(tenant)
        login = self.login_at(tenant)
        if login is None:
            self.show_sign_in(live)
            return
        await self._show_page(live, login, _empty_explorer(live, login))

    async def post(self, tenant: str) -> None:
        live = self.tenant(tenant)
        login = self.login_at(tenant)
        if login is None:
            self.set_status(401)
            self.show_sign_in(live, SIGN_IN_ENDED)
            return
        api_request = self._explorer_request()
        api = live.api_named(api_request.api)
        if api is None:
            raise NotFound(f"tenant {tenant} does not have this API")
        result: ExplorerResult | None = None
        error: PortalError | None = None
        step_up_url = ""
        try:
            result = await self._send(live, api, login, api_request)
        except ApiLoginRequired as required:
            error, step_up_url = required, required.url_back_to(tenant, self.request.path)
        except (LoginRequired, RefreshRejected):
            self.set_status(401)
            self.show_sign_in(live, SIGN_IN_ENDED)
            return
        except StepUpRequired as required:
            error, step_up_url = required, required.url_back_to(self.request.path)
        except PortalError as problem:
            error = problem
        except asyncio.CancelledError:
            if self._browser_disconnected:
                return
            if self._cut_error is None:
                raise
            if not isinstance(self._cut_error, AccessDenied):
                self.set_status(401)
                self.show_sign_in(live, SIGN_IN_ENDED)
                return
            error = self._cut_error
        explorer = Explorer(
            apis=_apis(live),
            api=api.name,
            path=display_text(api_request.path, limit=2000),
            method=api_request.method,
            body=api_request.body,
            result=result,
            error_title=error.title if error is not None else "",
            error_advice=(error.explanation or error.advice) if error is not None else "",
            step_up_url=step_up_url,
            problem_texts=problem_texts(live, login),
        )
        await self._show_page(live, login, explorer)

    def _explorer_request(self) -> _ApiRequest:
        """Parse the explorer's form. Raises: BadRequest."""
        method = self.get_body_argument("method", "GET")
        path = self.get_body_argument("path", "", strip=False).strip()
        body = self.get_body_argument("body", "", strip=False)
        if method not in _METHODS:
            raise BadRequest("the explorer does not support this method")
        if "path" not in self.request.body_arguments:
            raise BadRequest("the body is not the explorer's form")
        api = self.get_body_argument("api", "")
        return _ApiRequest(api, method, path if path.startswith("/") else f"/{path}", body)

    async def _send(self, tenant: Tenant, api: Api, login: Login, api_request: _ApiRequest) -> ExplorerResult:
        """Call the API. The call ends early when the browser disconnects or the login ends.

        Raises: a PortalError; CancelledError after `_cut` (`_cut_error`) or when the browser disconnected.
        """
        call = self._call(tenant, api, login, api_request)
        self._call_task = asyncio.ensure_future(
            self._run_call(call, api_request.body if api_request.method != "GET" else "")
        )
        watched = self.portal.live_calls.add(
            login,
            api,
            call.path,
            self._cut,
            tenant=tenant.slug,
            client_registration=call.client_registration,
        )
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

    async def _show_page(self, tenant: Tenant, login: Login, explorer: Explorer | None) -> None:
        provider = tenant.providers[login.provider]
        login = await self._reload_login(login)
        tokens = self.portal.sessions.stored_tokens(login)
        left = max(0, int(tokens.expires_at - self.portal.clock()))
        self.show(
            "developer.html",
            DeveloperPage(
                tenant=self.card(tenant, login),
                user=user_name(tenant, login),
                email=email_of(tenant, login),
                subject=display_text(login.subject, limit=255),
                issuer=display_text(login.issuer, limit=255),
                provider_label=display_text(provider.label or "", limit=80),
                roles=roles_of(tenant, login),
                claims=_claim_rows(tenant, login),
                scopes=tuple(display_text(scope, limit=100) for scope in tokens.scope),
                missing_scopes=missing_scopes(provider, tokens),
                access_expires_at=tokens.expires_at,
                access_expires_text=moment(tokens.expires_at),
                access_expires_in=left,
                refreshes=tokens.refresh_token is not None,
                refresh_token_missing=provider.refresh_tokens and tokens.refresh_token is None,
                claims_elsewhere=_claims_elsewhere(login),
                signed_in_at_text=moment(login.signed_in_at, date=True),
                explorer=explorer,
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
        passed = call.passed_headers(response, _public_base(call.tenant, call.api))
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


def _apis(tenant: Tenant) -> tuple[ExplorerApi, ...]:
    """The APIs that the explorer can call, the default one first."""
    apis = [*([tenant.api] if tenant.api else []), *tenant.apis.values()]
    return tuple(ExplorerApi(api.name, _public_base(tenant.slug, api), api.example_paths) for api in apis)


def _public_base(slug: str, api: Api) -> str:
    """The path of an API in the portal."""
    return f"/t/{slug}/apis/{api.name}" if api.name else f"/t/{slug}/api"


def _empty_explorer(tenant: Tenant, login: Login) -> Explorer | None:
    """The explorer before the first call; None when the tenant has no API."""
    apis = _apis(tenant)
    if not apis:
        return None
    first = apis[0]
    return Explorer(
        apis, path=next(iter(first.paths), "/"), api=first.name, problem_texts=problem_texts(tenant, login)
    )


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
            return _visible(body[:_EXPLORER_BYTES]), True
    return _visible(body), False


def _visible(body: bytes | bytearray) -> str:
    """The text of a body, with the characters that change its direction as escapes of JSON."""
    return body.decode(errors="replace").translate(_DIRECTION)
