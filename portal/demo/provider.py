"""A development OpenID provider.

It is a complete provider (code flow with PKCE, consent, rotation with reuse detection, logout), but it keeps
its state in memory only, and can show passwords. It must never serve real users. It shares no code with the
relying party, so that each detects mistakes of the other. `provider_routes` serves it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from portal.demo.compact import JsonObject
from portal.demo.provider_authorize import ACR_VALUES
from portal.demo.provider_keys import SigningKeys
from portal.demo.provider_model import (
    IDENTITY_SCOPES,
    TOKEN_EXCHANGE,
    BrowserSession,
    ClientRegistration,
    ProviderSettings,
)
from portal.demo.provider_state import ProviderState
from portal.demo.provider_tokens import TokenMint
from portal.demo.provider_words import LANGUAGES

_log = structlog.get_logger("portal.demo")
DELIVERY_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """The result of sending one logout token. `status` is None without a response."""

    client_id: str
    status: int | None


class DevelopmentProvider:
    """One OpenID provider with its own users, clients, keys and page design.

    Parameters: settings; key, the RSA signing key.
    """

    def __init__(self, settings: ProviderSettings, key: RSAPrivateKey) -> None:
        self.settings = settings
        self.keys = SigningKeys(key)
        self.state = ProviderState(settings)
        self.mint = TokenMint(settings, self.keys)

    @property
    def issuer(self) -> str:
        """The issuer, exactly as in metadata and tokens."""
        return self.settings.issuer

    @property
    def session_cookie(self) -> str:
        """The name of the session cookie."""
        return f"{self.settings.id}_provider_session"

    def metadata(self) -> JsonObject:
        """The provider's metadata (OIDC Discovery 3)."""
        base = self.settings.base_url
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "jwks_uri": f"{base}/jwks",
            "revocation_endpoint": f"{base}/revoke",
            "end_session_endpoint": f"{base}/logout",
            "response_types_supported": ["code"],
            "response_modes_supported": [*self.settings.response_modes],
            "request_uri_parameter_supported": False,
            "grant_types_supported": [
                *("authorization_code", "refresh_token", "client_credentials", TOKEN_EXCHANGE)
            ],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "code_challenge_methods_supported": ["S256"],
            "ui_locales_supported": [*LANGUAGES],
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
            "acr_values_supported": [*ACR_VALUES],
            "claims_parameter_supported": True,
            "scopes_supported": [*IDENTITY_SCOPES, *self.settings.api_scopes],
            "claims_supported": [
                "sub",
                "name",
                "preferred_username",
                "email",
                "roles",
                "sid",
                "auth_time",
                "acr",
            ],
            "authorization_response_iss_parameter_supported": True,
            "backchannel_logout_supported": True,
            "backchannel_logout_session_supported": True,
        }

    def key_set(self) -> JsonObject:
        """The public keys (RFC 7517 5)."""
        return self.keys.jwks()

    async def sign_out(self, session: BrowserSession) -> list[Delivery]:
        """End a browser's session, and notify every client with a `backchannel_logout_uri`."""
        self.state.end_session(session)
        return await _deliver(
            (client, self.mint.logout_token(client.client_id, subject=session.user.subject, sid=session.sid))
            for client in self.settings.clients
            if client.client_id in session.clients and client.backchannel_logout_uri
        )


async def _deliver(tokens: Iterable[tuple[ClientRegistration, str]]) -> list[Delivery]:
    """Send logout tokens to their clients in parallel, each with a timeout of DELIVERY_SECONDS."""
    http = AsyncHTTPClient(force_instance=True)
    try:
        return await asyncio.gather(*(_deliver_one(http, client, token) for client, token in tokens))
    finally:
        http.close()


async def _deliver_one(http: AsyncHTTPClient, client: ClientRegistration, token: str) -> Delivery:
    request = HTTPRequest(
        client.backchannel_logout_uri or "",
        method="POST",
        body=urlencode({"logout_token": token}),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        connect_timeout=DELIVERY_SECONDS,
        request_timeout=DELIVERY_SECONDS,
        follow_redirects=False,
    )
    try:
        response = await http.fetch(request, raise_error=False)
        status = None if response.code == 599 else response.code
    except (OSError, HTTPClientError):
        status = None
    if status not in (200, 204):
        _log.warning("logout_token_not_accepted", client=client.client_id, status=status)
    return Delivery(client.client_id, status)
