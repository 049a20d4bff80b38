"""Provider registrations, metadata, token sets and authorization requests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from portal.oidc.client_secrets import SecretOrder
from portal.oidc.interaction import Interaction
from portal.oidc.issuer import IssuerTemplate
from portal.oidc.signed_client_secret import SecretSigner
from portal.outbound.tls import ClientCertificate, Tls
from portal.secret import Secret

if TYPE_CHECKING:  # imports `cryptography`, which reading tenant files does not need
    from portal.oidc.api_target import ApiTarget
    from portal.oidc.dpop import DpopKey

REGISTERED_CLAIMS = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})
"""RFC 7519 4.1. No parameter of an authorization request may have one of these names: a signed request with a
`sub` that a tenant chose could be used as a client assertion."""
REGISTRATION_ALGORITHMS = ("ES256", "EdDSA")
"""Algorithms for which a provider registration can have its own signing key; see
`client_keys.registration_key`."""


class ClientAuth(StrEnum):
    """Client authentication methods (OIDC Core 9)."""

    CLIENT_SECRET_BASIC = "client_secret_basic"  # noqa: S105 - the registered name of a method
    CLIENT_SECRET_POST = "client_secret_post"  # noqa: S105
    CLIENT_SECRET_JWT = "client_secret_jwt"  # noqa: S105
    PRIVATE_KEY_JWT = "private_key_jwt"
    TLS_CLIENT_AUTH = "tls_client_auth"
    SELF_SIGNED_TLS_CLIENT_AUTH = "self_signed_tls_client_auth"
    NONE = "none"


class AssertionAudience(StrEnum):
    """The `aud` of a client assertion (RFC 7523 3, RFC 9126 2)."""

    ISSUER = "issuer"
    TOKEN_ENDPOINT = "token_endpoint"  # noqa: S105 - not a password
    ENDPOINT = "endpoint"
    """The URL of the request."""


class ResponseMode(StrEnum):
    """Response modes (OAuth 2.0 Multiple Response Types 2.1, Form Post, JARM 2.3)."""

    QUERY = "query"
    FORM_POST = "form_post"
    QUERY_JWT = "query.jwt"
    FORM_POST_JWT = "form_post.jwt"
    JWT = "jwt"

    @property
    def posted(self) -> bool:
        """Whether the browser posts the response as a form."""
        return self in {ResponseMode.FORM_POST, ResponseMode.FORM_POST_JWT}

    @property
    def signed(self) -> bool:
        """Whether the response is a signed token (JARM)."""
        return self in {ResponseMode.QUERY_JWT, ResponseMode.FORM_POST_JWT, ResponseMode.JWT}


@dataclass(frozen=True, slots=True)
class IdTokenEncryption:
    """How a provider encrypts ID tokens for the portal (RFC 7518 4.1 and 5.1)."""

    alg: str
    enc: str
    logout_tokens: bool = True
    """Whether logout tokens must be encrypted as well (Back-Channel Logout 2.6 step 1)."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Endpoints in a tenant file; each takes precedence over the provider's metadata."""

    authorization: str | None = None
    token: str | None = None
    jwks: str | None = None
    userinfo: str | None = None
    end_session: str | None = None
    revocation: str | None = None
    pushed_authorization_request: str | None = None


AUTHENTICATED_ENDPOINTS = ("token", "revocation", "pushed_authorization_request")
"""The `Endpoints` that require client authentication."""


@dataclass(frozen=True, slots=True)
class CredentialExpiry:
    """When a credential of the client expires, as the tenant file or the certificate states it."""

    credential: str
    """In words, such as `the client secret`."""
    path: tuple[str | int, ...]
    """Its keys in the tenant file, below the provider."""
    at: float
    """Seconds since the epoch, UTC."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One OpenID provider registration of a tenant: issuer, client, audience and scopes.

    `tenant` and `id` identify the registration in logs and cache keys; the relying party does not use them
    otherwise. `issuer` is compared exactly with each issuer that a provider states.
    """

    tenant: str
    id: str
    issuer: str
    client_id: str
    client_secret: Secret | None = None
    next_client_secret: Secret | None = None
    """A second secret, which is tried when the provider refuses the first."""
    secret_signer: SecretSigner | None = None
    """Signs a client secret for each request, in place of `client_secret` (Apple)."""
    client_auth: ClientAuth = ClientAuth.CLIENT_SECRET_BASIC
    scopes: tuple[str, ...] = ("openid", "profile", "email", "offline_access")
    step_up_scopes: tuple[str, ...] = ()
    """Further scopes that are requested when an API requires them (RFC 6750 3.1)."""
    audience: str | None = None
    """Sent as `audience` (Auth0's parameter)."""
    resources: tuple[str, ...] = ()
    """Sent as `resource` (RFC 8707): all in authorization requests, the first in token requests."""
    api_resources: tuple[str, ...] = ()
    """Resources of further APIs, for which the refresh token is used later; not sent in token requests."""
    api_scopes: tuple[str, ...] = ()
    """Scopes of these APIs, in addition to `scopes`."""
    api_audiences: tuple[str, ...] = ()
    """What access tokens for the tenant's APIs are for; a token of one API must not name another."""
    authorize_params: tuple[tuple[str, str], ...] = ()
    """Extra parameters of the authorization request; never a security parameter."""
    discovery: bool = True
    """False: `endpoints` has all endpoints, and no metadata is fetched."""
    endpoints: Endpoints = field(default_factory=Endpoints)
    id_token_algs: tuple[str, ...] = ("RS256",)
    max_age: int | None = None
    """Seconds. If set, `max_age` is sent, and `auth_time` is required and checked."""
    acr_values: tuple[str, ...] = ()
    logout_template: str | None = None
    """For providers without `end_session_endpoint`: a URL with {client_id} and {return_to} placeholders."""
    ignores_end_session_endpoint: bool = False
    """Whether only `logout_template`, if any, is used for logout at the provider."""
    logout_id_token_hint: bool = True
    label: str | None = None
    """The name of this provider on the page where users of a tenant with several providers choose one."""
    response_mode: ResponseMode = ResponseMode.QUERY
    response_algs: tuple[str, ...] = ("RS256",)
    """Algorithms of signed authorization responses (JARM); used when `response_mode` is a signed one."""
    par: bool = False
    """Whether the authorization request is pushed (RFC 9126) even if the provider does not require it."""
    signed_request: bool = False
    """Whether the authorization request is signed with a client key of the portal (RFC 9101)."""
    requested_claims: str | None = None
    """The `claims` parameter as JSON (OIDC Core 5.5)."""
    essential_acr: tuple[str, ...] | None = None
    """Accepted values of `acr` in the ID token; empty: any value. None: `acr` is not essential."""
    assertion_audience: AssertionAudience = AssertionAudience.ISSUER
    client_key: bool = False
    """Whether this registration has its own signing key instead of the shared one."""
    signing_certificate: ClientCertificate | None = None
    """The certificate whose key signs; None: the registration's key is derived (`ClientKeys.sign`)."""
    client_signing_alg: str = "RS256"
    """Algorithm of the assertions and requests that the portal signs for this provider."""
    client_certificate: ClientCertificate | None = None
    """Presented where this provider authenticates the portal (RFC 8705 2), at its UserInfo endpoint and, with
    `api.mtls`, to the tenant's API: access tokens may be bound to it (RFC 8705 3)."""
    tls_authorities: str | None = field(default=None, repr=False)
    """PEM: the certificate authorities for this provider, instead of the system's."""
    id_token_encryption: IdTokenEncryption | None = None
    """If set, every ID token of this provider must be encrypted this way; if not, none may be encrypted."""
    dpop: bool = False
    """Whether tokens are bound to a key of the login (RFC 9449)."""
    userinfo: bool = False
    """Whether claims of the UserInfo endpoint are added to those of the ID token."""
    userinfo_algs: tuple[str, ...] | None = None
    """Algorithms with which the UserInfo response must be signed; None: it need not be signed."""
    refresh_tokens: bool = True
    """Whether a login requests a refresh token, by `offline_access` or as its preset defines."""
    issuer_template: IssuerTemplate | None = None
    """For providers whose tokens have the issuer of a directory; `issuer` is then only used for discovery."""
    translate_error: Callable[[str, str], str | None] | None = field(default=None, repr=False, compare=False)
    """Returns the registered code for an error code and a description of this provider; None to keep it."""
    error_advice: Callable[[str], str | None] | None = field(default=None, repr=False, compare=False)
    """Returns what an administrator can do about `code: description` of this provider; None if unknown."""
    frontchannel_without_issuer: bool = False
    """Whether front-channel logout requests of this kind of provider have `sid` and no `iss`."""
    global_token_revocation: bool = False
    """Whether this provider may end all logins of a user by one request (Global Token Revocation)."""
    expiries: tuple[CredentialExpiry, ...] = field(default=(), compare=False)
    """When its credentials expire, as far as that is known; it decides nothing of a sign-in."""

    registration: str = field(init=False, repr=False)
    """Fingerprint of issuer and client. A login with another fingerprint is never used."""
    _secret_order: SecretOrder | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fingerprint = hashlib.sha256(f"{self.issuer}\0{self.client_id}".encode()).hexdigest()
        object.__setattr__(self, "registration", fingerprint)
        first, second = self.client_secret, self.next_client_secret
        order = SecretOrder(first, second) if first is not None and second is not None else None
        object.__setattr__(self, "_secret_order", order)

    @property
    def client_secrets(self) -> tuple[Secret, ...]:
        """The secrets of the client, the one that the provider accepted last at the beginning."""
        if self._secret_order is not None:
            return self._secret_order.secrets()
        return () if self.client_secret is None else (self.client_secret,)

    def accepted_secret(self, secret: Secret) -> None:
        """Send this one of `client_secrets` first from now on: the provider has accepted it."""
        if self._secret_order is not None:
            self._secret_order.accepted(secret)

    @property
    def tls(self) -> Tls:
        """The TLS settings for fetching the provider's documents: without a client certificate."""
        return Tls(self.tls_authorities)

    @property
    def key(self) -> str:
        """Name of this registration in cache keys and logs: `tenant/id`."""
        return f"{self.tenant}/{self.id}"

    @property
    def needs_signing_key(self) -> bool:
        """Whether the portal signs assertions or requests for this provider with a private key."""
        return self.client_auth is ClientAuth.PRIVATE_KEY_JWT or self.signed_request

    @property
    def uses_shared_signing_key(self) -> bool:
        """Whether the signing key that all tenants share authenticates this client."""
        return self.needs_signing_key and not self.client_key

    def accepts_issuer(self, issuer: str) -> bool:
        """Whether tokens of this registration may have this issuer."""
        return issuer == self.issuer if self.issuer_template is None else self.issuer_template.matches(issuer)


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """The parts of a provider's metadata that the relying party uses (OIDC Discovery 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    revocation_endpoint: str | None = None
    pushed_authorization_request_endpoint: str | None = None
    pushed_requests_required: bool = False
    """`require_pushed_authorization_requests` (RFC 9126 5)."""
    iss_parameter_supported: bool = False
    """`authorization_response_iss_parameter_supported` (RFC 9207)."""
    token_exchange_supported: bool = False
    """Whether `grant_types_supported` has token exchange (RFC 8693 2.1)."""
    claims_parameter_supported: bool = False


MAX_REFRESH_MARGIN = 30.0
"""Seconds before its expiry at which an access token is refreshed."""
REFRESH_MARGIN_FRACTION = 0.1
"""The same as a fraction of the lifetime: a token valid for 30 s must not be refreshed at every call."""


@dataclass(frozen=True, slots=True)
class TokenSet:
    """The tokens of one login. Times are seconds since the epoch, UTC."""

    access_token: Secret
    expires_at: float
    token_type: str = "Bearer"  # noqa: S105
    scope: tuple[str, ...] = ()
    """Granted scopes; the requested ones when the token response has none."""
    refresh_token: Secret | None = None
    id_token: Secret | None = None
    dpop_key: DpopKey | None = None
    """The key that the tokens are bound to (RFC 9449); None for bearer tokens."""

    issued_at: float | None = None
    """When it was received; None for a token set that an older version of the portal stored."""
    api_tokens: Mapping[str, TokenSet] = field(default_factory=dict)
    """Access tokens for further APIs, by `ApiTarget.key`; they have no refresh token of their own."""
    own_grant: bool = False
    """Of an access token for an API: whether a login of its own has got it. Revoking the refresh token of the
    login does not revoke it (RFC 7009 2.1)."""
    api_scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Scopes that a step-up has added for an API, by `ApiTarget.key`."""

    @property
    def margin(self) -> float:
        """Seconds before `expires_at` at which it is refreshed: 30, but at most 10 % of its lifetime."""
        if self.issued_at is None:
            return MAX_REFRESH_MARGIN
        lifetime = max(0.0, self.expires_at - self.issued_at)
        return min(MAX_REFRESH_MARGIN, REFRESH_MARGIN_FRACTION * lifetime)

    def usable_at(self, now: float) -> bool:
        """Whether the access token needs no refresh at `now`: it is valid for more than `margin` seconds."""
        return now + self.margin < self.expires_at

    def valid_at(self, now: float) -> bool:
        """Whether the access token has not expired at `now`."""
        return now < self.expires_at


@dataclass(frozen=True, slots=True)
class Authentication:
    """A login that passed every check: the user and the tokens."""

    issuer: str
    subject: str
    sid: str | None
    claims: Mapping[str, object]
    tokens: TokenSet

    @classmethod
    def of(cls, claims: Mapping[str, object], tokens: TokenSet) -> Authentication:
        """Parameters: claims, of a validated ID token."""
        sid = claims.get("sid")
        issuer, subject = str(claims["iss"]), str(claims["sub"])
        return cls(issuer, subject, sid if isinstance(sid, str) else None, claims, tokens)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The result of a refresh. `claims` are those of a new, validated ID token; None without one."""

    tokens: TokenSet
    claims: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """An authorization request, and the values that the caller stores to validate its response."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    code_verifier: Secret
    redirect_uri: str
    silent: bool = False
    """Whether it has `prompt=none`: the provider must not show any page to the user."""
    dpop_key: DpopKey | None = None
    """The key that the tokens will be bound to (RFC 9449)."""
    interaction: Interaction | None = None
    """The user interaction that it asks for."""
    target: ApiTarget | None = None
    """The API whose access token it adds to a login; None for a login of its own."""
    ui_locales: str | None = None
    """The languages of the user that it names (OIDC Core 3.1.2.1)."""
