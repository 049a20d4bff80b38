"""What an access token for one of a tenant's APIs is requested for. Pure functions and data.

A login has one refresh token and its own access token. An API that needs another audience gets an access
token of its own, by one of the methods here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum

MAX_APIS = 20
"""The most APIs with a name that a tenant can have, and so the most API tokens of a login."""
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a grant type


class ApiTokenMethod(StrEnum):
    """How an access token for an API is requested."""

    REFRESH_RESOURCE = "refresh_resource"
    """The refresh token with `resource` (RFC 8707 2.2)."""
    REFRESH_AUDIENCE = "refresh_audience"
    """The refresh token with `audience` (Auth0's parameter)."""
    REFRESH_SCOPE = "refresh_scope"
    """The refresh token with the scopes of the API (Microsoft Entra)."""
    EXCHANGE = "exchange"
    """Token exchange with the login's access token as the subject token (RFC 8693)."""
    LOGIN = "login"
    """One more login, which the provider can usually finish without asking the user."""

    @property
    def needs_refresh_token(self) -> bool:
        """Whether it uses the refresh token of the login."""
        return self in _BY_REFRESH_TOKEN


_BY_REFRESH_TOKEN = frozenset(
    (ApiTokenMethod.REFRESH_RESOURCE, ApiTokenMethod.REFRESH_AUDIENCE, ApiTokenMethod.REFRESH_SCOPE)
)


@dataclass(frozen=True, slots=True)
class ApiTarget:
    """An API at one provider: what its access token must be for, and how to request one.

    `methods` are tried in this order. At most one of `audience` and `resource` is set.
    """

    name: str
    """The key of the API in the tenant file; empty for the default API."""
    audience: str | None = None
    resource: str | None = None
    scopes: tuple[str, ...] = ()
    methods: tuple[ApiTokenMethod, ...] = ()
    step_up_scopes: tuple[str, ...] = field(default=(), compare=False)
    """Further scopes that this API may ask for (RFC 6750 3.1)."""
    key: str = field(init=False)
    """Fingerprint of all that a token was requested for: name, audience, resource and scopes."""

    def __post_init__(self) -> None:
        wanted = json.dumps([self.name, self.audience, self.resource, sorted(self.scopes)])
        object.__setattr__(self, "key", hashlib.sha256(wanted.encode()).hexdigest()[:32])

    @property
    def expected_audience(self) -> str | None:
        """What `aud` of the access token must contain; None when the tenant file does not state it."""
        return self.audience if self.audience is not None else self.resource

    def parameters(self, method: ApiTokenMethod) -> list[tuple[str, str]]:
        """The parameters of a token request that select this API."""
        scope = [("scope", " ".join(self.scopes))] if self.scopes else []
        wanted = self.expected_audience
        if method is ApiTokenMethod.REFRESH_SCOPE or wanted is None:
            return scope
        if method is ApiTokenMethod.REFRESH_RESOURCE:
            return [("resource", wanted), *scope]
        if method is ApiTokenMethod.REFRESH_AUDIENCE:
            return [("audience", wanted), *scope]
        return [("resource" if self.resource is not None else "audience", wanted), *scope]


@dataclass(frozen=True, slots=True)
class ApiTokenRequest:
    """A request for an access token of an API, by one method."""

    target: ApiTarget
    method: ApiTokenMethod

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The parameters that select the API."""
        return self.target.parameters(self.method)
