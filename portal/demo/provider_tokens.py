"""What the development provider puts into its tokens."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from portal.demo.compact import half_hash, sign_rs256
from portal.demo.faults import Faults
from portal.demo.provider_keys import SigningKeys
from portal.demo.provider_model import Grant, ProviderSettings

JsonObject = dict[str, object]
_ID_TOKEN_SECONDS = 600
_LOGOUT_TOKEN_SECONDS = 120
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed access token and the id it carries."""

    value: str
    jti: str


@dataclass(frozen=True, slots=True)
class TokenMint:
    """Makes and signs the tokens of one provider, with the faults that are switched on."""

    settings: ProviderSettings
    keys: SigningKeys
    faults: Faults

    def access_token(self, grant: Grant, scope: tuple[str, ...], audiences: tuple[str, ...]) -> AccessToken:
        """A JWT access token (RFC 9068 2.2)."""
        now = self.settings.clock()
        jti = secrets.token_urlsafe(16)
        aud = audiences or (self.settings.issuer,)
        claims: JsonObject = {
            "iss": self.settings.issuer,
            "sub": grant.user.subject,
            "aud": aud[0] if len(aud) == 1 else list(aud),
            "client_id": grant.client_id,
            "scope": " ".join(scope),
            "iat": int(now),
            "exp": int(now + self.settings.access_token_seconds),
            "jti": jti,
        }
        if grant.dpop_jkt is not None:
            claims["cnf"] = {"jkt": grant.dpop_jkt}  # RFC 9449 6
        return AccessToken(sign_rs256(self._header("at+jwt"), claims, self.keys.current.key), jti)

    def id_token(self, grant: Grant, access_token: str, *, nonce: str | None) -> str:
        """An ID token (OIDC Core 2 and 3.1.3.6); nonce is None on a refresh (OIDC Core 12.2)."""
        now = self.settings.clock()
        claims: JsonObject = grant.user.claims_for(grant.scope) | {
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
        if nonce is not None:
            claims["nonce"] = nonce
        header = self._header("JWT")
        self.faults.spoil_claims(header, claims, now=now)
        client = self.settings.client(grant.client_id)
        secret = None if client is None else client.client_secret
        return self.faults.sign_id_token(header, claims, self.keys, secret)

    def logout_token(self, client_id: str, *, subject: str, sid: str) -> str:
        """A logout token (Back-Channel Logout 2.4)."""
        now = int(self.settings.clock())
        header = self._header("logout+jwt")
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
        return self.sign_logout_token(header, claims)

    def sign_logout_token(self, header: JsonObject, claims: JsonObject) -> str:
        """Sign a logout token, after its fault had its way with it."""
        if self.faults.mutate_logout_token is not None:
            self.faults.mutate_logout_token(header, claims)
        return sign_rs256(header, claims, self.keys.current.key)

    def _header(self, kind: str) -> JsonObject:
        return {"alg": "RS256", "kid": self.keys.current.kid, "typ": kind}
