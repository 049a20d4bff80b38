"""Signed tokens in JWS compact serialization, implemented with `cryptography` only.

Development providers and APIs use this module and share no code with the relying party, so that a mistake in
one cannot hide a mistake in the other. Source: RFC 7515, RFC 7518 3.3.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

JsonObject = dict[str, object]


class TokenUnreadable(ValueError):
    """The text is not a token in compact form, or its signature is invalid."""


def b64(data: bytes) -> str:
    """base64url without padding (RFC 7515 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The reverse of b64; raises TokenUnreadable."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenUnreadable("not base64url") from error


def signing_input(header: Mapping[str, object], claims: Mapping[str, object]) -> str:
    """The first two parts of a token."""
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"


def sign_rs256(header: Mapping[str, object], claims: Mapping[str, object], key: RSAPrivateKey) -> str:
    """A token signed with RSASSA-PKCS1-v1_5 and SHA-256, regardless of `alg` in the header."""
    text = signing_input(header, claims)
    return f"{text}.{b64(key.sign(text.encode(), padding.PKCS1v15(), SHA256()))}"


def read(token: str) -> tuple[dict[str, object], dict[str, object]]:
    """Header and claims of a token; the signature is not verified. Raises TokenUnreadable."""
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenUnreadable("a signed token has three parts")
    return _read_object(parts[0]), _read_object(parts[1])


def verify_rs256(token: str, key: RSAPublicKey) -> dict[str, object]:
    """Claims of a token after verifying its RS256 signature with `key`. Raises TokenUnreadable."""
    header, claims = read(token)
    if header.get("alg") != "RS256":
        raise TokenUnreadable("the algorithm is not RS256")
    text, _, signature = token.rpartition(".")
    try:
        key.verify(unb64(signature), text.encode(), padding.PKCS1v15(), SHA256())
    except InvalidSignature as error:
        raise TokenUnreadable("the signature is invalid") from error
    return claims


def half_hash(value: str) -> str:
    """`at_hash` for RS256: left half of the SHA-256 (OIDC Core 3.1.3.6)."""
    return b64(hashlib.sha256(value.encode()).digest()[:16])


def public_jwk(key: RSAPublicKey, kid: str) -> dict[str, str]:
    """A public RSA signing key as a JWK (RFC 7517, RFC 7518 6.3.1)."""
    numbers = key.public_numbers()
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": kid,
        "n": _b64_integer(numbers.n),
        "e": _b64_integer(numbers.e),
    }


def key_of_jwk(jwk: Mapping[str, object]) -> RSAPublicKey:
    """The public RSA key of a JWK; raises TokenUnreadable."""
    n, e = jwk.get("n"), jwk.get("e")
    if jwk.get("kty") != "RSA" or not isinstance(n, str) or not isinstance(e, str):
        raise TokenUnreadable("not an RSA key")
    return RSAPublicNumbers(int.from_bytes(unb64(e)), int.from_bytes(unb64(n))).public_key()


def _read_object(part: str) -> dict[str, object]:
    try:
        value = json.loads(unb64(part))
    except ValueError as error:
        raise TokenUnreadable("not JSON") from error
    if not isinstance(value, dict):
        raise TokenUnreadable("not a JSON object")
    return value


def _b64_integer(number: int) -> str:
    return b64(number.to_bytes((number.bit_length() + 7) // 8))
