"""Encrypts tokens (RFC 7516) without code of the portal."""

from __future__ import annotations

import secrets

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash

from tests.hostile.documents import Members, members, write
from tests.hostile.minting import b64

RSA_HEADER = members(alg="RSA-OAEP-256", enc="A256GCM", cty="JWT")


def for_rsa(header: Members | bytes, text: bytes, recipient: rsa.RSAPublicKey) -> str:
    """Encrypt a token with RSA-OAEP-256 and A256GCM, regardless of its header."""
    key = secrets.token_bytes(32)
    oaep = OAEP(MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return sealed(header, recipient.encrypt(key, oaep), key, text)


def ecdh_header(ephemeral: ec.EllipticCurvePrivateKey) -> Members:
    """Return the header of a token encrypted with ECDH-ES and A256GCM."""
    numbers = ephemeral.public_key().public_numbers()
    x, y = (b64(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    return members(alg="ECDH-ES", enc="A256GCM", epk=members(kty="EC", crv="P-256", x=x, y=y))


def for_curve(
    header: Members, text: bytes, recipient: ec.EllipticCurvePublicKey, ephemeral: ec.EllipticCurvePrivateKey
) -> str:
    """Encrypt a token with ECDH-ES and A256GCM (RFC 7518 4.6), regardless of its header."""
    name = b"A256GCM"
    info = len(name).to_bytes(4, "big") + name + bytes(4) + bytes(4) + (256).to_bytes(4, "big")
    key = ConcatKDFHash(hashes.SHA256(), 32, info).derive(ephemeral.exchange(ec.ECDH(), recipient))
    return sealed(header, b"", key, text)


def sealed(header: Members | bytes, encrypted_key: bytes, key: bytes, text: bytes) -> str:
    """Return the five parts, with the text encrypted by A256GCM."""
    protected = b64(header if isinstance(header, bytes) else write(header).encode())
    iv = secrets.token_bytes(12)
    sealed_text = AESGCM(key).encrypt(iv, text, protected.encode())
    parts = (encrypted_key, iv, sealed_text[:-16], sealed_text[-16:])
    return ".".join([protected, *(b64(part) for part in parts)])
