"""Classifies OAuth errors of refresh requests: invalid refresh token, rejected client, or failing provider.

Rule: every error code means that the refresh token is invalid, unless it is listed here, because not all
providers send `invalid_grant` (RFC 6749 5.2): for an expired one Dex sends `invalid_request`, and Glewlwyd
sends a 400 with an empty body. A code that is listed here by mistake leaves users with a login that neither
refreshes nor ends.
"""

from __future__ import annotations

from portal.errors import PortalError
from portal.oidc.api_errors import ApiTokenRefused
from portal.oidc.api_target import ApiTokenRequest
from portal.oidc.errors import ClientRejected, ProviderUnavailable, RefreshRejected, TokenRequestRejected

_ABOUT_THE_CLIENT = frozenset({"invalid_client", "use_dpop_nonce", "invalid_dpop_proof"})
"""The provider rejected the client authentication or DPoP proof (RFC 6749 5.2, RFC 9449 5 and 8)."""
_ABOUT_THE_PROVIDER = frozenset({"server_error", "temporarily_unavailable", "slow_down", "unknown_error"})
"""The provider failed (RFC 6749 4.1.2.1, RFC 8628 3.5), or its response is not an OAuth error."""


_ABOUT_THE_API = frozenset(
    (
        *("invalid_target", "invalid_scope", "invalid_request", "access_denied", "unauthorized_client"),
        *("unsupported_grant_type", "interaction_required", "login_required", "consent_required"),
    )
)
"""For a request that names an API: the provider refuses this API, or this way of requesting a token for it
(RFC 8707 2, RFC 6749 5.2, OIDC Core 3.1.2.6). The refresh token is still valid."""


def refresh_error(refusal: TokenRequestRejected, api: ApiTokenRequest | None = None) -> PortalError:
    """Return the error to raise for a rejected refresh request. Parameters: api, the API that it names."""
    if api is not None and refusal.error in _ABOUT_THE_API:
        return ApiTokenRefused(api.target.name, refusal.error, refusal.detail)
    if refusal.error in _ABOUT_THE_PROVIDER:
        return ProviderUnavailable(refusal.detail)
    if refusal.error in _ABOUT_THE_CLIENT:
        return ClientRejected(refusal.error, refusal.detail)
    return RefreshRejected(refusal.detail, error=refusal.error)
