"""Data classes of the development provider: settings, requests, sessions, grants and tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from portal.clock import Clock, now

Parameters = Mapping[str, Sequence[str]]
"""Parameters of a request, each with all its values."""

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a grant type

IDENTITY_SCOPES: Mapping[str, str] = {
    "openid": "Know who you are",
    "profile": "Your name and user name",
    "email": "Your e-mail address",
    "roles": "Your roles in the organisation",
    "offline_access": "Stay signed in without asking you again",
}


SECOND_FACTOR = "mfa"
"""The `acr` of a sign-in with password and code."""


class Look(StrEnum):
    """Clearly different designs of the sign-in page."""

    CARD = "card"
    """A blue card in the middle of the page."""
    SPLIT = "split"
    """A green picture on one side, the form on the other."""
    PAPER = "paper"
    """A card in the colours of paper."""


@dataclass(frozen=True, slots=True)
class ClientRegistration:
    """A relying party known to the provider. Every URI is compared as a whole."""

    client_id: str
    client_secret: str | None = field(repr=False)
    """None: a public client, which uses the authentication method `none`."""
    redirect_uris: tuple[str, ...]
    name: str = "Portal"
    post_logout_redirect_uris: tuple[str, ...] = ()
    backchannel_logout_uri: str | None = None
    audiences: tuple[str, ...] = ()
    """APIs it may request tokens for; the first is the default."""
    scopes: tuple[str, ...] = tuple(IDENTITY_SCOPES)


@dataclass(frozen=True, slots=True)
class UserAccount:
    """A user account. `scopes` are the API scopes that this user may have."""

    username: str
    password: str = field(repr=False)
    subject: str
    name: str
    email: str
    roles: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()

    def claims_for(self, scope: tuple[str, ...]) -> dict[str, object]:
        """The claims about the user that `scope` requests (OIDC Core 5.4)."""
        claims: dict[str, object] = {}
        if "profile" in scope:
            given, _, family = self.name.partition(" ")
            claims |= {
                "name": self.name,
                "given_name": given,
                "family_name": family,
                "preferred_username": self.username,
            }
        if "email" in scope:
            claims |= {"email": self.email, "email_verified": True}
        if "roles" in scope:
            claims["roles"] = list(self.roles)
        return claims


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """The settings of a development provider. Durations are in seconds.

    `id` is part of its cookie names: browsers do not separate cookies by port, and several providers run on
    127.0.0.1.
    """

    id: str
    name: str
    issuer: str
    clients: tuple[ClientRegistration, ...]
    users: tuple[UserAccount, ...]
    look: Look = Look.CARD
    tagline: str = ""
    api_scopes: Mapping[str, str] = field(default_factory=dict)
    """API scope → its description on the consent page."""
    access_token_seconds: float = 60.0
    refresh_token_seconds: float = 8 * 3600.0
    code_seconds: float = 60.0
    session_seconds: float = 8 * 3600.0
    interaction_seconds: float = 600.0
    consent_required: bool = False
    """Whether each user must consent once to each set of scopes."""
    show_users: bool = False
    """Whether the sign-in page lists user names and passwords."""
    show_registration: bool = False
    """Whether the front page shows issuer, client id and client secret, as a provider's console does."""
    response_modes: tuple[str, ...] = ("query",)
    """Supported values of `response_mode`; the first is the default."""
    clock: Clock = now

    @property
    def base_url(self) -> str:
        """The issuer without a trailing slash: the prefix of endpoint URLs."""
        return self.issuer.rstrip("/")

    def client(self, client_id: str | None) -> ClientRegistration | None:
        """The client with this id."""
        return next((client for client in self.clients if client.client_id == client_id), None)

    def user(self, username: str) -> UserAccount | None:
        """The user with this name, ignoring case."""
        normalized = username.strip().lower()
        return next((user for user in self.users if user.username.lower() == normalized), None)

    def describe(self, scope: str) -> str:
        """The description of a scope on the consent page."""
        return IDENTITY_SCOPES.get(scope) or self.api_scopes.get(scope) or scope


class ProtocolError(Exception):
    """A request that gets an OAuth error response (RFC 6749 4.1.2.1 and 5.2)."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status


class RequestUntrusted(Exception):
    """A request with an unknown client or redirect URI. The error is shown as a page, never redirected."""


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """The redirect URI, state and response mode of an authorization response."""

    client_id: str
    redirect_uri: str
    state: str | None
    response_mode: str = "query"


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A checked authorization request (OIDC Core 3.1.2.1)."""

    client: ClientRegistration
    redirect_uri: str
    state: str | None
    nonce: str | None
    scope: tuple[str, ...]
    audiences: tuple[str, ...]
    code_challenge: str
    prompt: frozenset[str] = frozenset()
    max_age: int | None = None
    login_hint: str = ""
    hinted_subject: str | None = None
    response_mode: str = "query"
    acr_values: tuple[str, ...] = ()
    """The requested values of `acr` that the provider supports, in order of preference."""
    parameters: Parameters = field(default_factory=dict, repr=False)
    """All parameters that the client sent."""

    @property
    def return_path(self) -> ReturnPath:
        """The return path of its response."""
        return ReturnPath(self.client.client_id, self.redirect_uri, self.state, self.response_mode)


@dataclass(slots=True)
class Interaction:
    """An authorization request while the user goes through sign-in and consent."""

    id: str
    request: AuthorizationRequest
    expires_at: float
    signed_in: bool = False
    """Whether the user has signed in during this interaction."""
    granted_scope: tuple[str, ...] | None = None
    """The scopes that the user allowed during this interaction."""


@dataclass(slots=True)
class BrowserSession:
    """A signed-in browser at the provider. `cookie` is secret; `sid` is in tokens."""

    cookie: str = field(repr=False)
    sid: str
    user: UserAccount
    auth_time: float
    expires_at: float
    clients: set[str] = field(default_factory=set)
    """Clients that got tokens in this session."""
    acr: str = "pwd"
    """How the user has authenticated: `pwd`, or SECOND_FACTOR."""


@dataclass(slots=True)
class Grant:
    """The access that a user granted to a client. Tokens of a revoked grant are invalid."""

    client_id: str
    user: UserAccount
    scope: tuple[str, ...]
    audiences: tuple[str, ...]
    sid: str
    auth_time: float
    nonce: str | None
    revoked: bool = False
    acr: str | None = None
    """`acr` of its tokens; None when the client did not ask for one."""


@dataclass(slots=True)
class IssuedCode:
    """An authorization code. It can be used once."""

    grant: Grant
    redirect_uri: str
    code_challenge: str
    expires_at: float
    used: bool = False


@dataclass(slots=True)
class IssuedRefreshToken:
    """A refresh token. `spent` is set when it was replaced by a new one."""

    grant: Grant
    expires_at: float
    spent: bool = False


@dataclass(slots=True)
class IssuedAccessToken:
    """An access token, identified by its `jti`."""

    grant: Grant
    scope: tuple[str, ...]
    expires_at: float
    revoked: bool = False
