"""Encrypts tokens as a provider does, correctly or with chosen faults."""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.padding import PKCS7

from portal.oidc.client_keys import ClientKey
from portal.oidc.jose.key_material import public_members
from portal.secret import Secret
from tests.unit.oidc.sample_client_keys import sample_key
from tests.unit.oidc.signing import b64

ALGORITHMS = ("RSA-OAEP", "RSA-OAEP-256", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW")
ENCODINGS = {"A128CBC-HS256": 32, "A256CBC-HS512": 64, "A128GCM": 16, "A256GCM": 32}


def encrypted(
    text: str | bytes,
    *,
    alg: str = "RSA-OAEP-256",
    enc: str = "A128CBC-HS256",
    key: ClientKey | None = None,
    header: Mapping[str, Any] | None = None,
    real_alg: str | None = None,
    real_enc: str | None = None,
) -> Secret:
    """Return a compact JWE for the portal's key.

    `header` changes the header; None removes a member. `real_alg` and `real_enc` are the algorithms that are
    used, in place of those in the header.
    """
    done_alg, done_enc = real_alg or alg, real_enc or enc
    target = key or sample_key("RSA" if done_alg.startswith("RSA") else "EC")
    head: dict[str, Any] = {"alg": alg, "enc": enc, "cty": "JWT", "kid": target.kid}
    content_key = os.urandom(ENCODINGS[done_enc])
    wrapped = b""
    if isinstance(target.private, rsa.RSAPrivateKey):
        wrapped = _by_rsa(target.private.public_key(), content_key, done_alg)
    elif isinstance(target.private, ec.EllipticCurvePrivateKey):
        ephemeral = ec.generate_private_key(ec.SECP256R1())
        head["epk"] = {name: value for name, value in public_members(ephemeral).items() if name != "kid"}
        shared = ephemeral.exchange(ec.ECDH(), target.private.public_key())
        content_key, wrapped = _by_agreement(shared, content_key, done_alg, done_enc)
    head = {name: value for name, value in {**head, **(header or {})}.items() if value is not None}
    return sealed(head, wrapped, content_key, text, done_enc)


def sealed(
    head: Mapping[str, Any], wrapped: bytes, content_key: bytes, text: str | bytes, enc: str
) -> Secret:
    """Return a compact JWE whose content is encrypted with `content_key`."""
    protected = b64(json.dumps(head).encode())
    content = text.encode() if isinstance(text, str) else text
    if enc.endswith("GCM"):
        iv = os.urandom(12)
        both = AESGCM(content_key).encrypt(iv, content, protected.encode())
        ciphertext, tag = both[:-16], both[-16:]
    else:
        iv = os.urandom(16)
        half = len(content_key) // 2
        padder, encryptor = PKCS7(128).padder(), Cipher(AES(content_key[half:]), CBC(iv)).encryptor()
        ciphertext = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
        covered = protected.encode() + iv + ciphertext + (len(protected) * 8).to_bytes(8, "big")
        tag = hmac.digest(content_key[:half], covered, f"sha{half * 16}")[:half]
    return Secret(".".join([protected, *map(b64, (wrapped, iv, ciphertext, tag))]))


def _by_rsa(key: rsa.RSAPublicKey, content_key: bytes, alg: str) -> bytes:
    if alg == "RSA1_5":
        return key.encrypt(content_key, PKCS1v15())
    digest = hashes.SHA256 if alg == "RSA-OAEP-256" else hashes.SHA1
    return key.encrypt(content_key, OAEP(MGF1(digest()), digest(), None))


def _by_agreement(shared: bytes, content_key: bytes, alg: str, enc: str) -> tuple[bytes, bytes]:
    wrapping = {"ECDH-ES+A128KW": 16, "ECDH-ES+A256KW": 32}.get(alg, 0)
    length, name = (wrapping, alg) if wrapping else (ENCODINGS[enc], enc)
    info = len(name).to_bytes(4, "big") + name.encode() + bytes(8) + (length * 8).to_bytes(4, "big")
    derived = ConcatKDFHash(hashes.SHA256(), length, info).derive(shared)
    return (content_key, aes_key_wrap(derived, content_key)) if wrapping else (derived, b"")
