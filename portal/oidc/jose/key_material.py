"""Private keys as JWKs (RFC 7517, RFC 7518 6, RFC 8037 2), and back."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jose.utils import base64url_decode, base64url_encode

from portal.oidc.jose.algorithms import KeyUnusable

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey

RSA_BITS = 2048
_EC_BYTES = 32
_EC_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256 (FIPS 186-4 D.1.2.3)."""


def new_private_jwk(kind: str) -> dict[str, object]:
    """Make a private key and return its JWK, with `kid`.

    Parameters: kind, an algorithm that signs (RS256, PS256, ES256, EdDSA), or `RSA` or `EC` for encryption.
    """
    match kind:
        case "RS256" | "PS256" | "RSA":
            return private_members(rsa.generate_private_key(65537, RSA_BITS))
        case "ES256" | "EC":
            return private_members(ec.generate_private_key(ec.SECP256R1()))
        case "EdDSA":
            return private_members(Ed25519PrivateKey.generate())
    raise KeyUnusable(f"no keys are made for {kind}")


def private_key(member: Mapping[str, object]) -> PrivateKey:
    """Read a private JWK; its parts must belong together.

    Raises: KeyUnusable.
    """
    try:
        match member.get("kty"), member.get("crv"):
            case "RSA", _:
                return _rsa_key(member)
            case "EC", "P-256":
                return _ec_key(member)
            case "OKP", "Ed25519":
                return _edwards_key(member)
    except KeyUnusable:
        raise
    except (ValueError, TypeError) as error:
        raise KeyUnusable("the parts of the private key do not belong together") from error
    raise KeyUnusable("not an RSA, P-256 or Ed25519 key")


def derived_key(parent: PrivateKey, purpose: str) -> PrivateKey:
    """The key of one purpose that follows from a P-256 or Ed25519 key (HKDF-SHA256, RFC 5869).

    Neither the parent nor the key of another purpose follows from it. What is derived must never change:
    providers have the public part. For P-256 there are 128 bits more than needed, so that no scalar is
    more likely than another (FIPS 186-5 A.2.1).
    Raises: KeyUnusable for an RSA key.
    """
    match parent:
        case ec.EllipticCurvePrivateKey():
            secret = parent.private_numbers().private_value.to_bytes(_EC_BYTES, "big")
            value = int.from_bytes(_derive(secret, purpose, _EC_BYTES + 16), "big")
            return ec.derive_private_key(value % (_EC_ORDER - 1) + 1, ec.SECP256R1())
        case Ed25519PrivateKey():
            return Ed25519PrivateKey.from_private_bytes(_derive(parent.private_bytes_raw(), purpose, 32))
    raise KeyUnusable("no keys are derived from an RSA key")


def _derive(secret: bytes, purpose: str, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=purpose.encode()).derive(secret)


def private_members(key: PrivateKey) -> dict[str, object]:
    """The JWK of a private key, with everything in it."""
    return {**public_members(key), **_private_parts(key)}


def public_members(key: PrivateKey) -> dict[str, object]:
    """The public JWK of a private key: kty, its public parts and `kid`, the RFC 7638 thumbprint."""
    parts = _public_parts(key)
    # RFC 7638 3: members in lexical order, no white space
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return {"kid": _text(hashlib.sha256(canonical.encode()).digest()), **parts}


def _public_parts(key: PrivateKey) -> dict[str, str]:
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point = key.public_key().public_numbers()
        x, y = (_text(value.to_bytes(_EC_BYTES, "big")) for value in (point.x, point.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y}
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": _text(raw)}


def _private_parts(key: PrivateKey) -> dict[str, str]:
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        return {
            "d": _number(numbers.d),
            "p": _number(numbers.p),
            "q": _number(numbers.q),
            "dp": _number(numbers.dmp1),
            "dq": _number(numbers.dmq1),
            "qi": _number(numbers.iqmp),
        }
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return {"d": _text(key.private_numbers().private_value.to_bytes(_EC_BYTES, "big"))}
    return {"d": _text(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))}


def _rsa_key(member: Mapping[str, object]) -> rsa.RSAPrivateKey:
    public = rsa.RSAPublicNumbers(_integer(member, "e"), _integer(member, "n"))
    p, q, d, dp, dq, qi = (_integer(member, name) for name in ("p", "q", "d", "dp", "dq", "qi"))
    if public.n.bit_length() < RSA_BITS:
        raise KeyUnusable(f"an RSA key has at least {RSA_BITS} bits")
    # RFC 8017 3.2; a key with parts of another's would give itself away with its first signature
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
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)  # whether p and q are primes: 60 ms


def _ec_key(member: Mapping[str, object]) -> ec.EllipticCurvePrivateKey:
    public = ec.EllipticCurvePublicNumbers(_integer(member, "x"), _integer(member, "y"), ec.SECP256R1())
    return ec.EllipticCurvePrivateNumbers(_integer(member, "d"), public).private_key()


def _edwards_key(member: Mapping[str, object]) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.from_private_bytes(_octets(member, "d"))
    if _public_parts(key)["x"] != member.get("x"):
        raise KeyUnusable("the parts of the private key do not belong together")
    return key


def _integer(member: Mapping[str, object], name: str) -> int:
    return int.from_bytes(_octets(member, name), "big")


def _octets(member: Mapping[str, object], name: str) -> bytes:
    value = member.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise KeyUnusable(f"{name} is not a string")
    return base64url_decode(value.encode())


def _number(value: int) -> str:
    return _text(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _text(data: bytes) -> str:
    return base64url_encode(data).decode()
