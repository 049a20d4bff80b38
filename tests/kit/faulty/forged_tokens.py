"""Forged tokens in compact form."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from portal.demo.compact import b64, signing_input


def sign_hs256(header: Mapping[str, object], claims: Mapping[str, object], secret: bytes) -> str:
    """Return a token signed with HMAC-SHA-256, independent of its header."""
    text = signing_input(header, claims)
    return f"{text}.{b64(hmac.digest(secret, text.encode(), 'sha256'))}"


def unsigned(header: Mapping[str, object], claims: Mapping[str, object]) -> str:
    """Return a token with an empty signature."""
    return f"{signing_input(header, claims)}."


def other_signature(token: str) -> str:
    """Return the token with one changed character in its signature."""
    text, _, signature = token.rpartition(".")
    return f"{text}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def public_pem(key: RSAPublicKey) -> bytes:
    """Return a public key as PEM, which a careless verifier might use as an HMAC secret."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
