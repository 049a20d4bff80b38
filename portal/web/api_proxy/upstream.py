"""Calls a tenant's API with the login's access token, and repeats the call with a new token after a 401."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable

from portal.display_text import display_text
from portal.errors import (
    OutboundBusy,
    OutboundFailed,
    OutboundTimeout,
    UpstreamBusy,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from portal.oidc.bound_token import bound_to, fits
from portal.oidc.dpop import wants_nonce
from portal.oidc.errors import TokenCertificateMismatch
from portal.oidc.provider import TokenSet
from portal.outbound.stream import OutboundStream
from portal.outbound.tls import Tls
from portal.secret import Secret
from portal.stores.model import Login
from portal.tenancy.model import Api, Tenant
from portal.web.api_proxy.path_access import check_path_access
from portal.web.api_proxy.rules import own_headers
from portal.web.context import Portal

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
        login: Login,
        api: Api,
        *,
        method: str,
        path: str,
        target: str,
        headers: bytes,
        request_id: str,
    ) -> None:
        """Parameters: path, the part of `target` below the API's base URL; headers, from `encode_headers`.

        Raises: AccessDenied.
        """
        check_path_access(tenant, login, path)
        self._portal = portal
        self._tenant = tenant
        self.login = login
        self.path = path
        self._method = method
        self.api = api
        self.target = target
        self._headers = headers
        self._request_id = request_id
        self._tls = _tls(portal, login, api)

    @property
    def body_timeout(self) -> float:
        """The longest time, in seconds, that a chunk of the request body may wait to be sent."""
        return _BEFORE_THE_API + self.api.idle_timeout

    async def send(self, body: bytes) -> OutboundStream:
        """Send a body that can be replayed, and return the API's response.

        Raises UpstreamUnavailable, and what SessionService.tokens raises.
        """
        tokens = await self._tokens()
        response = await self._send_once(tokens, body or None)
        if response.status != 401 or _lacks_nonce(tokens, response):
            return response
        try:
            again = await self._tokens(refused=tokens.access_token)
        except BaseException:
            await response.aclose()
            raise
        if again.access_token == tokens.access_token:
            return response
        await response.aclose()
        return await self._send_once(again, body or None)

    async def stream(self, body: AsyncIterator[bytes], *, length: int | None) -> OutboundStream:
        """Send a body that can be read once. Parameters: length, in bytes if the browser sent it."""
        return await self._open(await self._tokens(), body, length=length)

    def _tokens(self, *, refused: Secret | None = None) -> Awaitable[TokenSet]:
        """The login's tokens; new ones when the certificate they are bound to has been replaced.

        Parameters: refused, an access token that the API rejected.
        Raises: AccessDenied, TokenCertificateMismatch; what SessionService.tokens raises.
        """
        return self._bound_tokens(refused) if self.api.mtls else self._allowed_tokens(refused)

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
        sessions = self._portal.sessions
        tokens = await sessions.tokens(self.login, refused=refused)
        tenant = self._portal.registry.get(self._tenant.slug)
        if tenant is None or tenant.api is None or tenant.api.differs(self.api):
            raise UpstreamUnavailable("the tenant's API changed during the call")
        has_rules = any(rules.paths for rules in tenant.access.get(self.login.provider, ()))
        if tenant is not self._tenant or (
            has_rules and tokens.access_token != sessions.stored_tokens(self.login).access_token
        ):
            login = await sessions.read_again(self.login)
            check_path_access(tenant, login, self.path)
        return tokens

    def _send_once(self, tokens: TokenSet, body: bytes | None) -> Awaitable[OutboundStream]:
        """Send with these tokens, as they are bound."""
        return self._open(tokens, body) if tokens.dpop_key is None else self._send_bound(tokens, body)

    async def _send_bound(self, tokens: TokenSet, body: bytes | None) -> OutboundStream:
        """Send, and repeat when the API requires a nonce in the DPoP proof (RFC 9449 9)."""
        response = await self._open(tokens, body)
        if not _lacks_nonce(tokens, response):
            return response
        await response.aclose()
        return await self._open(tokens, body)

    async def _open(
        self, tokens: TokenSet, body: bytes | AsyncIterator[bytes] | None, *, length: int | None = None
    ) -> OutboundStream:
        token = tokens.access_token.reveal()
        dpop_prover = self._portal.sessions.dpop_prover(self.login, tokens)
        proof = dpop_prover.proof(self._method, self.target, access_token=token) if dpop_prover else None
        headers = own_headers(access_token=token, request_id=self._request_id, dpop_proof=proof)
        if length is not None:
            headers.append(("Content-Length", str(length)))
        try:
            response = await self._portal.http.open_stream(
                self._method,
                self.target,
                tenant=self.login.tenant,
                headers=headers,
                encoded=self._headers,
                body=body,
                head_timeout=self.api.timeout,
                idle_timeout=self.api.idle_timeout,
                tls=self._tls,
            )
        except OutboundBusy as error:
            raise UpstreamBusy(error.detail, retry_after=_BUSY_SECONDS) from error
        except OutboundTimeout as error:
            raise UpstreamTimeout(error.detail) from error
        except OutboundFailed as error:
            raise UpstreamUnavailable(error.detail) from error
        if dpop_prover is not None:
            dpop_prover.store_nonce(self.target, response.headers)
        if response.status > 599:
            await response.aclose()
            raise UpstreamUnavailable(f"the API responded with the status {response.status}")
        return response


def _tls(portal: Portal, login: Login, api: Api) -> Tls:
    """TLS options for API connections of a login: with the client certificate of its provider, if any."""
    tenant = portal.registry.get(login.tenant)
    provider = tenant.providers.get(login.provider) if tenant and api.mtls else None
    return Tls(api.tls_authorities, provider.client_certificate if provider else None)


def _lacks_nonce(tokens: TokenSet, response: OutboundStream) -> bool:
    return tokens.dpop_key is not None and wants_nonce(response.status, response.headers)
