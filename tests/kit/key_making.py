"""A maker of client keys that takes its RSA keys from `tests/kit/rsa_keys.py`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from itertools import count

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import RSAKey

from portal.oidc.jose.key_material import new_private_jwk
from tests.kit.rsa_keys import rsa_key


class PreparedKeys:
    """Replaces `new_private_jwk`: RSA keys are prepared and each is returned once, others are generated."""

    def __init__(self) -> None:
        self._numbers = count()

    def __call__(self, kind: str) -> dict[str, object]:
        if kind in {"RS256", "PS256", "RSA"}:
            return {**rsa_jwk(next(self._numbers))}
        return new_private_jwk(kind)


@functools.cache
def rsa_jwk(number: int) -> Mapping[str, object]:
    """Return the private JWK of `rsa_key(number)`, with its thumbprint (RFC 7638) as `kid`."""
    pem = rsa_key(number).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = RSAKey.import_key(pem)
    return {**key.as_dict(private=True), "kid": key.thumbprint()}
