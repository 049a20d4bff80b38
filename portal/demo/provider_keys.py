"""Signing keys of a development provider."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from portal.demo.compact import TokenUnreadable, b64, public_jwk, read, verify_rs256
from portal.demo.files import write_private
from portal.errors import ConfigurationError, Problem


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An RSA key and its `kid`, a fingerprint of the public key."""

    key: rsa.RSAPrivateKey = field(repr=False)
    kid: str

    @classmethod
    def of(cls, key: rsa.RSAPrivateKey) -> SigningKey:
        """Return a key with its `kid`."""
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(key, b64(hashlib.sha256(public).digest())[:12])


class SigningKeys:
    """The keys of one provider. `current` is the signing key."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self.current = SigningKey.of(key)

    def published(self) -> Sequence[SigningKey]:
        """The keys that verify tokens, the current one first."""
        return (self.current,)

    def jwks(self) -> dict[str, object]:
        """The public key set (RFC 7517 5)."""
        return {"keys": [public_jwk(key.key.public_key(), key.kid) for key in self.published()]}

    def verify(self, token: str) -> dict[str, object]:
        """Return the claims of a token signed by a published key. Raises TokenUnreadable."""
        kid = read(token)[0].get("kid")
        for key in self.published():
            if key.kid == kid:
                return verify_rs256(token, key.key.public_key())
        raise TokenUnreadable("no published key has this kid")


def new_key() -> rsa.RSAPrivateKey:
    """Generate an RSA key. This takes 0.1 seconds or more: do not call it on the event loop."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def load_or_create_key(path: Path) -> rsa.RSAPrivateKey:
    """Read the key in `path`, or create one. Raises ConfigurationError when the file has no RSA key."""
    if not path.exists():
        new = new_key()
        write_private(path, new.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
        return new
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigurationError([Problem(str(path), "has no RSA key; delete it to create a new one")])
    return key
