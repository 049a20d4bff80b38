"""Keys and tokens of a provider, valid or with chosen faults."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jose import jwk

from portal.oidc.jose.algorithms import register_algorithms
from portal.oidc.keys import KeySet
from portal.oidc.provider import Provider
from portal.secret import Secret
from tests.kit.rsa_keys import rsa_key

NOW = 1_800_000_000.0
ISSUER = "https://login.acme.example/"
CLIENT_ID = "acme-client"
CLIENT_SECRET = "a client secret that is long enough"
NONCE = "nonce-of-this-attempt"
CODE = Secret("code-of-this-attempt")
ACCESS_TOKEN = Secret("access-token-of-this-login")


def registration(**changes: Any) -> Provider:
    """Return a provider registration with these changes."""
    parts: dict[str, Any] = {
        "tenant": "acme",
        "id": "default",
        "issuer": ISSUER,
        "client_id": CLIENT_ID,
        "client_secret": Secret(CLIENT_SECRET),
    }
    return Provider(**{**parts, **changes})


@functools.cache
def private_key(kind: str, which: int = 0) -> Any:
    """Return a private key: `RSA`, `RSA-1024` or a curve; `which` distinguishes keys of one kind."""
    match kind:
        case "RSA":
            return rsa_key(2 * which)  # odd numbers: sample_client_keys.py
        case "RSA-1024":
            return rsa.generate_private_key(65537, 1024)
        case "P-256":
            return ec.generate_private_key(ec.SECP256R1())
        case "P-384":
            return ec.generate_private_key(ec.SECP384R1())
        case "P-521":
            return ec.generate_private_key(ec.SECP521R1())
        case "Ed25519":
            return Ed25519PrivateKey.generate()
        case "Ed448":
            return Ed448PrivateKey.generate()
    raise AssertionError(kind)


def public_jwk(kind: str = "RSA", kid: str | None = "key-1", which: int = 0, **more: Any) -> dict[str, Any]:
    """Return the public JWK of `private_key(kind, which)`."""
    key = private_key(kind, which).public_key()
    member: dict[str, Any]
    if kind.startswith("RSA"):
        numbers = key.public_numbers()
        member = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
    elif kind.startswith("P-"):
        numbers, size = key.public_numbers(), (key.key_size + 7) // 8
        member = {"kty": "EC", "crv": kind, "x": _number(numbers.x, size), "y": _number(numbers.y, size)}
    else:
        member = {"kty": "OKP", "crv": kind, "x": b64(key.public_bytes(Encoding.Raw, PublicFormat.Raw))}
    if kid is not None:
        member["kid"] = kid
    return {**member, **more}


def key_set(*members: Mapping[str, Any]) -> KeySet:
    """A key set of these members, or of the one RSA key that `signed` uses."""
    return KeySet(members or (public_jwk(),))


def login_claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a valid ID token; a change to None removes the claim."""
    claims = {
        "iss": ISSUER,
        "sub": "user-1",
        "aud": CLIENT_ID,
        "exp": int(NOW) + 300,
        "iat": int(NOW) - 2,
        "nonce": NONCE,
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def signed(
    claims: Mapping[str, Any] | bytes,
    *,
    alg: str = "RS256",
    kid: str | None = "key-1",
    kind: str = "RSA",
    which: int = 0,
    secret: bytes | None = None,
    header: Mapping[str, Any] | bytes | None = None,
) -> Secret:
    """Return a token signed with `private_key(kind, which)`, or with an HMAC of `secret`.

    `header` as a mapping extends the header, as bytes it replaces it. `claims` as bytes are the raw payload.
    """
    register_algorithms()
    if not isinstance(header, bytes):
        head = {"alg": alg, **({} if kid is None else {"kid": kid}), **(header or {})}
        header = json.dumps(head).encode()
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signing_input = f"{b64(header)}.{b64(payload)}".encode()
    if alg == "none":
        return Secret(signing_input.decode() + ".")
    material = private_key(kind, which) if secret is None else secret
    if secret is not None:
        signature = _hmac(secret, alg, signing_input)
    else:
        signature = jwk.construct(material, alg).sign(signing_input)
    return Secret(f"{signing_input.decode()}.{b64(signature)}")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _hmac(secret: bytes, alg: str, message: bytes) -> bytes:
    import hmac

    return hmac.digest(secret, message, f"sha{alg[2:]}")


def _number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))
