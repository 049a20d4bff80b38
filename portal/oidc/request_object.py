"""Signed authorization requests (JWT-Secured Authorization Request, RFC 9101)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence

from portal.oidc.provider import Provider

TYPE = "oauth-authz-req+jwt"
LIFETIME = 300
"""Seconds that a signed request is good."""

_NUMBERS = frozenset({"max_age"})
_OBJECTS = frozenset({"claims"})
CLAIMS_OF_TOKENS = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})
"""What no parameter may be called: with a `sub` that a tenant chose, a request would be an assertion."""


def request_claims(
    provider: Provider, parameters: Sequence[tuple[str, str]], *, now: float
) -> dict[str, object]:
    """What is signed: every parameter of the request, who asks, whom, and for how long (RFC 9101 4).

    Never a `sub` (RFC 9101 10.8): tenants without a signing key of their own share one.

    Parameters: now, seconds since the epoch, UTC.
    """
    claims: dict[str, object] = {}
    for name, value in parameters:
        if name in CLAIMS_OF_TOKENS:
            continue
        claims[name] = _joined(claims.get(name), _value(name, value))
    moment = int(now)
    return claims | {
        "iss": provider.client_id,
        "aud": provider.issuer,
        "iat": moment,
        "nbf": moment,
        "exp": moment + LIFETIME,
        "jti": secrets.token_urlsafe(16),
    }


def sent_values(
    provider: Provider, parameters: Sequence[tuple[str, str]], signed: str, *, pushed: bool
) -> list[tuple[str, str]]:
    """The parameters that travel with a signed request.

    Pushed, nothing but the client's id (RFC 9126 3). In a URL, what makes it an OAuth request as well
    (OIDC Core 6.1); a provider takes no value from there (RFC 9101 6.3).
    """
    own = [("client_id", provider.client_id)]
    if not pushed:
        own += [(name, value) for name, value in parameters if name in {"response_type", "scope"}]
    return [*own, ("request", signed)]


def _value(name: str, value: str) -> object:
    if name in _NUMBERS:
        return int(value)
    return json.loads(value) if name in _OBJECTS else value


def _joined(held: object, value: object) -> object:
    """A parameter given several times is a list (RFC 8707 2: `resource`)."""
    if held is None:
        return value
    return [*held, value] if isinstance(held, list) else [held, value]
