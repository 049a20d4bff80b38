"""Server-side checks of DPoP proofs (RFC 9449 4.3), independent of the relying party's code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from portal.clock import Clock
from portal.demo.compact import TokenUnreadable, b64, read, unb64

_TOLERANCE = 60.0
_REMEMBERED = 10_000


class ProofRefused(Exception):
    """The proof is invalid; the message may be shown."""


class DpopNonceRequired(ProofRefused):
    """The proof lacks the server's current nonce."""


class ProofVerifier:
    """Checks the proofs for one server. If `nonce` is set, every proof must contain it.

    `seen` contains the `jti` of every accepted proof.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.nonce: str | None = None
        self.seen: dict[str, None] = {}

    def headers(self) -> list[tuple[str, str]]:
        """Return the response headers with the nonce (RFC 9449 8.2)."""
        return [] if self.nonce is None else [("DPoP-Nonce", self.nonce)]

    def verify(self, proofs: list[str], *, method: str, url: str, access_token: str | None = None) -> str:
        """Return the thumbprint of the key that signed the proof of a request.

        Parameters: proofs, the values of its DPoP headers; url, of the request; access_token, to which the
        proof must be bound.
        Raises: DpopNonceRequired, ProofRefused.
        """
        if len(proofs) != 1:
            raise ProofRefused("There must be one DPoP header.")
        claims, thumbprint = _verified(proofs[0])
        if claims.get("htm") != method or claims.get("htu") != url.partition("?")[0]:
            raise ProofRefused("The proof is for another request.")
        iat = claims.get("iat")
        if not isinstance(iat, int) or abs(self._clock() - iat) > _TOLERANCE:
            raise ProofRefused("The proof is too old, or from the future.")
        if access_token is not None and claims.get("ath") != _hash(access_token):
            raise ProofRefused("The proof is for another access token.")
        if self.nonce is not None and claims.get("nonce") != self.nonce:
            raise DpopNonceRequired("The proof needs this server's nonce.")
        self._once(claims.get("jti"))
        return thumbprint

    def _once(self, jti: object) -> None:
        if not isinstance(jti, str) or jti in self.seen:
            raise ProofRefused("The proof was used before.")
        self.seen[jti] = None
        if len(self.seen) > _REMEMBERED:
            del self.seen[next(iter(self.seen))]


def _verified(proof: str) -> tuple[Mapping[str, object], str]:
    try:
        header, claims = read(proof)
        jwk = header.get("jwk")
        if header.get("typ") != "dpop+jwt" or header.get("alg") != "ES256" or not isinstance(jwk, dict):
            raise ProofRefused("The proof is not a DPoP proof with ES256.")
        if "d" in jwk or jwk.get("kty") != "EC" or jwk.get("crv") != "P-256":
            raise ProofRefused("The proof's key is not a public key on P-256.")
        x, y = str(jwk.get("x")), str(jwk.get("y"))
        point = ec.EllipticCurvePublicNumbers(
            int.from_bytes(unb64(x)), int.from_bytes(unb64(y)), ec.SECP256R1()
        )
        text, _, signature = proof.rpartition(".")
        raw = unb64(signature)
        der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
        point.public_key().verify(der, text.encode(), ec.ECDSA(SHA256()))
    except (TokenUnreadable, InvalidSignature, ValueError) as error:
        raise ProofRefused("The proof cannot be read, or its signature is invalid.") from error
    public = json.dumps({"crv": "P-256", "kty": "EC", "x": x, "y": y}, separators=(",", ":"))
    return claims, _hash(public)


def _hash(text: str) -> str:
    return b64(hashlib.sha256(text.encode()).digest())
