"""Calls a tenant's API with the login's access token, and repeats the call with a new token after a 401."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable

from portal.display_text import display_text
from portal.errors import (
    LoginRequired,
    OutboundBusy,
    OutboundFailed,
    OutboundTimeout,
    PayloadTooLarge,
    UpstreamBusy,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from portal.oidc.bound_token import bound_to, fits
from portal.oidc.dpop import DpopProver, wants_nonce
from portal.oidc.errors import TokenCertificateMismatch
from portal.oidc.provider import Provider, TokenSet
from portal.ops.limit_metrics import Limit
from portal.outbound.stream import OutboundStream
from portal.outbound.tls import Tls
from portal.outbound.websocket import WebSocketOffer
from portal.secret import Secret
from portal.stores.model import Login
from portal.tenancy.model import Api, ApiAccess, Tenant
from portal.web.api_proxy import step_up
from portal.web.api_proxy.path_access import check_path_access
from portal.web.api_proxy.rules import own_headers, passed_headers
from portal.web.context import Portal
from portal.web.request_spans import call_span, end_call_span

_BEFORE_THE_API = 60.0
"""Seconds; longer than the wait for tokens and a connection can be."""
_BUSY_SECONDS = 5
"""Retry-After when no connection is free."""


class UpstreamCall:
    """One request to an API on behalf of a browser.

    The constructor checks the tenant's path rules, so that no call can skip them.
    """

    def __init__(
        self,
        portal: Portal,
        tenant: Tenant,
        login: Login | None,
        api: Api,
        *,
        method: str,
        path: str,
        target: str,
        headers: bytes,
        request_id: str,
        websocket: WebSocketOffer | None = None,
        network: str = "",
        client: str = "",
    ) -> None:
        """Parameters: login, of the user; ignored for an API that gets no user's calls; path, the part of
        `target` below the API's base URL; headers, from `encode_headers`; websocket, to open a WebSocket: a
        response with the status 101 is a `Tunnel`; network and client, who calls an API without logins, from
        `client_network` and `counted_client`.

        Raises: AccessDenied, LoginRequired.
        """
        if api.access is not ApiAccess.USER:
            login = None  # nothing of a user is sent
        elif login is not None:
            check_path_access(tenant, login, path, api=api)
        else:
            raise LoginRequired("this session has no live login at this tenant")
        self._portal = portal
        self._tenant = tenant
        self.login = login
        self.path = path
        self._method = method
        self.api = api
        self.target = target
        self._headers = headers
        self._request_id = request_id
        self._websocket = websocket
        self._network = network
        self.client = client
        self._provider = tenant.default_provider if login is None else tenant.providers.get(login.provider)
        """The provider of the access token."""
        self.waited = 0.0
        """Seconds of waiting for the API."""
        self._tls = _tls(api, self._provider)

    @property
    def body_timeout(self) -> float:
        """The longest time, in seconds, that a chunk of the request body may wait to be sent."""
        return _BEFORE_THE_API + self.api.idle_timeout

    @property
    def tenant(self) -> str:
        """The slug of the tenant."""
        return self._tenant.slug

    @property
    def client_registration(self) -> str | None:
        """The registration whose own access token the call gets; None for a call of a user or of nobody."""
        if self.api.access is not ApiAccess.CLIENT or self._provider is None:
            return None
        return self._provider.registration

    @property
    def place(self) -> tuple[str, str]:
        """The tenant, and the user in it or the client's network, whose limits a WebSocket counts for.

        The second is empty when the client is unknown: only the limits of the tenant count then.
        """
        if self.login is None:
            return self.tenant, self._network and f"network {self._network}"
        return self.tenant, f"{self.login.issuer} {self.login.subject}"

    async def send(self, body: bytes) -> OutboundStream:
        """Send a body that can be replayed, and return the API's response.

        Raises UpstreamUnavailable, StepUpRequired, StepUpFailed, and what SessionService.tokens raises.
        """
        if self.api.max_body is not None and len(body) > self.api.max_body:
            raise PayloadTooLarge(f"the body is longer than max_body of {self.api.key}")
        tokens = await self._tokens()
        response = await self._send_once(tokens, body or None)
        if response.status != 401 or tokens is None or _lacks_nonce(tokens, response):
            return response
        try:
            again = await self._tokens(refused=tokens.access_token)
        except BaseException:
            await response.aclose()
            raise
        if again is None or again.access_token == tokens.access_token:
            return response
        await response.aclose()
        return await self._send_once(again, body or None)

    async def stream(self, body: AsyncIterator[bytes], *, length: int | None) -> OutboundStream:
        """Send a body that can be read once. Parameters: length, in bytes if the browser sent it."""
        return await self._open(await self._tokens(), body, length=length)

    def passed_headers(self, response: OutboundStream, public_base: str) -> list[tuple[str, str]]:
        """The headers of a response for the browser. Parameters: public_base, of the API here."""
        return passed_headers(
            response.headers,
            target=self.target,
            base_url=self.api.base_url,
            public_base=public_base,
            more=self.api.response_headers,
        )

    def _tokens(self, *, refused: Secret | None = None) -> Awaitable[TokenSet | None]:
        """The tokens of the call; new ones when the certificate they are bound to has been replaced.

        None for an API that gets none. Parameters: refused, an access token that the API rejected.
        Raises: AccessDenied, TokenCertificateMismatch; what SessionService.tokens or ClientTokens.get raises.
        """
        if self.api.access is ApiAccess.ANONYMOUS:
            return self._no_tokens()
        return self._bound_tokens(refused) if self.api.mtls else self._allowed_tokens(refused)

    async def _no_tokens(self) -> None:
        return None

    async def _bound_tokens(self, refused: Secret | None) -> TokenSet:
        tokens = await self._allowed_tokens(refused)
        if fits(tokens.access_token, self._tls.certificate):
            return tokens
        tokens = await self._allowed_tokens(tokens.access_token)
        if not fits(tokens.access_token, self._tls.certificate):
            stated = display_text(bound_to(tokens.access_token) or "")
            own = self._tls.certificate.thumbprint if self._tls.certificate else "none"
            raise TokenCertificateMismatch(f"cnf x5t#S256 is {stated}, the certificate has {own}")
        return tokens

    async def _allowed_tokens(self, refused: Secret | None) -> TokenSet:
        """Return the token set for the call, and check the current tenant and claims again.

        A refresh can take a while and can change the claims.
        """
        if self.login is None:
            tokens = await self._client_tokens(refused)
            self._current_tenant()
            return tokens
        sessions, target = self._portal.sessions, self.api.targets.get(self.login.provider)
        tokens = await sessions.tokens(self.login, refused=refused, target=target)
        tenant = self._current_tenant()
        has_rules = any(rules.paths for rules in tenant.access.get(self.login.provider, ()))
        if tenant is not self._tenant or (has_rules and self._is_refreshed(tokens, self.login)):
            login = await sessions.read_again(self.login)
            check_path_access(tenant, login, self.path, api=self.api)
        return tokens

    def _is_refreshed(self, tokens: TokenSet, login: Login) -> bool:
        """Whether the tokens are newer than those of the login, so that its claims may be as well."""
        stored = self._portal.sessions.stored_tokens(login)
        known = (stored, *stored.api_tokens.values())
        return all(tokens.access_token != one.access_token for one in known)

    def _current_tenant(self) -> Tenant:
        """The tenant as it is now.

        Raises: UpstreamUnavailable, when it has not the same API any more, or not the same client for it.
        """
        tenant = self._portal.registry.get(self._tenant.slug)
        api = tenant.api_named(self.api.name) if tenant is not None else None
        if tenant is None or api is None or api.differs(self.api):
            raise UpstreamUnavailable("the tenant's API changed during the call")
        used = self.client_registration
        if used is not None and used != tenant.default_provider.registration:
            raise UpstreamUnavailable("the provider's registration changed during the call")
        return tenant

    async def _client_tokens(self, refused: Secret | None) -> TokenSet:
        """The portal's own access token for the API."""
        provider = self._tenant.default_provider
        target = self.api.targets[provider.id]
        return await self._portal.sessions.client_tokens.get(provider, target, refused=refused)

    def _send_once(self, tokens: TokenSet | None, body: bytes | None) -> Awaitable[OutboundStream]:
        """Send with these tokens, as they are bound."""
        if tokens is None or tokens.dpop_key is None:
            return self._open(tokens, body)
        return self._send_bound(tokens, body)

    async def _send_bound(self, tokens: TokenSet, body: bytes | None) -> OutboundStream:
        """Send, and repeat when the API requires a nonce in the DPoP proof (RFC 9449 9)."""
        response = await self._open(tokens, body)
        if not _lacks_nonce(tokens, response):
            return response
        await response.aclose()
        return await self._open(tokens, body)

    def _dpop_prover(self, tokens: TokenSet | None) -> DpopProver | None:
        if tokens is None or tokens.dpop_key is None or self._provider is None:
            return None
        return self._portal.sessions.dpop_prover(self._provider.key, tokens)

    async def _open(
        self, tokens: TokenSet | None, body: bytes | AsyncIterator[bytes] | None, *, length: int | None = None
    ) -> OutboundStream:
        token = tokens.access_token.reveal() if tokens is not None else None
        dpop_prover = self._dpop_prover(tokens)
        proof = dpop_prover.proof(self._method, self.target, access_token=token) if dpop_prover else None
        traces = self._portal.traces
        span = call_span(traces, self.tenant, self.api.name, self._method) if traces is not None else None
        headers = own_headers(
            access_token=token,
            request_id=self._request_id,
            dpop_proof=proof,
            traceparent=traces.traceparent(span) if traces is not None else None,
        )
        if length is not None:
            headers.append(("Content-Length", str(length)))
        begun, status = time.perf_counter(), 0
        try:
            response = await self._portal.http.open_stream(
                self._method,
                self.target,
                tenant=self._tenant.slug,
                headers=headers,
                encoded=self._headers,
                body=body,
                head_timeout=self.api.timeout,
                idle_timeout=self.api.idle_timeout,
                tls=self._tls,
                websocket=self._websocket,
            )
            status = response.status
        except OutboundBusy as error:
            self._portal.metrics.limits.hit(Limit.API_CONNECTIONS, self.tenant)
            raise UpstreamBusy(error.detail, retry_after=_BUSY_SECONDS) from error
        except OutboundTimeout as error:
            raise UpstreamTimeout(error.detail) from error
        except OutboundFailed as error:
            raise UpstreamUnavailable(error.detail) from error
        finally:
            self.waited += time.perf_counter() - begun
            if traces is not None and span is not None:
                end_call_span(traces, span, status)
        if dpop_prover is not None:
            dpop_prover.store_nonce(self.target, response.headers)
        if response.status > 599:
            await response.aclose()
            raise UpstreamUnavailable(f"the API responded with the status {response.status}")
        if response.status in step_up.STATUSES and self.login is not None and tokens is not None:
            await self._require_no_step_up(response, self.login, tokens)
        return response

    async def _require_no_step_up(self, response: OutboundStream, login: Login, tokens: TokenSet) -> None:
        """Close a response that requires another login, and raise the error for the page."""
        of_login = self._portal.sessions.stored_tokens(login)
        target = self.api.targets.get(login.provider)
        own = target if target is not None and target.methods else None
        granted = of_login.scope if own is None else of_login.api_scopes.get(own.key, ())
        error = step_up.step_up_error(
            response.status,
            response.headers,
            tenant=self._tenant,
            login=login,
            granted={*tokens.scope, *granted},
            now=self._portal.clock(),
            target=own,
        )
        if error is not None:
            await response.aclose()
            raise error


def _tls(api: Api, provider: Provider | None) -> Tls:
    """TLS options for connections to an API: with the client certificate of the provider, if any."""
    certificate = provider.client_certificate if provider is not None and api.mtls else None
    return Tls(api.tls_authorities, certificate)


def _lacks_nonce(tokens: TokenSet, response: OutboundStream) -> bool:
    return tokens.dpop_key is not None and wants_nonce(response.status, response.headers)
