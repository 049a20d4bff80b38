"""What the relying party knows of one OpenID provider registration."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from portal.oidc.interaction import Interaction
from portal.oidc.issuer import IssuerTemplate
from portal.outbound.tls import ClientCertificate, Tls
from portal.secret import Secret

if TYPE_CHECKING:  # it brings `cryptography` along, which reading tenant files does not need
    from portal.oidc.dpop import DpopKey

CLAIMS_OF_TOKENS = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})
"""What no parameter of an authorization request may be called: with a `sub` that a tenant chose, a signed one
would be an assertion."""
REGISTRATION_ALGORITHMS = ("ES256", "EdDSA")
"""Those with which a provider registration can have a signing key of its own; see
`client_keys.registration_key`."""


class ClientAuth(StrEnum):
    """How the portal proves itself at the token endpoint (OIDC Core 9)."""

    CLIENT_SECRET_BASIC = "client_secret_basic"  # noqa: S105 - the registered name of a method
    CLIENT_SECRET_POST = "client_secret_post"  # noqa: S105
    CLIENT_SECRET_JWT = "client_secret_jwt"  # noqa: S105
    PRIVATE_KEY_JWT = "private_key_jwt"
    TLS_CLIENT_AUTH = "tls_client_auth"
    SELF_SIGNED_TLS_CLIENT_AUTH = "self_signed_tls_client_auth"
    NONE = "none"


class AssertionAudience(StrEnum):
    """What a client assertion names as its audience (RFC 7523 3, RFC 9126 2)."""

    ISSUER = "issuer"
    TOKEN_ENDPOINT = "token_endpoint"  # noqa: S105 - not a password
    ENDPOINT = "endpoint"
    """The address that the request goes to."""


class ResponseMode(StrEnum):
    """How a provider sends its response (OAuth 2.0 Multiple Response Types 2.1, Form Post, JARM 2.3)."""

    QUERY = "query"
    FORM_POST = "form_post"
    QUERY_JWT = "query.jwt"
    FORM_POST_JWT = "form_post.jwt"
    JWT = "jwt"

    @property
    def posted(self) -> bool:
        """Whether the response comes as a form that the browser sends."""
        return self in {ResponseMode.FORM_POST, ResponseMode.FORM_POST_JWT}

    @property
    def signed(self) -> bool:
        """Whether the response is one signed token (JARM)."""
        return self in {ResponseMode.QUERY_JWT, ResponseMode.FORM_POST_JWT, ResponseMode.JWT}


@dataclass(frozen=True, slots=True)
class IdTokenEncryption:
    """How a provider encrypts ID tokens for the portal (RFC 7518 4.1 and 5.1)."""

    alg: str
    enc: str
    logout_tokens: bool = True
    """Whether logout tokens must be encrypted, too (Back-Channel Logout 2.6 step 1)."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Endpoints written in a tenant file; each wins over the provider's metadata."""

    authorization: str | None = None
    token: str | None = None
    jwks: str | None = None
    userinfo: str | None = None
    end_session: str | None = None
    revocation: str | None = None
    pushed_authorization_request: str | None = None


AUTHENTICATED_ENDPOINTS = ("token", "revocation", "pushed_authorization_request")
"""Those of `Endpoints` at which the portal proves itself."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One OpenID provider registration of a tenant: issuer, client, audience and scopes.

    `tenant` and `id` name the registration in logs and keys of caches; the relying party gives them no
    other meaning. `issuer` is compared exactly with every issuer a provider states.
    """

    tenant: str
    id: str
    issuer: str
    client_id: str
    client_secret: Secret | None = None
    client_auth: ClientAuth = ClientAuth.CLIENT_SECRET_BASIC
    scopes: tuple[str, ...] = ("openid", "profile", "email", "offline_access")
    audience: str | None = None
    """Sent as `audience` (Auth0's parameter)."""
    resources: tuple[str, ...] = ()
    """Sent as `resource` (RFC 8707): all of them at a sign-in, the first when asking for an access token."""
    authorize_params: tuple[tuple[str, str], ...] = ()
    """Extra parameters of the authorization request; never a security parameter."""
    discovery: bool = True
    """False: all endpoints are given in `endpoints` and no metadata is fetched."""
    endpoints: Endpoints = field(default_factory=Endpoints)
    id_token_algs: tuple[str, ...] = ("RS256",)
    max_age: int | None = None
    """Seconds; when given, `max_age` is sent and `auth_time` is required and checked."""
    acr_values: tuple[str, ...] = ()
    logout_template: str | None = None
    """For providers without `end_session_endpoint`: a URL with {client_id} and {return_to} placeholders."""
    logout_template_wins: bool = False
    """Whether `end_session_endpoint` is left alone: only `logout_template`, or nothing, signs out there."""
    logout_id_token_hint: bool = True
    label: str | None = None
    """What the chooser calls this provider when a tenant has several."""
    response_mode: ResponseMode = ResponseMode.QUERY
    response_algs: tuple[str, ...] = ("RS256",)
    """Algorithms of signed authorization responses (JARM), when `response_mode` is such a one."""
    par: bool = False
    """Whether the authorization request is pushed (RFC 9126) even when the provider does not insist."""
    signed_request: bool = False
    """Whether the authorization request is signed with the portal's own key (RFC 9101)."""
    requested_claims: str | None = None
    """The `claims` parameter as JSON (OIDC Core 5.5)."""
    essential_acr: tuple[str, ...] | None = None
    """Values one of which `acr` of the ID token must have; empty: any. None: `acr` is not essential."""
    assertion_audience: AssertionAudience = AssertionAudience.ISSUER
    client_key: bool = False
    """Whether what is signed for this provider is signed with a key that no other registration has."""
    signing_certificate: ClientCertificate | None = None
    """Whose key that is; None: the registration's own is derived (`ClientKeys.sign`)."""
    client_signing_alg: str = "RS256"
    """Algorithm with which the portal signs what it sends to this provider: assertions and requests."""
    client_certificate: ClientCertificate | None = None
    """Presented where this provider authenticates the portal (RFC 8705 2), at its UserInfo endpoint and, with
    `api.mtls`, to the tenant's API: access tokens may be bound to it (RFC 8705 3)."""
    tls_authorities: str | None = field(default=None, repr=False)
    """PEM; certificate authorities of this provider, in place of the system's."""
    id_token_encryption: IdTokenEncryption | None = None
    """When given, every ID token of this provider must be encrypted so; when not, none may be."""
    dpop: bool = False
    """Whether tokens are bound to a key of the login (RFC 9449)."""
    userinfo: bool = False
    """Whether the claims of the UserInfo endpoint are added to those of the ID token."""
    userinfo_algs: tuple[str, ...] | None = None
    """Algorithms with which the UserInfo response must be signed; None: it need not be."""
    refresh_tokens: bool = True
    """Whether a sign-in asks for a refresh token, with `offline_access` or as its preset knows."""
    issuer_template: IssuerTemplate | None = None
    """For providers whose tokens state the issuer of a directory: then `issuer` only says where they are."""
    frontchannel_without_issuer: bool = False
    """Whether front-channel logout requests of this kind of provider have `sid` and no `iss`."""

    registration: str = field(init=False, repr=False)
    """Fingerprint of issuer and client: a login made under another registration is never used."""

    def __post_init__(self) -> None:
        fingerprint = hashlib.sha256(f"{self.issuer}\0{self.client_id}".encode()).hexdigest()
        object.__setattr__(self, "registration", fingerprint)

    @property
    def tls(self) -> Tls:
        """How the provider's documents are fetched: without a client certificate."""
        return Tls(self.tls_authorities)

    @property
    def key(self) -> str:
        """Name of this registration in caches and logs: `tenant/id`."""
        return f"{self.tenant}/{self.id}"

    @property
    def signs(self) -> bool:
        """Whether assertions or requests for this provider are signed with a private key of the portal."""
        return self.client_auth is ClientAuth.PRIVATE_KEY_JWT or self.signed_request

    @property
    def proven_by_shared_keys(self) -> bool:
        """Whether the keys that all tenants share speak for this client."""
        return self.signs and not self.client_key

    def issues_as(self, issuer: str) -> bool:
        """Whether tokens of this registration may state this issuer."""
        return issuer == self.issuer if self.issuer_template is None else self.issuer_template.made(issuer)


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


LONGEST_MARGIN = 30.0
"""Seconds before its expiry from which an access token is refreshed."""
MARGIN_OF_LIFE = 0.1
"""The same as a part of its life: a token that lives for 30 seconds must not be refreshed at every call."""


@dataclass(frozen=True, slots=True)
class TokenSet:
    """What a token endpoint gave for one login. Times are seconds since the epoch, UTC."""

    access_token: Secret
    expires_at: float
    token_type: str = "Bearer"  # noqa: S105
    scope: tuple[str, ...] = ()
    """Scopes granted; those asked for when the provider named none."""
    refresh_token: Secret | None = None
    id_token: Secret | None = None
    dpop_key: DpopKey | None = None
    """The key that the tokens are bound to (RFC 9449); None: whoever has them can use them."""

    issued_at: float | None = None
    """When it was received; None for a token set that was stored before this was kept."""

    @property
    def margin(self) -> float:
        """Seconds before `expires_at` from which it is refreshed: 30, at most 10 % of its life."""
        if self.issued_at is None:
            return LONGEST_MARGIN
        return min(LONGEST_MARGIN, MARGIN_OF_LIFE * max(0.0, self.expires_at - self.issued_at))

    def usable_at(self, now: float) -> bool:
        """Whether the access token needs no refresh at `now`; it may be valid for `margin` seconds more."""
        return now + self.margin < self.expires_at

    def valid_at(self, now: float) -> bool:
        """Whether the access token has not expired at `now`."""
        return now < self.expires_at


@dataclass(frozen=True, slots=True)
class Authentication:
    """A login that passed every check: who it is, and the tokens."""

    issuer: str
    subject: str
    sid: str | None
    claims: Mapping[str, object]
    tokens: TokenSet


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh brought. `claims` are those of a new ID token that passed every check; None without."""

    tokens: TokenSet
    claims: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """An authorization request ready to be sent, with what must be remembered to accept its response."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    code_verifier: Secret
    redirect_uri: str
    silent: bool = False
    """Whether it says `prompt=none`: the provider may ask nobody anything."""
    dpop_key: DpopKey | None = None
    """The key that the tokens to come will be bound to (RFC 9449)."""
    asked: Interaction | None = None
    """What the provider is asked to do with the user."""
