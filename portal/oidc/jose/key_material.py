"""Converts keys from and to JWKs (RFC 7517, RFC 7518 6, RFC 8037 2), and adds keys that python-jose lacks.

Uses joserfc. The rest of the portal handles private keys as objects of `cryptography`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jose.backends.base import Key
from jose.utils import base64url_decode, base64url_encode
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey

RSA_BITS = 2048
_EC_BYTES = 32
_EC_ORDER = ec.SECP256R1().group_order


class KeyUnusable(ValueError):
    """A JWK or secret cannot be used as a key for the algorithm."""


def new_private_jwk(kind: str) -> dict[str, object]:
    """Make a private key and return its JWK, with `kid`.

    Parameters: kind, an algorithm that signs (RS256, PS256, ES256, EdDSA), or `RSA` or `EC` for encryption.
    """
    match kind:
        case "RS256" | "PS256" | "RSA":
            return {**RSAKey.generate_key(RSA_BITS, auto_kid=True).as_dict(private=True)}
        case "ES256" | "EC":
            return {**ECKey.generate_key("P-256", auto_kid=True).as_dict(private=True)}
        case "EdDSA":
            return {**OKPKey.generate_key("Ed25519", auto_kid=True).as_dict(private=True)}
    raise KeyUnusable(f"keys cannot be generated for {kind}")


def private_key(member: Mapping[str, object]) -> PrivateKey:
    """Read a private JWK whose parts are consistent.

    Raises: KeyUnusable.
    """
    parts: dict[str, Any] = {**member}
    found: object = None
    try:
        match member.get("kty"), member.get("crv"):
            case "RSA", _:
                return _rsa_key(member)
            case "EC", "P-256":
                found = ECKey.import_key(parts).private_key
            case "OKP", "Ed25519":
                found = OKPKey.import_key(parts).private_key
    except KeyUnusable:
        raise
    except (JoseError, ValueError) as error:
        raise KeyUnusable("the parts of the private key do not belong together") from error
    if isinstance(found, ec.EllipticCurvePrivateKey):
        return found
    # joserfc does not compare the public part of an Ed25519 key
    if isinstance(found, Ed25519PrivateKey) and public_members(found)["x"] == member.get("x"):
        return found
    raise KeyUnusable("not an RSA, P-256 or Ed25519 key, or its parts do not belong together")


def derived_key(parent: PrivateKey, purpose: str) -> PrivateKey:
    """Derive the key of one purpose from a P-256 or Ed25519 key (HKDF-SHA256, RFC 5869).

    It reveals neither the parent nor the key of another purpose. The derivation must never change, because
    providers have registered the public part. For P-256, 128 extra bits make the scalar's distribution
    uniform (FIPS 186-5 A.2.1).
    Raises: KeyUnusable for an RSA key.
    """
    match parent:
        case ec.EllipticCurvePrivateKey():
            secret = parent.private_numbers().private_value.to_bytes(_EC_BYTES, "big")
            value = int.from_bytes(_derive(secret, purpose, _EC_BYTES + 16), "big")
            return ec.derive_private_key(value % (_EC_ORDER - 1) + 1, ec.SECP256R1())
        case Ed25519PrivateKey():
            return Ed25519PrivateKey.from_private_bytes(_derive(parent.private_bytes_raw(), purpose, 32))
    raise KeyUnusable("keys cannot be derived from an RSA key")


def _derive(secret: bytes, purpose: str, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=purpose.encode()).derive(secret)


def private_members(key: PrivateKey) -> dict[str, object]:
    """Return the private JWK of a key, with the RFC 7638 thumbprint as `kid`."""
    made = jwk_of(key)
    return {**made.as_dict(private=True), "kid": made.thumbprint()}


def public_members(key: PrivateKey) -> dict[str, object]:
    """Return the public JWK of a private key: kty, public parts and the RFC 7638 thumbprint as `kid`."""
    made = jwk_of(key)
    return {**made.as_dict(private=False), "kid": made.thumbprint()}


def jwk_of(key: PrivateKey | Ed448PrivateKey) -> RSAKey | ECKey | OKPKey:
    """Convert a key to joserfc's type."""
    if isinstance(key, rsa.RSAPrivateKey):
        return RSAKey.import_key(key)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ECKey.import_key(key)
    return OKPKey.import_key(key)


def check_public_point(member: Mapping[str, object]) -> None:
    """Check that a JWK is a public key whose point is on its elliptic curve.

    Raises: KeyUnusable.
    """
    parts: dict[str, Any] = {**member}
    if "d" in parts:
        raise KeyUnusable("a private key")
    try:
        ECKey.import_key(parts)
    except (JoseError, ValueError, TypeError) as error:  # TypeError: `use` is a list
        raise KeyUnusable("not a point of the curve") from error


class JoserfcKey(Key):
    """A key of an algorithm that python-jose lacks: PS256, PS384, PS512 or EdDSA.

    Parameters: key, a public JWK or a private key; algorithm.
    Source: RFC 7518 3.5, RFC 8037 3.1.
    Raises: KeyUnusable.
    """

    def __init__(self, key: Any, algorithm: str) -> None:
        self._algorithm = algorithm
        self._model = _signature_models()[algorithm]
        made = _public_jwk(key) if isinstance(key, Mapping) else jwk_of(key)
        if made.key_type != self._model.key_type:
            raise KeyUnusable(f"the key cannot be used for {algorithm}")
        self.prepared_key = made

    def sign(self, msg: bytes) -> bytes:
        signature: bytes = self._model.sign(msg, self.prepared_key)
        return signature

    def verify(self, msg: bytes, sig: bytes) -> bool:
        return bool(self._model.verify(msg, sig, self.prepared_key))


@cache
def _signature_models() -> Mapping[str, Any]:
    # imported here because it would add 2 ms to start-up
    from joserfc.jwa import JWS_ALGORITHMS

    return {model.name: model for model in JWS_ALGORITHMS}


def _public_jwk(member: Mapping[str, object]) -> RSAKey | OKPKey:
    if member.get("kty") == "RSA":
        key = _rsa_numbers(member).public_key()
        if key.key_size < RSA_BITS:
            raise KeyUnusable(f"an RSA key has at least {RSA_BITS} bits")
        return RSAKey.import_key(key)
    # joserfc rejects padding, which some providers send
    x = base64url_encode(_octets(member, "x")).decode()
    try:
        return OKPKey.import_key({"kty": "OKP", "crv": str(member.get("crv")), "x": x})
    except (JoseError, KeyError) as error:
        raise KeyUnusable("not an octet key pair") from error


def _rsa_key(member: Mapping[str, object]) -> rsa.RSAPrivateKey:
    """Read a private RSA key. Not by joserfc, which also tests whether p and q are primes: 30 ms."""
    public = _rsa_numbers(member)
    p, q, d, dp, dq, qi = (_integer(member, name) for name in ("p", "q", "d", "dp", "dq", "qi"))
    if public.n.bit_length() < RSA_BITS:
        raise KeyUnusable(f"an RSA key has at least {RSA_BITS} bits")
    # RFC 8017 3.2; a signature with inconsistent parts would reveal the private key
    parts_belong_together = (
        p * q == public.n
        and p > 1 < q
        and (public.e * d - 1) % math.lcm(p - 1, q - 1) == 0
        and (dp, dq) == (d % (p - 1), d % (q - 1))
        and q * qi % p == 1
    )
    if not parts_belong_together:
        raise KeyUnusable("the parts of the private key do not belong together")
    numbers = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _rsa_numbers(member: Mapping[str, object]) -> rsa.RSAPublicNumbers:
    return rsa.RSAPublicNumbers(_integer(member, "e"), _integer(member, "n"))


def _integer(member: Mapping[str, object], name: str) -> int:
    return int.from_bytes(_octets(member, name))


def _octets(member: Mapping[str, object], name: str) -> bytes:
    value = member.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise KeyUnusable(f"{name} is not a string")
    return base64url_decode(value.encode())
