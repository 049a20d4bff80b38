"""The relying party: logs users in at any provider, renews and ends their logins.

It holds no session and no database; what must be remembered between two steps is given to the caller.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from portal.errors import IdTokenRejected, RefreshRejected, TokenRequestRejected, TokenResponseMalformed
from portal.oidc import authorization, id_token, logout, revocation, token_endpoint
from portal.oidc.discovery import MetadataSource
from portal.oidc.http import OutboundClient
from portal.oidc.id_token import Claims, KeyUnknown
from portal.oidc.keys import KeySet, KeySource
from portal.oidc.provider import (
    Authentication,
    AuthorizationRequest,
    Provider,
    ProviderMetadata,
    TokenSet,
)
from portal.oidc.secret import Secret

Clock = Callable[[], float]


def utc_now() -> float:
    """The time in seconds since the epoch, UTC, rounded to a millisecond."""
    return round(time.time(), 3)


class RelyingParty:
    """Everything the portal does as an OpenID Connect client, for any number of providers.

    Parameters: http, the guarded client; clock, seconds since the epoch, UTC.
    """

    def __init__(self, http: OutboundClient, *, clock: Clock = utc_now) -> None:
        self._http = http
        self._clock = clock
        self._metadata = MetadataSource(http, clock=clock)
        self._keys = KeySource(http, clock=clock)

    async def metadata(self, provider: Provider) -> ProviderMetadata:
        """What the provider says of itself, with the endpoints of the tenant file on top.

        Raises: MetadataRejected, OutboundRefused, ProviderUnavailable.
        """
        return await self._metadata.get(provider)

    async def begin(
        self,
        provider: Provider,
        *,
        redirect_uri: str,
        prompt: str | None = None,
        login_hint: str | None = None,
    ) -> AuthorizationRequest:
        """Make an authorization request; the caller keeps state, nonce and verifier for its answer.

        Raises: as metadata.
        """
        metadata = await self.metadata(provider)
        return authorization.build_request(
            provider, metadata, redirect_uri=redirect_uri, prompt=prompt, login_hint=login_hint
        )

    async def finish(
        self,
        provider: Provider,
        response: Mapping[str, Sequence[str]],
        *,
        nonce: str,
        code_verifier: Secret,
        redirect_uri: str,
    ) -> Authentication:
        """Check an authorization response, exchange its code, validate the ID token.

        The caller has already matched `state` and consumed the attempt; `nonce`, `code_verifier` and
        `redirect_uri` are those of that attempt.

        Raises: a LoginRejected of the rule that was broken, OutboundRefused, ProviderUnavailable.
        """
        metadata = await self.metadata(provider)
        code = authorization.accept_response(response, provider, metadata)
        keys = await self._key_set(provider, metadata)  # before the code is spent
        tokens = await token_endpoint.exchange_code(
            self._http,
            provider,
            metadata,
            code=code,
            code_verifier=code_verifier,
            redirect_uri=redirect_uri,
            now=self._clock(),
        )
        if tokens.id_token is None:
            raise TokenResponseMalformed("the token response has no id_token")
        expected = id_token.LoginExpectations(
            nonce=nonce, code=code, access_token=tokens.access_token, max_age=provider.max_age
        )

        def validate(keys: KeySet, token: Secret) -> Claims:
            return id_token.validate_at_login(token, provider, keys, expected, now=self._clock())

        claims = await self._with_known_key(provider, metadata, keys, tokens.id_token, validate)
        sid = claims.get("sid")
        return Authentication(
            issuer=provider.issuer,
            subject=str(claims["sub"]),
            sid=sid if isinstance(sid, str) else None,
            claims=claims,
            tokens=tokens,
        )

    async def refresh(self, provider: Provider, tokens: TokenSet, *, subject: str) -> TokenSet:
        """Trade the refresh token for a new token set; what the answer leaves out is kept from the old one.

        Parameters: subject, who the login belongs to; a new ID token must say the same.
        Raises: RefreshRejected, the login has ended; ProviderUnavailable, it has not, try later;
        TokenRequestRejected or TokenResponseMalformed, the provider or its registration is at fault.
        """
        if tokens.refresh_token is None:
            raise RefreshRejected("there is no refresh token")
        metadata = await self.metadata(provider)
        keys = await self._key_set(provider, metadata)  # before a rotating refresh token is spent
        try:
            new = await token_endpoint.refresh(self._http, provider, metadata, tokens, now=self._clock())
        except TokenRequestRejected as error:
            if error.error == "invalid_grant":
                raise RefreshRejected(error.detail) from error
            raise
        if new.id_token is None:
            return replace(new, id_token=tokens.id_token)
        expected = id_token.RefreshExpectations(
            subject=subject, previous=tokens.id_token, access_token=new.access_token
        )

        def validate(keys: KeySet, token: Secret) -> Claims:
            return id_token.validate_at_refresh(token, provider, keys, expected, now=self._clock())

        try:
            await self._with_known_key(provider, metadata, keys, new.id_token, validate)
        except IdTokenRejected as error:
            raise RefreshRejected(error.detail) from error
        return new

    async def revoke(self, provider: Provider, token: Secret, *, hint: str) -> bool:
        """Revoke a token (RFC 7009); False when the provider has no endpoint for it.

        Parameters: hint, `refresh_token` or `access_token`.
        Raises: ProviderUnavailable, TokenRequestRejected, MetadataRejected, OutboundRefused.
        """
        metadata = await self.metadata(provider)
        return await revocation.revoke(self._http, provider, metadata, token, hint=hint)

    async def logout_url(
        self,
        provider: Provider,
        *,
        id_token: Secret | None,
        post_logout_redirect_uri: str,
        state: str,
    ) -> str | None:
        """Where the browser goes to sign out at the provider; None when it offers no such place.

        Raises: as metadata.
        """
        metadata = await self.metadata(provider)
        return logout.logout_url(
            provider,
            metadata,
            id_token=id_token,
            post_logout_redirect_uri=post_logout_redirect_uri,
            state=state,
        )

    async def close(self) -> None:
        """Stop refreshing metadata and keys; the guarded client is closed by whoever made it."""
        await self._metadata.close()
        await self._keys.close()

    async def _key_set(self, provider: Provider, metadata: ProviderMetadata) -> KeySet:
        if id_token.needs_no_keys(provider):
            return KeySet(())
        return await self._keys.get(provider, metadata.jwks_uri)

    async def _with_known_key(
        self,
        provider: Provider,
        metadata: ProviderMetadata,
        keys: KeySet,
        token: Secret,
        validate: Callable[[KeySet, Secret], Claims],
    ) -> Claims:
        """Validate; when no key fits, once more with keys fetched anew (OIDC Core 10.1.1)."""
        try:
            return validate(keys, token)
        except KeyUnknown:
            keys = await self._keys.refetch(provider, metadata.jwks_uri)
        return validate(keys, token)
