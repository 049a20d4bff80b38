"""Log warnings for administrators about the logins at a provider."""

from __future__ import annotations

import structlog

from portal.display_text import display_text
from portal.oidc.distributed_claims import claims_held_elsewhere
from portal.oidc.provider import Authentication, Provider

_log = structlog.get_logger("portal.sessions")

_MAX_REMEMBERED = 20_000
_MAX_NAMES = 10


class LoginWarnings:
    """Checks each successful login; a process logs each warning once per registration.

    A registration with a changed issuer or client counts as a new one.
    """

    def __init__(self) -> None:
        self._logged: set[tuple[str, str, str]] = set()

    def check(self, provider: Provider, authentication: Authentication) -> None:
        """Log what the provider did not return although the registration requests it."""
        if provider.refresh_tokens and authentication.tokens.refresh_token is None:
            self._warn(
                provider,
                "refresh_token_missing",
                detail="the provider returned no refresh token although one was requested: users sign in "
                "again when the access token expires",
            )
        elsewhere = claims_held_elsewhere(authentication.claims)
        if elsewhere:
            names = ", ".join(display_text(name, 100) for name in elsewhere[:_MAX_NAMES])
            self._warn(
                provider,
                "claims_held_elsewhere",
                detail=f"the ID token only refers to these claims, which the portal does not fetch: {names}",
            )

    def _warn(self, provider: Provider, event: str, *, detail: str) -> None:
        key = (event, provider.key, provider.registration)
        if key in self._logged:
            return
        if len(self._logged) >= _MAX_REMEMBERED:
            self._logged.clear()
        self._logged.add(key)
        _log.warning(event, tenant=provider.tenant, provider=provider.id, detail=detail)
