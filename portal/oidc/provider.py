"""What the relying party knows of one OpenID provider registration."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from portal.oidc.secret import Secret


class ClientAuth(StrEnum):
    """How the portal proves itself at the token endpoint (OIDC Core 9)."""

    CLIENT_SECRET_BASIC = "client_secret_basic"  # noqa: S105 - the registered name of a method
    CLIENT_SECRET_POST = "client_secret_post"  # noqa: S105
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Endpoints written in a tenant file; each wins over the provider's metadata."""

    authorization: str | None = None
    token: str | None = None
    jwks: str | None = None
    userinfo: str | None = None
    end_session: str | None = None
    revocation: str | None = None


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

    registration: str = field(init=False, repr=False)
    """Fingerprint of issuer and client: a login made under another registration is never used."""

    def __post_init__(self) -> None:
        fingerprint = hashlib.sha256(f"{self.issuer}\0{self.client_id}".encode()).hexdigest()
        object.__setattr__(self, "registration", fingerprint)

    @property
    def key(self) -> str:
        """Name of this registration in caches and logs: `tenant/id`."""
        return f"{self.tenant}/{self.id}"


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
    iss_parameter_supported: bool = False
    """`authorization_response_iss_parameter_supported` (RFC 9207)."""


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

    def usable_at(self, now: float, *, skew: float = 30.0) -> bool:
        """Whether the access token is still good `skew` seconds after `now`."""
        return now + skew < self.expires_at


@dataclass(frozen=True, slots=True)
class Authentication:
    """A login that passed every check: who it is, and the tokens."""

    issuer: str
    subject: str
    sid: str | None
    claims: Mapping[str, object]
    tokens: TokenSet


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """An authorization request ready to be sent, with what must be remembered to accept its answer."""

    url: str
    state: str
    nonce: str
    code_verifier: Secret
    redirect_uri: str
