"""What a refused refresh request says: of the refresh token, of the portal as a client, or of the provider.

Rule: every OAuth error is about the refresh token unless it is listed here, because providers do not agree on
`invalid_grant` (RFC 6749 5.2): Dex says `invalid_request` of one that has expired, and Glewlwyd sends a 400
with an empty body. An error that is listed here wrongly leaves users with a login that cannot be refreshed
and does not end.
"""

from __future__ import annotations

from portal.errors import PortalError
from portal.oidc.errors import ClientRejected, ProviderUnavailable, RefreshRejected, TokenRequestRejected

_ABOUT_THE_CLIENT = frozenset({"invalid_client", "use_dpop_nonce", "invalid_dpop_proof"})
"""The provider did not accept the client or its proof (RFC 6749 5.2, RFC 9449 5 and 8)."""
_ABOUT_THE_PROVIDER = frozenset({"server_error", "temporarily_unavailable", "slow_down", "unknown_error"})
"""The provider failed (RFC 6749 4.1.2.1, RFC 8628 3.5), or its response is no OAuth error."""


def meaning(refusal: TokenRequestRejected) -> PortalError:
    """The error of a refresh whose token request was refused."""
    if refusal.error in _ABOUT_THE_PROVIDER:
        return ProviderUnavailable(refusal.detail)
    if refusal.error in _ABOUT_THE_CLIENT:
        return ClientRejected(refusal.error, refusal.detail)
    return RefreshRejected(refusal.detail, error=refusal.error)
