"""The relying party: logs users in at their provider, refreshes and ends logins.

It has no session and no database; the caller stores the state between two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from portal.clock import Clock, now
from portal.oidc import (
    authorization,
    authorization_response,
    id_token,
    logout,
    logout_token,
    refresh_refusal,
    refreshed_id_token,
    request_protection,
    revocation,
    signed_response,
    token_endpoint,
    userinfo,
)
from portal.oidc.api_target import ApiTarget, ApiTokenRequest
from portal.oidc.api_token_client import ApiTokenClient, check_audience
from portal.oidc.client_authentication import AuthenticateClient, credentials
from portal.oidc.client_keys import ClientKeys
from portal.oidc.discovery import MetadataSource
from portal.oidc.dpop import DpopKey, DpopProver, NonceMemory
from portal.oidc.errors import IdTokenRejected, RefreshRejected, TokenRequestRejected, UserInfoRejected
from portal.oidc.id_token import Claims, KeyUnknown
from portal.oidc.interaction import Interaction
from portal.oidc.jose import jwe
from portal.oidc.keys import KeySet, KeySource
from portal.oidc.logout_token import LogoutKeyUnknown, LogoutNotice
from portal.oidc.provider import (
    Authentication,
    AuthorizationRequest,
    Provider,
    ProviderMetadata,
    Refreshed,
    TokenSet,
)
from portal.oidc.provider_health import UNRECORDED, ProviderCalls
from portal.oidc.signed_response import ResponseKeyUnknown
from portal.oidc.token_response import required_id_token
from portal.outbound.client import OutboundClient
from portal.secret import Secret

T = TypeVar("T")


class RelyingParty:
    """The OpenID Connect client of the portal, for all providers.

    Parameters: http, the guarded client; clock, seconds since the epoch, UTC; client_keys, the portal's keys
    for signing and decryption; calls, learns of each request to a provider.
    """

    def __init__(
        self,
        http: OutboundClient,
        *,
        clock: Clock = now,
        client_keys: ClientKeys | None = None,
        calls: ProviderCalls = UNRECORDED,
    ) -> None:
        self._http = http
        self._calls = calls
        self._clock = clock
        self._client_keys = client_keys
        self._authenticate_client: AuthenticateClient = partial(
            credentials, client_keys=client_keys, clock=clock
        )
        self._metadata = MetadataSource(http, clock=clock, calls=calls)
        self._keys = KeySource(http, clock=clock, calls=calls)
        self._nonces = NonceMemory()
        self._pusher = request_protection.RequestPusher(
            http, clock=clock, authenticate_client=self._authenticate_client, calls=calls
        )
        self._api_tokens = ApiTokenClient(
            http,
            clock=clock,
            authenticate_client=self._authenticate_client,
            dpop_prover=self.dpop_prover,
            calls=calls,
        )

    async def metadata(self, provider: Provider) -> ProviderMetadata:
        """Return the provider's metadata; endpoints in the tenant file take precedence.

        Raises: MetadataRejected, OutboundRefused, ProviderUnavailable.
        """
        return await self._metadata.get(provider)

    async def begin(
        self,
        provider: Provider,
        *,
        redirect_uri: str,
        options: authorization.AuthorizationOptions | None = None,
    ) -> AuthorizationRequest:
        """Make an authorization request. The caller stores its state, nonce and verifier.

        Raises: as metadata, PushedRequestRejected, ClientKeyMissing.
        """
        metadata = await self.metadata(provider)
        provider = authorization.for_api(provider, options.target if options else None)
        pushed = request_protection.is_pushed(provider, metadata)
        drafted = authorization.draft(provider, redirect_uri=redirect_uri, options=options, metadata=metadata)
        sent = drafted.parameters if pushed else authorization.fit_for_url(drafted.parameters)
        if provider.signed_request:
            sent = request_protection.signed(
                provider, sent, client_keys=self._client_keys, now=self._clock(), pushed=pushed
            )
        if pushed:
            has_login_hint = bool(options and options.login_hint)
            sent = await self._pusher.push(provider, metadata, sent, has_login_hint=has_login_hint)
        return drafted.sent_as(authorization.request_url(metadata, sent), now=self._clock())

    async def finish(
        self,
        provider: Provider,
        response: Mapping[str, Sequence[str]],
        *,
        nonce: str,
        code_verifier: Secret,
        redirect_uri: str,
        dpop_key: DpopKey | None = None,
        interaction: Interaction | None = None,
        target: ApiTarget | None = None,
    ) -> Authentication:
        """Check an authorization response, exchange its code, validate the ID token.

        The caller has already matched `state` and consumed the attempt; `nonce`, `code_verifier`,
        `redirect_uri`, `dpop_key`, `interaction` and `target` are those of that attempt.

        Raises: the LoginRejected of the broken rule, OutboundRefused, ProviderUnavailable, ApiTokenMismatch.
        """
        metadata = await self.metadata(provider)
        if provider.response_mode.signed:
            response = await self._verified_response(provider, metadata, response)
        code = authorization_response.accept_response(response, provider, metadata)
        keys = await self._key_set(provider, metadata)  # before the code is used
        if provider.dpop and dpop_key is None:  # dpop was enabled during this login
            dpop_key = DpopKey.generate()
        exchange = token_endpoint.exchange_code(
            self._http,
            authorization.for_api(provider, target),
            metadata,
            code=code,
            code_verifier=code_verifier,
            redirect_uri=redirect_uri,
            now=self._clock(),
            authenticate_client=self._authenticate_client,
            dpop_prover=self.dpop_prover(provider.key, dpop_key),
            step_up=interaction.step_up if interaction else None,
        )
        tokens, signed = self._with_id_token(provider, await self._calls.record(provider, exchange))
        # None: an attempt that an older version of the portal stored
        interaction = interaction or Interaction(self._clock(), provider.max_age)
        expected = id_token.LoginExpectations(
            nonce=nonce, code=code, access_token=tokens.access_token, interaction=interaction
        )
        claims = await self._login_claims(provider, metadata, keys, signed, expected)
        if target is not None:
            check_audience(tokens.access_token, target, others=provider.api_audiences)
        elif provider.userinfo:
            claims = await self._with_userinfo(provider, metadata, keys, tokens, claims)
        return Authentication.of(claims, tokens)

    def dpop_prover(self, registration: str, key: DpopKey | None) -> DpopProver | None:
        """Return the prover for the key that a login's tokens are bound to (RFC 9449); None without a key.

        Parameters: registration, the `key` of the login's Provider.
        """
        return None if key is None else DpopProver(key, self._nonces, registration, self._clock)

    async def refresh(
        self, provider: Provider, tokens: TokenSet, *, subject: str, api: ApiTokenRequest | None = None
    ) -> Refreshed:
        """Exchange the refresh token for a new token set; values missing in the response are kept.

        Once a response has arrived, only an ID token of another user makes it unusable: the refresh token
        that was sent may be invalid now. A new ID token that cannot be validated, or that breaks a rule other
        than those of OIDC Core 12.2 on iss, sub and aud, is ignored; the log names the rule.

        Parameters: subject, `sub` of the login; a new ID token must have the same; api, if the access token
        is for another API than the login's (ApiTokenRefused when the provider refuses it).
        Raises: RefreshRejected, the provider rejected the refresh token or sent an ID token of another user;
        ProviderUnavailable, retry later; ClientRejected or TokenResponseMalformed, the registration is wrong
        or the provider does not conform; another PortalError before anything was sent.
        """
        if tokens.refresh_token is None:
            raise RefreshRejected("there is no refresh token")
        metadata = await self.metadata(provider)
        keys = await self._key_set(provider, metadata)  # before a rotating refresh token is used
        try:
            sent = token_endpoint.refresh(
                self._http,
                provider,
                metadata,
                tokens,
                now=self._clock(),
                authenticate_client=self._authenticate_client,
                dpop_prover=self.dpop_prover(provider.key, tokens.dpop_key),
                api=api,
            )
            new = await self._calls.record(provider, sent)
        except TokenRequestRejected as error:
            raise refresh_refusal.refresh_error(error, api) from error
        validate = partial(self._with_new_id_token, provider, metadata, keys)
        return await refreshed_id_token.adopt(provider, new, tokens, subject=subject, validate=validate)

    async def exchange(self, provider: Provider, tokens: TokenSet, target: ApiTarget) -> TokenSet:
        """Exchange a login's access token for an API's. Raises: as ApiTokenClient.exchange, metadata."""
        return await self._api_tokens.exchange(provider, await self.metadata(provider), tokens, target)

    async def client_token(
        self, provider: Provider, target: ApiTarget, *, dpop_key: DpopKey | None = None
    ) -> TokenSet:
        """Request an access token for the portal itself. Raises: as ApiTokenClient.exchange, metadata."""
        metadata = await self.metadata(provider)
        return await self._api_tokens.client_credentials(provider, metadata, target, dpop_key=dpop_key)

    async def revoke(self, provider: Provider, token: Secret, *, hint: str) -> bool:
        """Revoke a token (RFC 7009). Return False when the provider has no revocation endpoint.

        Parameters: hint, `refresh_token` or `access_token`.
        Raises: ProviderUnavailable, TokenRequestRejected, MetadataRejected, OutboundRefused.
        """
        metadata = await self.metadata(provider)
        return await revocation.revoke(
            self._http,
            provider,
            metadata,
            token,
            hint=hint,
            authenticate_client=self._authenticate_client,
            calls=self._calls,
        )

    async def logout_url(
        self,
        provider: Provider,
        *,
        id_token: Secret | None,
        post_logout_redirect_uri: str,
        state: str,
    ) -> str | None:
        """Return the URL at which the user signs out of the provider; None when the provider has none.

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

    async def read_logout_token(self, providers: Sequence[Provider], token: Secret) -> LogoutNotice:
        """Validate a logout token of one of these providers (Back-Channel Logout 2.6).

        The caller must check that its `jti` is new.
        Raises: LogoutTokenRejected; as metadata; KeysRejected, ClientKeyMissing.
        """
        provider, token = logout_token.find_registration(
            token,
            providers,
            decrypt=lambda token, provider: jwe.open_logout_token(token, provider, self._client_keys),
        )
        return await self.verified(
            provider,
            lambda keys: logout_token.validate(token, provider, keys, now=self._clock()),
            unknown=LogoutKeyUnknown,
            purpose="logout",
        )

    async def verified(
        self, provider: Provider, validate: Callable[[KeySet], T], *, unknown: type[Exception], purpose: str
    ) -> T:
        """Return what `validate` returns for the provider's keys. Parameters: as KeySource.validated.

        Raises: as metadata; KeysRejected, and what `validate` raises.
        """
        metadata = await self.metadata(provider)
        keys, url = await self._key_set(provider, metadata), metadata.jwks_uri
        return await self._keys.validated(provider, url, keys, validate, unknown=unknown, purpose=purpose)

    async def close(self) -> None:
        """Cancel fetches of metadata and keys. The caller closes the guarded client."""
        await self._metadata.close()
        await self._keys.close()

    async def _with_new_id_token(
        self,
        provider: Provider,
        metadata: ProviderMetadata,
        keys: KeySet,
        new: TokenSet,
        *,
        expected: id_token.RefreshExpectations,
    ) -> Refreshed:
        """Validate the new ID token of a refreshed token set.

        Raises: IdTokenRejected; as metadata; KeysRejected, ClientKeyMissing.
        """

        def validate(keys: KeySet, token: Secret) -> Claims:
            return id_token.validate_at_refresh(token, provider, keys, expected, now=self._clock())

        signed = jwe.open_token(new.id_token or Secret(""), provider, self._client_keys)
        claims = await self._with_known_key(provider, metadata, keys, signed, validate)
        return Refreshed(replace(new, id_token=signed), claims)

    async def _verified_response(
        self, provider: Provider, metadata: ProviderMetadata, response: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Sequence[str]]:
        """Verify a signed response and return its parameters; ignore all parameters outside it (JARM 2.4)."""
        token = authorization_response.signed(response, provider)
        keys = KeySet(())
        if not signed_response.needs_no_keys(provider):
            keys = await self._keys.get(provider, metadata.jwks_uri)
        return await self._keys.validated(
            provider,
            metadata.jwks_uri,
            keys,
            lambda keys: signed_response.open_response(token, provider, keys, now=self._clock()),
            unknown=ResponseKeyUnknown,
            purpose="response",
        )

    async def _login_claims(
        self,
        provider: Provider,
        metadata: ProviderMetadata,
        keys: KeySet,
        token: Secret,
        expected: id_token.LoginExpectations,
    ) -> Claims:
        """Validate the ID token of a login and return its claims."""

        def validate(keys: KeySet, token: Secret) -> Claims:
            return id_token.validate_at_login(token, provider, keys, expected, now=self._clock())

        return await self._with_known_key(provider, metadata, keys, token, validate)

    def _with_id_token(self, provider: Provider, tokens: TokenSet) -> tuple[TokenSet, Secret]:
        """Return the token set of a login and its required ID token, decrypted."""
        signed = jwe.open_token(required_id_token(tokens), provider, self._client_keys)
        return tokens if signed is tokens.id_token else replace(tokens, id_token=signed), signed

    async def _with_userinfo(
        self,
        provider: Provider,
        metadata: ProviderMetadata,
        keys: KeySet,
        tokens: TokenSet,
        claims: Claims,
    ) -> Claims:
        """Return the claims of the ID token together with those of the UserInfo endpoint (OIDC Core 5.3)."""
        request = userinfo.request(
            provider, metadata, tokens, dpop_prover=self.dpop_prover(provider.key, tokens.dpop_key)
        )
        response = await self._calls.record(provider, userinfo.fetch(self._http, request))

        def read(keys: KeySet, _: Secret) -> Claims:
            return userinfo.read(response, provider, keys, id_token=claims, now=self._clock())

        try:
            found = await self._with_known_key(provider, metadata, keys, tokens.access_token, read)
        except IdTokenRejected as error:
            raise UserInfoRejected(error.rule, error.detail.partition(": ")[2]) from error
        return userinfo.merged(claims, found)

    async def _key_set(self, provider: Provider, metadata: ProviderMetadata) -> KeySet:
        if id_token.needs_no_keys(provider) and userinfo.needs_no_keys(provider):
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
        """Validate; when no key matches, validate again with newly fetched keys (OIDC Core 10.1.1)."""
        return await self._keys.validated(
            provider, metadata.jwks_uri, keys, lambda keys: validate(keys, token), unknown=KeyUnknown
        )
