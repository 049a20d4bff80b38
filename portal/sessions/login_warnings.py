"""What an administrator should know about the logins made at a provider, one log line for each thing."""

from __future__ import annotations

import structlog

from portal.display_text import display_text
from portal.oidc.distributed_claims import claims_held_elsewhere
from portal.oidc.provider import Authentication, Provider

_log = structlog.get_logger("portal.sessions")

_MOST_REMEMBERED = 20_000
_MOST_NAMES = 10


class LoginWarnings:
    """Looks at each login that succeeded; a process logs one thing about one registration once.

    A changed registration, with another issuer or client, is another one.
    """

    def __init__(self) -> None:
        self._told: set[tuple[str, str, str]] = set()

    def look_at(self, provider: Provider, authentication: Authentication) -> None:
        """Log what a login lacks that its registration asked for."""
        if provider.refresh_tokens and authentication.tokens.refresh_token is None:
            self._warn(
                provider,
                "refresh_token_missing",
                detail="a refresh token was asked for and the provider gave none: users sign in again when "
                "the access token expires",
            )
        elsewhere = claims_held_elsewhere(authentication.claims)
        if elsewhere:
            names = ", ".join(display_text(name, 100) for name in elsewhere[:_MOST_NAMES])
            self._warn(
                provider,
                "claims_held_elsewhere",
                detail=f"the ID token of a user only says where these claims are, which the portal does not "
                f"fetch: {names}",
            )

    def _warn(self, provider: Provider, event: str, *, detail: str) -> None:
        key = (event, provider.key, provider.registration)
        if key in self._told:
            return
        if len(self._told) >= _MOST_REMEMBERED:
            self._told.clear()
        self._told.add(key)
        _log.warning(event, tenant=provider.tenant, provider=provider.id, detail=detail)
