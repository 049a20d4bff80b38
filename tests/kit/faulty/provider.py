"""The development provider for tests, with faults, records and more OAuth features."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from portal.demo.compact import JsonObject
from portal.demo.provider import Delivery, DevelopmentProvider
from portal.demo.provider_keys import SigningKey, SigningKeys, new_key
from portal.demo.provider_model import (
    BrowserSession,
    Grant,
    IssuedAccessToken,
    IssuedCode,
    IssuedRefreshToken,
    Parameters,
    ProviderSettings,
)
from portal.demo.provider_state import ProviderState
from portal.demo.provider_tokens import TokenMint
from tests.kit.faulty.assertions import AssertionVerifier
from tests.kit.faulty.dpop import ProofVerifier
from tests.kit.faulty.provider_faults import OTHER_PARTY, Faults

RESPONSE_MODES = ("query", "form_post", "query.jwt", "form_post.jwt", "jwt")


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request that reached the provider; its parameters are not printed, as they may contain secrets."""

    endpoint: str
    parameters: Mapping[str, Sequence[str]] = field(repr=False)
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class PushedRequest:
    """Pushed parameters, usable once."""

    client_id: str
    parameters: Parameters = field(repr=False)
    expires_at: float


@dataclass(slots=True)
class BoundGrant(Grant):
    """A grant with tokens that may be bound to a key (RFC 9449)."""

    dpop_jkt: str | None = None
    """Thumbprint of the key."""


class FaultyProvider(DevelopmentProvider):
    """A DevelopmentProvider with faults; `faulty_provider_application` serves it.

    It also supports DPoP, client assertions, pushed and signed requests, other response modes, UserInfo and
    front-channel logout.

    `faults` configures faults, `requests` counts requests by endpoint (`discovery`, `jwks`,
    `authorize`, `token`, `code`, `refresh`, `exchange`, `client`, `userinfo`, `revocation`, `par`,
    `end_session`, `sign_in`, `consent`), `received` keeps the last of them, `automatic_user` names a user who
    is signed in without pages, `automatic_acr` the `acr` of such sign-ins, `proofs.nonce` is the required
    nonce of DPoP proofs, and `state.issued` lists all issued codes and tokens.

    By client id: `client_keys` are key set URLs for signed requests and assertions,
    `assertion_audiences` the accepted audiences of assertions (`issuer`, `token_endpoint`, `endpoint`: the
    called endpoint; a client without an entry has a secret), and `frontchannel_logout_uris` the frames that
    are loaded when a session ends.
    """

    def __init__(self, settings: ProviderSettings, key: RSAPrivateKey | None = None) -> None:
        key = key or new_key()
        super().__init__(replace(settings, response_modes=RESPONSE_MODES), key)
        self.faults = Faults()
        self.keys: RotatingKeys = RotatingKeys(key)
        self.state: RecordingState = RecordingState(self.settings)
        self.mint: TokenMint = FaultyMint(self.settings, self.keys, self.faults)
        self.requests: Counter[str] = Counter()
        self.received: deque[ReceivedRequest] = deque(maxlen=500)
        self.automatic_user: str | None = None
        self.automatic_acr: str | None = None
        self.pushed: dict[str, PushedRequest] = {}
        self.proofs = ProofVerifier(settings.clock)
        self.assertions = AssertionVerifier()
        self.client_keys: dict[str, str] = {}
        self.assertion_audiences: dict[str, frozenset[str]] = {}
        self.frontchannel_logout_uris: dict[str, str] = {}

    def metadata(self) -> JsonObject:
        """Return the metadata, with faults applied."""
        base = self.settings.base_url
        metadata = super().metadata() | {
            "userinfo_endpoint": f"{base}/userinfo",
            "authorization_signing_alg_values_supported": ["RS256"],
            "pushed_authorization_request_endpoint": f"{base}/par",
            "request_parameter_supported": True,
            "request_object_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": [
                *("client_secret_basic", "client_secret_post", "private_key_jwt", "none")
            ],
            "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
            "dpop_signing_alg_values_supported": ["ES256"],
            "frontchannel_logout_supported": True,
            "frontchannel_logout_session_supported": True,
        }
        if self.faults.wrong_metadata_issuer:
            metadata["issuer"] = OTHER_PARTY
        if self.faults.mutate_metadata is not None:
            self.faults.mutate_metadata(metadata)
        return metadata

    def key_set(self) -> JsonObject:
        """Return the public keys, with faults applied."""
        keys: JsonObject = {"keys": []} if self.faults.empty_jwks else super().key_set()
        if self.faults.mutate_jwks is not None:
            self.faults.mutate_jwks(keys)
        return keys

    def rotate_keys(self, key: RSAPrivateKey | None = None) -> None:
        """Replace the signing key; the old one stays published until `keys.retire()`."""
        self.keys.rotate(key or new_key())

    async def sign_out_user(self, username: str) -> list[Delivery]:
        """End every session of a user, as an administrator of the provider would."""
        deliveries: list[Delivery] = []
        for session in self.state.sessions_of(username):
            deliveries += await self.sign_out(session)
        return deliveries

    def record(
        self, endpoints: tuple[str, ...], parameters: Mapping[str, Sequence[str]], traceparent: str
    ) -> None:
        """Count and record a request under each of its endpoint names."""
        self.requests.update(endpoints)
        self.received.append(ReceivedRequest(endpoints[-1], parameters, traceparent))


class RotatingKeys(SigningKeys):
    """The signing key, and former keys that stay published."""

    def __init__(self, key: RSAPrivateKey) -> None:
        super().__init__(key)
        self.former: list[SigningKey] = []

    def rotate(self, key: RSAPrivateKey) -> None:
        """Replace the signing key; the old one stays published."""
        self.former.insert(0, self.current)
        self.current = SigningKey.of(key)

    def retire(self) -> None:
        """Stop publishing former keys."""
        self.former.clear()

    def published(self) -> Sequence[SigningKey]:
        return (self.current, *self.former)


@dataclass(frozen=True)
class FaultyMint(TokenMint):
    """Creates tokens with the configured faults, and binds them to keys (RFC 9449)."""

    faults: Faults

    def access_claims(self, grant: Grant, scope: tuple[str, ...], audiences: tuple[str, ...]) -> JsonObject:
        claims = super().access_claims(grant, scope, audiences)
        if isinstance(grant, BoundGrant) and grant.dpop_jkt is not None:
            claims["cnf"] = {"jkt": grant.dpop_jkt}  # RFC 9449 6
        if self.faults.mutate_access_token is not None:
            self.faults.mutate_access_token(claims)
        return claims

    def sign_id_token(self, header: JsonObject, claims: JsonObject) -> str:
        client = self.settings.client(str(claims["aud"]))
        self.faults.apply_claim_faults(header, claims, now=self.settings.clock())
        secret = None if client is None else client.client_secret
        return self.faults.sign_id_token(header, claims, self.keys, secret)

    def sign_logout_token(self, header: JsonObject, claims: JsonObject) -> str:
        if self.faults.mutate_logout_token is not None:
            self.faults.mutate_logout_token(header, claims)
        return super().sign_logout_token(header, claims)


class RecordingState(ProviderState):
    """Records recently issued codes and tokens in `issued`; none may appear in a log or on a page."""

    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(settings)
        self.issued: deque[str] = deque(maxlen=5000)

    def issue_code(self, grant: Grant, *, redirect_uri: str, code_challenge: str) -> str:
        code = super().issue_code(grant, redirect_uri=redirect_uri, code_challenge=code_challenge)
        self.issued.append(code)
        return code

    def issue_refresh_token(self, grant: Grant) -> str:
        token = super().issue_refresh_token(grant)
        self.issued.append(token)
        return token

    def sessions_of(self, username: str) -> list[BrowserSession]:
        """Return the active sessions of a user."""
        now = self._clock()
        return [
            session
            for session in self._sessions.values()
            if session.user.username == username and now < session.expires_at
        ]

    def revoke_grants(self, username: str) -> None:
        """End every grant of a user, as an administrator of the provider would."""
        issued: tuple[IssuedRefreshToken | IssuedAccessToken | IssuedCode, ...] = (
            *self._refresh_tokens.values(),
            *self._access_tokens.values(),
            *self._codes.values(),
        )
        for grant in [entry.grant for entry in issued]:
            if grant.user.username == username:
                grant.revoked = True
