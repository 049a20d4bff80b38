"""Client secrets that the portal signs for each request, as Sign in with Apple requires.

The secret is a JWT in the field `client_secret`; it is not a client assertion of RFC 7523. Source:
https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portal.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

LIFETIME = 300
"""Seconds for which such a secret is valid; Apple allows six months."""


@dataclass(frozen=True, slots=True)
class SecretSigner:
    """What the portal needs to sign client secrets.

    Parameters: issuer, the `iss` (Apple: the team id); key_id, the `kid`; private_key, in PEM form, on P-256.
    """

    issuer: str
    key_id: str
    private_key: Secret

    def client_secret(self, *, client_id: str, audience: str, now: float) -> Secret:
        """Return a client secret that is valid for `LIFETIME` seconds.

        Parameters: audience, the provider's issuer; now, seconds since the epoch, UTC.
        Raises: KeyUnusable.
        """
        from jose import jws  # here and below: these load slowly, and most tenants do not need them

        from portal.oidc.jose.algorithms import signing_key

        claims = {
            "iss": self.issuer,
            "sub": client_id,
            "aud": audience,
            "iat": int(now),
            "exp": int(now) + LIFETIME,
        }
        key: Any = signing_key(load_signing_key(self.private_key), "ES256")
        return Secret(str(jws.sign(claims, key, headers={"kid": self.key_id}, algorithm="ES256")))


def load_signing_key(pem: Secret) -> EllipticCurvePrivateKey:
    """Return the private key of a PEM file. Raises: KeyUnusable for anything but a key on P-256."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from portal.oidc.jose.key_material import KeyUnusable

    try:
        key = load_pem_private_key(pem.reveal().encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable("cannot be read; expected a private key in PEM form") from error
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise KeyUnusable("is of another kind; expected a key on P-256")
