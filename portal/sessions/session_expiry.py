"""The claim `session_expiry` of an ID token: the time at which the provider's session of the user ends.

The login ends then as well (OpenID Connect IPSIE profile, session lifetime: seconds since the epoch). The
claim only shortens a login: neither a use of the login nor a later ID token moves its end to a later time.
`portal.oidc.id_token` has checked that it is a number.
"""

from __future__ import annotations

from collections.abc import Mapping

from portal.oidc.id_token import SESSION_EXPIRY


def provider_limit(claims: Mapping[str, object]) -> float | None:
    """When the provider ends the session, in seconds since the epoch, UTC; None when it does not say so."""
    value = claims.get(SESSION_EXPIRY)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def limited(expires_at: float, claims: Mapping[str, object]) -> float:
    """The end of a login with these claims that would otherwise end at `expires_at`."""
    limit = provider_limit(claims)
    return expires_at if limit is None else min(expires_at, limit)


def earliest_expiry(stored: Mapping[str, object], new: Mapping[str, object]) -> dict[str, object]:
    """The claim for a login whose refresh returned a new ID token: the earlier of both; empty without one."""
    limits = [limit for claims in (stored, new) if (limit := provider_limit(claims)) is not None]
    return {SESSION_EXPIRY: min(limits)} if limits else {}
