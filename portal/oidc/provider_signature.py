"""Signs for a provider with the key of its registration."""

from __future__ import annotations

from collections.abc import Mapping

from portal.oidc import certificate_key
from portal.oidc.client_keys import ClientKeys
from portal.oidc.errors import ClientKeyMissing
from portal.oidc.provider import Provider


def sign_for(
    provider: Provider, claims: Mapping[str, object], client_keys: ClientKeys | None, *, typ: str = "JWT"
) -> str:
    """Return a compact JWS, signed with the certificate's key, the registration's own key, or the shared key.

    Parameters: typ, the media type in its header (RFC 8725 3.11).
    Raises: ClientKeyMissing.
    """
    alg = provider.client_signing_alg
    if provider.signing_certificate is not None:
        return certificate_key.sign(provider.signing_certificate, claims, alg=alg, typ=typ)
    if client_keys is None:
        raise ClientKeyMissing("signing needs a client key, and the portal has none")
    return client_keys.sign(
        claims, alg=alg, typ=typ, registration=provider.key if provider.client_key else None
    )
