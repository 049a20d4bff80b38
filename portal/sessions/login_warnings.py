"""Log warnings for administrators about the logins at a provider."""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from portal.display_text import display_text
from portal.oidc.distributed_claims import claims_held_elsewhere
from portal.oidc.provider import Authentication, Provider, TokenSet

_log = structlog.get_logger("portal.sessions")

_MAX_REMEMBERED = 20_000
_MAX_NAMES = 10
_IDENTITY_SCOPES = frozenset(("openid", "profile", "email", "address", "phone"))


def warnings_of(provider: Provider, authentication: Authentication) -> Iterator[tuple[str, str]]:
    """The event and the text of each warning about a login: what is missing although it was requested."""
    if provider.refresh_tokens and authentication.tokens.refresh_token is None:
        yield (
            "refresh_token_missing",
            "the provider returned no refresh token although one was requested: users sign in again when the "
            "access token expires",
        )
    elsewhere = claims_held_elsewhere(authentication.claims)
    if elsewhere:
        names = ", ".join(display_text(name, 100) for name in elsewhere[:_MAX_NAMES])
        yield (
            "claims_held_elsewhere",
            f"the ID token only refers to these claims, which the portal does not fetch: {names}",
        )


def missing_scopes(provider: Provider, tokens: TokenSet) -> tuple[str, ...]:
    """Return the scopes that were requested but not granted.

    A provider with resource indicators (RFC 8707) lists only the scopes of the access token's API. So scopes
    that only request claims (OIDC Core 5.4) count as granted, and a refresh token proves `offline_access`.
    """
    granted = _IDENTITY_SCOPES.union(tokens.scope, ("offline_access",) if tokens.refresh_token else ())
    return tuple(scope for scope in provider.scopes if scope not in granted)


class LoginWarnings:
    """Checks each successful login; a process logs each warning once per registration.

    A registration with a changed issuer or client counts as a new one.
    """

    def __init__(self) -> None:
        self._logged: set[tuple[str, str, str]] = set()

    def check(self, provider: Provider, authentication: Authentication) -> None:
        """Log what the provider did not return although the registration requests it."""
        for event, detail in warnings_of(provider, authentication):
            self._warn(provider, event, detail=detail)

    def _warn(self, provider: Provider, event: str, *, detail: str) -> None:
        key = (event, provider.key, provider.registration)
        if key in self._logged:
            return
        if len(self._logged) >= _MAX_REMEMBERED:
            self._logged.clear()
        self._logged.add(key)
        _log.warning(event, tenant=provider.tenant, provider=provider.id, detail=detail)
