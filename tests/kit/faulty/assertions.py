"""Client assertions at the provider (private_key_jwt: OIDC Core 9, RFC 7523 3)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from portal.demo.compact import TokenUnreadable, read, unb64

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_REMEMBERED = 10_000


async def fetch_keys(jwks_uri: str) -> list[Mapping[str, object]]:
    """Return the published keys of a client; raises TokenUnreadable."""
    http = AsyncHTTPClient(force_instance=True)
    try:
        response = await http.fetch(jwks_uri, connect_timeout=3.0, request_timeout=3.0)
        keys = json.loads(response.body)["keys"]
    except (OSError, HTTPClientError, ValueError, KeyError) as error:
        raise TokenUnreadable("the keys of the client cannot be fetched") from error
    finally:
        http.close()
    return [key for key in keys if isinstance(key, dict)]


class AssertionVerifier:
    """Checks assertions signed with ES256; each is accepted once."""

    def __init__(self) -> None:
        self._seen: dict[str, None] = {}

    async def check(
        self,
        assertion: str,
        client_id: str,
        jwks_uri: str | None,
        *,
        audiences: Collection[str],
        now: float,
    ) -> None:
        """Check the assertion of one request.

        Parameters: jwks_uri, of the client; audiences, the accepted values of `aud`; now, seconds since the
        epoch, UTC.
        Raises: TokenUnreadable, with the violated rule.
        """
        if jwks_uri is None:
            raise TokenUnreadable("the client has no keys")
        header, _ = read(assertion)
        keys = [key for key in await fetch_keys(jwks_uri) if key.get("kid") == header.get("kid")]
        if len(keys) != 1:
            raise TokenUnreadable("the client has no key with this kid")
        claims = _verified_es256(assertion, keys[0])
        if claims.get("iss") != client_id or claims.get("sub") != client_id:
            raise TokenUnreadable("iss or sub is not the client")
        if claims.get("aud") not in audiences:
            raise TokenUnreadable("aud is not accepted by this provider")
        exp = claims.get("exp")
        if not isinstance(exp, int) or not now < exp <= now + 300:
            raise TokenUnreadable("exp is missing, in the past, or too far in the future")
        self._once(claims.get("jti"))

    def _once(self, jti: object) -> None:
        if not isinstance(jti, str) or jti in self._seen:
            raise TokenUnreadable("jti is missing or was used before")
        self._seen[jti] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]


def _verified_es256(token: str, key: Mapping[str, object]) -> dict[str, object]:
    header, claims = read(token)
    if header.get("alg") != "ES256" or key.get("use") != "sig" or key.get("crv") != "P-256":
        raise TokenUnreadable("not ES256 with a signing key")
    x, y = (int.from_bytes(unb64(str(key.get(name)))) for name in ("x", "y"))
    text, _, signature = token.rpartition(".")
    raw = unb64(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    try:
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        public.verify(der, text.encode(), ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError) as error:
        raise TokenUnreadable("the signature is invalid") from error
    return claims
