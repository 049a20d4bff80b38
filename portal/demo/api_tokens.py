"""Verifies access tokens as an API should, without the relying party's code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from portal.clock import Clock
from portal.demo.compact import TokenUnreadable, key_of_jwk, read, verify_rs256

_KEYS_SECONDS = 300.0
_REFETCH_SECONDS = 5.0


class TokenRefused(Exception):
    """The access token is not valid for this API. The message may be shown."""


class KeysUnavailable(Exception):
    """The provider's keys cannot be fetched."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller that the access token identifies."""

    subject: str
    scope: frozenset[str]
    claims: Mapping[str, object]


class AccessTokenVerifier:
    """Verifies access tokens of one issuer for one audience (RFC 9068 4).

    Keys are fetched from `jwks_uri` when first needed, cached for five minutes, and fetched again for a token
    with an unknown `kid`.
    """

    def __init__(self, *, issuer: str, audience: str, jwks_uri: str, clock: Clock) -> None:
        self._issuer = issuer
        self._audience = audience
        self._jwks_uri = jwks_uri
        self._clock = clock
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetched_at = float("-inf")
        self._fetching: asyncio.Future[None] | None = None

    async def verify(self, token: str) -> Caller:
        """Return the caller of a valid token. Raises TokenRefused or KeysUnavailable."""
        try:
            kid = read(token)[0].get("kid")
            if not isinstance(kid, str):
                raise TokenRefused("The access token names no key.")
            claims = verify_rs256(token, await self._key(kid))
        except TokenUnreadable as error:
            raise TokenRefused("The access token was not signed by this organisation's provider.") from error
        self._check(claims)
        return Caller(str(claims["sub"]), frozenset(str(claims.get("scope", "")).split()), claims)

    def _check(self, claims: Mapping[str, object]) -> None:
        aud, exp = claims.get("aud"), claims.get("exp")
        if claims.get("iss") != self._issuer:
            raise TokenRefused("The access token has another issuer.")
        if self._audience not in (aud if isinstance(aud, list) else [aud]):
            raise TokenRefused("The access token is for another API.")
        if not isinstance(exp, int) or self._clock() >= exp:
            raise TokenRefused("The access token has expired.")
        if not isinstance(claims.get("sub"), str):
            raise TokenRefused("The access token names no subject.")

    async def _key(self, kid: str) -> RSAPublicKey:
        age = self._clock() - self._fetched_at
        if age > _KEYS_SECONDS or (kid not in self._keys and age > _REFETCH_SECONDS):
            await self._fetch_once()
        if kid not in self._keys:
            raise TokenRefused("The access token is signed with a key that is not published.")
        return self._keys[kid]

    async def _fetch_once(self) -> None:
        if self._fetching is None:
            self._fetching = asyncio.ensure_future(self._fetch())
            self._fetching.add_done_callback(self._fetched)
        await asyncio.shield(self._fetching)

    def _fetched(self, _: asyncio.Future[None]) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        http = AsyncHTTPClient(force_instance=True)
        try:
            response = await http.fetch(self._jwks_uri, request_timeout=5.0, connect_timeout=5.0)
            jwks = json.loads(response.body)["keys"]
            # RFC 7517 5: ignore keys of unsupported types
            self._keys = {str(jwk["kid"]): key_of_jwk(jwk) for jwk in jwks if jwk.get("kty") == "RSA"}
        except (OSError, HTTPClientError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise KeysUnavailable("The provider's keys cannot be fetched.") from error
        finally:
            http.close()
        self._fetched_at = self._clock()
