"""Reads DPoP proofs as a server does, independently of the portal's code (RFC 9449 4.3)."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from tests.unit.outbound.wire import Received


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof with a valid signature; `thumbprint` is that of its key (RFC 7638)."""

    header: dict[str, Any]
    claims: dict[str, Any]
    thumbprint: str


def read_proof(text: str) -> Proof:
    """Read a proof. Raises InvalidSignature when the key in its header did not sign it."""
    signed, _, signature = text.rpartition(".")
    head, claims = (json.loads(_bytes(part)) for part in signed.split("."))
    key, raw = head["jwk"], _bytes(signature)
    assert len(raw) == 64
    x, y = (int.from_bytes(_bytes(key[name])) for name in ("x", "y"))
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    public.verify(der, signed.encode(), ec.ECDSA(SHA256()))
    members = {name: key[name] for name in ("crv", "kty", "x", "y")}
    return Proof(head, claims, text_of(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode())))


def proof_of(request: Received) -> Proof:
    """Return the only proof of a request."""
    (value,) = [value for name, value in request.headers if name.lower() == "dpop"]
    return read_proof(value)


def ath_of(token: str) -> str:
    """Return `ath` of an access token (RFC 9449 4.2)."""
    return text_of(hashlib.sha256(token.encode()))


def text_of(digest: Any) -> str:
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
