"""Requests for access tokens of a tenant's APIs without a refresh token: exchanged, or the portal's own.

`RelyingParty.refresh` requests them with a refresh token.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from portal.clock import Clock
from portal.errors import PortalError
from portal.oidc import refresh_refusal, token_endpoint
from portal.oidc.api_errors import ApiTokenMismatch, ApiTokenRefused
from portal.oidc.api_target import TOKEN_EXCHANGE, ApiTarget, ApiTokenMethod
from portal.oidc.client_authentication import AuthenticateClient
from portal.oidc.dpop import DpopKey, DpopProver
from portal.oidc.errors import ClientRejected, IdTokenRejected, RefreshRejected, TokenRequestRejected
from portal.oidc.jose import jws
from portal.oidc.provider import Provider, ProviderMetadata, TokenSet
from portal.oidc.provider_health import UNRECORDED, ProviderCalls
from portal.oidc.quoting import listed, mismatch
from portal.oidc.token_response import read_token_set
from portal.outbound.client import OutboundClient
from portal.secret import Secret

_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a token type


class ApiTokenClient:
    """Requests access tokens for APIs. Parameters: as those of RelyingParty, which makes it."""

    def __init__(
        self,
        http: OutboundClient,
        *,
        clock: Clock,
        authenticate_client: AuthenticateClient,
        dpop_prover: Callable[[str, DpopKey | None], DpopProver | None],
        calls: ProviderCalls = UNRECORDED,
    ) -> None:
        self._http = http
        self._calls = calls
        self._clock = clock
        self._authenticate_client = authenticate_client
        self._dpop_prover = dpop_prover

    async def exchange(
        self, provider: Provider, metadata: ProviderMetadata, tokens: TokenSet, target: ApiTarget
    ) -> TokenSet:
        """Exchange the access token of a login for one of an API (RFC 8693 2).

        Raises: ApiTokenRefused; ProviderUnavailable, TokenResponseMalformed, TokenNotBound, ClientKeyMissing,
        OutboundRefused.
        """
        fields = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", tokens.access_token.reveal()),
            ("subject_token_type", _ACCESS_TOKEN),
            ("requested_token_type", _ACCESS_TOKEN),
            *target.parameters(ApiTokenMethod.EXCHANGE),
        ]
        try:
            return await self._request(
                provider, metadata, target, fields, dpop_key=tokens.dpop_key, secrets=(tokens.access_token,)
            )
        except ClientRejected as error:  # Keycloak refuses an unknown audience like this
            raise ApiTokenRefused(target.name, error.error, error.detail) from error

    async def client_credentials(
        self, provider: Provider, metadata: ProviderMetadata, target: ApiTarget, *, dpop_key: DpopKey | None
    ) -> TokenSet:
        """Request an access token for the portal itself (RFC 6749 4.4).

        Raises: as exchange; ClientRejected.
        """
        method = ApiTokenMethod.EXCHANGE  # audience or resource, as the tenant file states it, and the scopes
        fields = [("grant_type", "client_credentials"), *target.parameters(method)]
        return await self._request(provider, metadata, target, fields, dpop_key=dpop_key)

    async def _request(
        self,
        provider: Provider,
        metadata: ProviderMetadata,
        target: ApiTarget,
        fields: Sequence[tuple[str, str]],
        *,
        dpop_key: DpopKey | None,
        secrets: Sequence[Secret] = (),
    ) -> TokenSet:
        try:
            sent = token_endpoint.send_form(
                self._http,
                provider,
                metadata.token_endpoint,
                fields,
                token_endpoint=metadata.token_endpoint,
                secrets=secrets,
                authenticate_client=self._authenticate_client,
                dpop_prover=self._dpop_prover(provider.key, dpop_key),
            )
            response = await self._calls.record(provider, sent)
        except TokenRequestRejected as error:
            raise _refusal(error, target) from error
        return read_token_set(response, requested_scopes=target.scopes, now=self._clock(), dpop_key=dpop_key)


def check_audience(access_token: Secret, target: ApiTarget, *, others: Collection[str] = ()) -> None:
    """Check that an access token is for its API, where that can be read (RFC 9068 2.2, RFC 8707 2.2).

    Nothing else is verified: the token is meant for the API, and need not be a JWT.
    Parameters: others, the audiences of the tenant's APIs (`Provider.api_audiences`). A token of one API must
    not name another, where this API could use it (RFC 8707 3). Empty for the access token of the login, which
    several APIs may share.
    Raises: ApiTokenMismatch.
    """
    expected = target.expected_audience
    if expected is None:
        return
    try:
        stated = jws.stored_claims(access_token.reveal()).get("aud")
    except IdTokenRejected:
        return  # opaque or encrypted
    if expected != stated and not (isinstance(stated, list) and expected in stated):
        raise ApiTokenMismatch(target.name, mismatch("aud of the access token", stated, expected))
    also = [one for one in stated if one in others and one != expected] if isinstance(stated, list) else []
    if also:
        detail = f"{mismatch('aud of the access token', stated, expected)} without other APIs of this tenant"
        raise ApiTokenMismatch(target.name, f"{detail}; it also names {listed(also)}")


def _refusal(error: TokenRequestRejected, target: ApiTarget) -> PortalError:
    """The error to raise for a rejected request: no refresh token was sent, so no login ends."""
    known = refresh_refusal.refresh_error(error)
    if isinstance(known, RefreshRejected):
        return ApiTokenRefused(target.name, error.error, error.detail)
    return known
