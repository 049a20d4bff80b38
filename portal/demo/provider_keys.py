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
    """An RSA key and its name, which is a fingerprint of its public half."""

    key: rsa.RSAPrivateKey = field(repr=False)
    kid: str

    @classmethod
    def of(cls, key: rsa.RSAPrivateKey) -> SigningKey:
        """Name a key."""
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(key, b64(hashlib.sha256(public).digest())[:12])


class SigningKeys:
    """The keys of one provider. `current` signs."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self.current = SigningKey.of(key)

    def published(self) -> Sequence[SigningKey]:
        """The keys that tokens are verified with, the current one first."""
        return (self.current,)

    def jwks(self) -> dict[str, object]:
        """The public key set (RFC 7517 5)."""
        return {"keys": [public_jwk(key.key.public_key(), key.kid) for key in self.published()]}

    def verify(self, token: str) -> dict[str, object]:
        """Claims of a token signed by a published key; raises TokenUnreadable."""
        kid = read(token)[0].get("kid")
        for key in self.published():
            if key.kid == kid:
                return verify_rs256(token, key.key.public_key())
        raise TokenUnreadable("no published key has this kid")


def new_key() -> rsa.RSAPrivateKey:
    """Make an RSA key. Takes a tenth of a second and more: not for the event loop."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def kept_key(path: Path) -> rsa.RSAPrivateKey:
    """Read the key in `path`; make it when missing. Raises ConfigurationError when there is no RSA key."""
    if not path.exists():
        made = new_key()
        write_private(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
        return made
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigurationError([Problem(str(path), "holds no RSA key; delete it, and one is made")])
    return key
