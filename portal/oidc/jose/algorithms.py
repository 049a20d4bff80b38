"""Signature algorithms of ID tokens (RFC 7518 3.1, RFC 8037).

python-jose supports RS, ES and HS; PS and EdDSA are added through its extension point `register_key`, with
keys of joserfc.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, cast

from jose import jwk
from jose.backends.base import Key
from jose.exceptions import JOSEError
from jose.utils import base64url_encode

from portal.oidc.jose.key_material import JoserfcKey, KeyUnusable

RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
CURVES: Mapping[str, tuple[str, ...]] = {
    "ES256": ("P-256",),
    "ES384": ("P-384",),
    "ES512": ("P-521",),
    "EdDSA": ("Ed25519", "Ed448"),
}
SYMMETRIC = frozenset({"HS256", "HS384", "HS512"})
_BY_JOSERFC = ("PS256", "PS384", "PS512", "EdDSA")
SUPPORTED = RSA_ALGORITHMS | CURVES.keys() | SYMMETRIC


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
    """Make the key that verifies `alg` from a suitable public JWK.

    Raises: KeyUnusable.
    """
    register_algorithms()
    try:
        return jwk.construct(dict(member), alg)
    except (JOSEError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise KeyUnusable(f"the key cannot be used for {alg}") from error


def signing_key(key: object, alg: str) -> Key:
    """Make the key that signs with `alg` from a private key of `cryptography`.

    Raises: KeyUnusable.
    """
    register_algorithms()
    try:
        return jwk.construct(cast(Any, key), alg)  # the type stubs allow only text
    except (JOSEError, ValueError, TypeError, AttributeError) as error:
        raise KeyUnusable(f"the key cannot be used for {alg}") from error


def secret_key(secret: str, alg: str) -> Key:
    """Make the key that verifies an HMAC from a client secret (OIDC Core 10.1).

    Raises: KeyUnusable, also when the secret looks like a public key.
    """
    try:
        return jwk.construct(secret.encode(), alg)
    except JOSEError as error:
        raise KeyUnusable(f"the client secret cannot be used for {alg}") from error


def half_hash(value: str, alg: str, *, curve: str | None = None) -> str:
    """Return the left half of the hash of a token or code, base64url (OIDC Core 3.1.3.6)."""
    if curve == "Ed448":
        digest = hashlib.shake_256(value.encode()).digest(114)
    elif alg == "EdDSA":
        digest = hashlib.sha512(value.encode()).digest()
    else:
        digest = hashlib.new(f"sha{alg[2:]}", value.encode()).digest()
    return base64url_encode(digest[: len(digest) // 2]).decode()


def register_algorithms() -> None:
    """Register PS256, PS384, PS512 and EdDSA with python-jose. Idempotent."""
    for alg in _BY_JOSERFC:
        jwk.register_key(alg, JoserfcKey)
