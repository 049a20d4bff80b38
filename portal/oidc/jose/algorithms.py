"""Signature algorithms of ID tokens (RFC 7518 3.1, RFC 8037).

python-jose knows RS, ES and HS; PS and EdDSA come in through its own extension point `register_key`, with
key classes on `cryptography`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey, Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jose import jwk
from jose.backends.base import Key
from jose.exceptions import JOSEError
from jose.utils import base64url_decode, base64url_encode

RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
CURVES: Mapping[str, tuple[str, ...]] = {
    "ES256": ("P-256",),
    "ES384": ("P-384",),
    "ES512": ("P-521",),
    "EdDSA": ("Ed25519", "Ed448"),
}
SYMMETRIC = frozenset({"HS256", "HS384", "HS512"})
SUPPORTED = RSA_ALGORITHMS | CURVES.keys() | SYMMETRIC

_HASHES: Mapping[str, Callable[[], hashes.HashAlgorithm]] = {
    "PS256": hashes.SHA256,
    "PS384": hashes.SHA384,
    "PS512": hashes.SHA512,
}


class KeyUnusable(ValueError):
    """A JWK or secret cannot be made into a key for the algorithm."""


def fits(member: Mapping[str, object], alg: str) -> bool:
    """Whether a public JWK can verify signatures of `alg`."""
    stated = member.get("alg")
    if stated is not None and stated != alg:
        return False
    if alg in RSA_ALGORITHMS:
        return member.get("kty") == "RSA"
    if alg in CURVES:
        kty = "OKP" if alg == "EdDSA" else "EC"
        return member.get("kty") == kty and member.get("crv") in CURVES[alg]
    return False


def public_key(member: Mapping[str, object], alg: str) -> Key:
    """Make the key that verifies `alg` out of a public JWK that fits it.

    Raises: KeyUnusable.
    """
    register_algorithms()
    try:
        return jwk.construct(dict(member), alg)
    except (JOSEError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise KeyUnusable(f"the key cannot be used for {alg}") from error


def signing_key(key: object, alg: str) -> Key:
    """Make the key that signs with `alg` out of a private key of `cryptography`.

    Raises: KeyUnusable.
    """
    register_algorithms()
    try:
        return jwk.construct(cast(Any, key), alg)  # the stubs know key data as text only
    except (JOSEError, ValueError, TypeError, AttributeError) as error:
        raise KeyUnusable(f"the key cannot be used for {alg}") from error


def secret_key(secret: str, alg: str) -> Key:
    """Make the key that verifies an HMAC out of a client secret (OIDC Core 10.1).

    Raises: KeyUnusable, also when the secret has the form of a public key.
    """
    try:
        return jwk.construct(secret.encode(), alg)
    except JOSEError as error:
        raise KeyUnusable(f"the client secret cannot be used for {alg}") from error


def half_hash(value: str, alg: str, *, curve: str | None = None) -> str:
    """Left half of the hash of a token or code, base64url (OIDC Core 3.1.3.6)."""
    if curve == "Ed448":
        digest = hashlib.shake_256(value.encode()).digest(114)
    elif alg == "EdDSA":
        digest = hashlib.sha512(value.encode()).digest()
    else:
        digest = hashlib.new(f"sha{alg[2:]}", value.encode()).digest()
    return base64url_encode(digest[: len(digest) // 2]).decode()


def register_algorithms() -> None:
    """Make PS256, PS384, PS512 and EdDSA known to python-jose; doing it again changes nothing."""
    for alg in _HASHES:
        jwk.register_key(alg, PssKey)
    jwk.register_key("EdDSA", EdwardsKey)


class PssKey(Key):
    """RSASSA-PSS with a salt as long as the hash (RFC 7518 3.5)."""

    def __init__(self, key: Any, algorithm: str) -> None:
        self._algorithm = algorithm
        self._hash = _HASHES[algorithm]()
        self.prepared_key = (
            key if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey) else _rsa_public_key(key)
        )

    def sign(self, msg: bytes) -> bytes:
        if not isinstance(self.prepared_key, rsa.RSAPrivateKey):
            raise KeyUnusable("a public key does not sign")
        return self.prepared_key.sign(msg, self._padding(), self._hash)

    def verify(self, msg: bytes, sig: bytes) -> bool:
        key = self.prepared_key
        public = key.public_key() if isinstance(key, rsa.RSAPrivateKey) else key
        try:
            public.verify(sig, msg, self._padding(), self._hash)
        except InvalidSignature:
            return False
        return True

    def _padding(self) -> padding.PSS:
        return padding.PSS(padding.MGF1(self._hash), self._hash.digest_size)


class EdwardsKey(Key):
    """EdDSA over Ed25519 or Ed448 (RFC 8037 3.1)."""

    def __init__(self, key: Any, algorithm: str) -> None:
        self._algorithm = algorithm
        known = Ed25519PrivateKey | Ed448PrivateKey | Ed25519PublicKey | Ed448PublicKey
        self.prepared_key = key if isinstance(key, known) else _edwards_public_key(key)

    def sign(self, msg: bytes) -> bytes:
        if not isinstance(self.prepared_key, Ed25519PrivateKey | Ed448PrivateKey):
            raise KeyUnusable("a public key does not sign")
        return self.prepared_key.sign(msg)

    def verify(self, msg: bytes, sig: bytes) -> bool:
        key = self.prepared_key
        public = key.public_key() if isinstance(key, Ed25519PrivateKey | Ed448PrivateKey) else key
        try:
            public.verify(sig, msg)
        except InvalidSignature:
            return False
        return True


def _rsa_public_key(member: Mapping[str, object]) -> rsa.RSAPublicKey:
    if not isinstance(member, Mapping) or member.get("kty") != "RSA":
        raise KeyUnusable("not an RSA key")
    return rsa.RSAPublicNumbers(_number(member, "e"), _number(member, "n")).public_key()


def _edwards_public_key(member: Mapping[str, object]) -> Ed25519PublicKey | Ed448PublicKey:
    if not isinstance(member, Mapping) or member.get("kty") != "OKP":
        raise KeyUnusable("not an octet key pair")
    x = _octets(member, "x")
    if member.get("crv") == "Ed25519":
        return Ed25519PublicKey.from_public_bytes(x)
    if member.get("crv") == "Ed448":
        return Ed448PublicKey.from_public_bytes(x)
    raise KeyUnusable("not a curve of EdDSA")


def _number(member: Mapping[str, object], name: str) -> int:
    return int.from_bytes(_octets(member, name), "big")


def _octets(member: Mapping[str, object], name: str) -> bytes:
    value = member.get(name)
    if not isinstance(value, str):
        raise KeyUnusable(f"{name} is not a string")
    return base64url_decode(value.encode())
