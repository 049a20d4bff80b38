"""Access tokens that are bound to the client's certificate (RFC 8705 3)."""

from __future__ import annotations

from portal.oidc.errors import IdTokenRejected
from portal.oidc.jose import jws
from portal.outbound.tls import ClientCertificate
from portal.secret import Secret


def bound_to(access_token: Secret) -> str | None:
    """Return the certificate thumbprint in an access token (`cnf`, RFC 8705 3.1), or None.

    Nothing is verified: the token is meant for the API, and need not be a JWT.
    """
    try:
        confirmation = jws.stored_claims(access_token.reveal()).get("cnf")
    except IdTokenRejected:
        return None
    thumbprint = confirmation.get("x5t#S256") if isinstance(confirmation, dict) else None
    return thumbprint if isinstance(thumbprint, str) else None


def fits(access_token: Secret, certificate: ClientCertificate | None) -> bool:
    """Whether an access token can be used over a connection that presents this certificate (None: none)."""
    thumbprint = bound_to(access_token)
    return thumbprint is None or (certificate is not None and certificate.thumbprint == thumbprint)
