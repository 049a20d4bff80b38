"""Signs tokens without code of the portal, correctly or with faults."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
from collections.abc import Iterator

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.hostile.documents import Json, Members, members, write

KID = "key-1"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


PROVIDER = "the provider's"


def rsa_key(which: str = PROVIDER) -> rsa.RSAPrivateKey:
    """Return a key by the name of its owner."""
    return _made_rsa_key(which)


@functools.cache
def _made_rsa_key(which: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def rsa_jwk(which: str = PROVIDER, **more: Json) -> Members:
    """Return the public JWK of a key."""
    numbers = rsa_key(which).public_key().public_numbers()
    size = (numbers.n.bit_length() + 7) // 8
    parts = members(
        kty="RSA", use="sig", alg="RS256", kid=KID, n=b64(numbers.n.to_bytes(size, "big")), e="AQAB"
    )
    for name, value in more.items():
        parts = parts.changed(name, value)
    return parts


def compact(header: str | bytes, payload: str | bytes, *, key: rsa.RSAPrivateKey | None = None) -> str:
    """Sign a token with RS256, regardless of its header."""
    signing_input = _signing_input(header, payload)
    signature = (key or rsa_key()).sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signing_input}.{b64(signature)}"


def compact_pss(header: str | bytes, payload: str | bytes) -> str:
    """Sign a token with PS256 and the provider's RSA key."""
    signing_input = _signing_input(header, payload)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return f"{signing_input}.{b64(rsa_key().sign(signing_input.encode(), pss, hashes.SHA256()))}"


def compact_es256(header: str | bytes, payload: str | bytes) -> str:
    """Sign a token with ES256 and a key that the provider has not published."""
    signing_input = _signing_input(header, payload)
    r, s = decode_dss_signature(ec_key().sign(signing_input.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signing_input}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def compact_hmac(header: str | bytes, payload: str | bytes, secret: bytes, digest: str = "sha256") -> str:
    """Sign a token with an HMAC."""
    signing_input = _signing_input(header, payload)
    return f"{signing_input}.{b64(hmac.digest(secret, signing_input.encode(), digest))}"


def unsigned(header: str | bytes, payload: str | bytes, signature: str = "") -> str:
    return f"{_signing_input(header, payload)}.{signature}"


def public_forms() -> Iterator[tuple[str, bytes]]:
    """Yield the provider's public key in each form that could be used as an HMAC secret (RFC 8725 2.1)."""
    public = rsa_key().public_key()
    for name, encoding in (("PEM", Encoding.PEM), ("DER", Encoding.DER)):
        yield f"{name} SPKI", public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        yield f"{name} PKCS #1", public.public_bytes(encoding, PublicFormat.PKCS1)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    yield "PEM without its last line break", pem.rstrip()
    yield "JWK", write(rsa_jwk()).encode()
    yield "modulus", str(rsa_jwk().get("n")).encode()
    yield "nothing", b""
    yield "kid", KID.encode()


def half_hash(value: str) -> str:
    """Return `at_hash` of an RS256 token (OIDC Core 3.1.3.6)."""
    return b64(hashlib.sha256(value.encode()).digest()[:16])


def _signing_input(header: str | bytes, payload: str | bytes) -> str:
    parts = (part.encode() if isinstance(part, str) else part for part in (header, payload))
    return ".".join(b64(part) for part in parts)
