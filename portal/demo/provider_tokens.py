"""Creates the tokens of the development provider."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from portal.demo.compact import JsonObject, half_hash, sign_rs256
from portal.demo.provider_keys import SigningKeys
from portal.demo.provider_model import Grant, ProviderSettings

_ID_TOKEN_SECONDS = 600
_LOGOUT_TOKEN_SECONDS = 120
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed access token and its `jti`."""

    value: str
    jti: str


@dataclass(frozen=True, slots=True)
class TokenMint:
    """Makes and signs the tokens of one provider."""

    settings: ProviderSettings
    keys: SigningKeys

    def access_token(self, grant: Grant, scope: tuple[str, ...], audiences: tuple[str, ...]) -> AccessToken:
        """A JWT access token (RFC 9068 2.2)."""
        claims = self.access_claims(grant, scope, audiences)
        return AccessToken(
            sign_rs256(self._header("at+jwt"), claims, self.keys.current.key), str(claims["jti"])
        )

    def access_claims(self, grant: Grant, scope: tuple[str, ...], audiences: tuple[str, ...]) -> JsonObject:
        """The claims of an access token."""
        now = self.settings.clock()
        aud = audiences or (self.settings.issuer,)
        return self._acr(grant) | {
            "iss": self.settings.issuer,
            "sub": grant.user.subject,
            "auth_time": int(grant.auth_time),  # RFC 9068 2.2.1
            "aud": aud[0] if len(aud) == 1 else list(aud),
            "client_id": grant.client_id,
            "scope": " ".join(scope),
            "iat": int(now),
            "exp": int(now + self.settings.access_token_seconds),
            "jti": secrets.token_urlsafe(16),
        }

    def id_token(self, grant: Grant, access_token: str, *, nonce: str | None) -> str:
        """An ID token (OIDC Core 2 and 3.1.3.6); nonce is None on a refresh (OIDC Core 12.2)."""
        now = self.settings.clock()
        claims: JsonObject = (
            grant.user.claims_for(grant.scope)
            | self._acr(grant)
            | {
                "iss": self.settings.issuer,
                "sub": grant.user.subject,
                "aud": grant.client_id,
                "azp": grant.client_id,
                "iat": int(now),
                "exp": int(now) + _ID_TOKEN_SECONDS,
                "auth_time": int(grant.auth_time),
                "sid": grant.sid,
                "at_hash": half_hash(access_token),
            }
        )
        if nonce is not None:
            claims["nonce"] = nonce
        return self.sign_id_token(self._header("JWT"), claims)

    def sign_id_token(self, header: JsonObject, claims: JsonObject) -> str:
        """Sign an ID token."""
        return sign_rs256(header, claims, self.keys.current.key)

    def logout_token(self, client_id: str, *, subject: str, sid: str) -> str:
        """A logout token (Back-Channel Logout 2.4)."""
        now = int(self.settings.clock())
        claims: JsonObject = {
            "iss": self.settings.issuer,
            "sub": subject,
            "aud": client_id,
            "iat": now,
            "exp": now + _LOGOUT_TOKEN_SECONDS,
            "jti": secrets.token_urlsafe(16),
            "sid": sid,
            "events": {_LOGOUT_EVENT: {}},
        }
        return self.sign_logout_token(self._header("logout+jwt"), claims)

    def sign_logout_token(self, header: JsonObject, claims: JsonObject) -> str:
        """Sign a logout token."""
        return sign_rs256(header, claims, self.keys.current.key)

    def _acr(self, grant: Grant) -> JsonObject:
        return {} if grant.acr is None else {"acr": grant.acr}

    def _header(self, kind: str) -> JsonObject:
        return {"alg": "RS256", "kid": self.keys.current.kid, "typ": kind}
