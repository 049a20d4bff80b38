"""Tokens in compact form that nobody should accept."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from portal.demo.compact import b64, signing_input


def sign_hs256(header: Mapping[str, object], claims: Mapping[str, object], secret: bytes) -> str:
    """A token signed with HMAC and SHA-256, whatever the header says."""
    text = signing_input(header, claims)
    return f"{text}.{b64(hmac.digest(secret, text.encode(), 'sha256'))}"


def unsigned(header: Mapping[str, object], claims: Mapping[str, object]) -> str:
    """A token with an empty signature."""
    return f"{signing_input(header, claims)}."


def other_signature(token: str) -> str:
    """The token with a signature that differs in one character."""
    text, _, signature = token.rpartition(".")
    return f"{text}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def public_pem(key: RSAPublicKey) -> bytes:
    """The PEM text of a public key: what a careless verifier takes for an HMAC secret."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
