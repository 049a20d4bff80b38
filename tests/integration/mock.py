"""The PyPI package `oidc-provider-mock` in a child process."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.integration.child import Child
from tests.kit.browser import Browser, Response

NAME = "oidc-provider-mock"
"""Name of the provider in docs/interoperability.yaml."""
ACCESS_TOKEN_SECONDS = 300
_ACCOUNTS = {
    "ada": {
        "name": "Ada <Lovelace>",
        "email": "ada@umbrella.example",
        "email_verified": True,
        "department": "Engines",
    }
}


@dataclass(frozen=True, slots=True)
class Registered:
    """The portal's client at the provider."""

    client_id: str
    client_secret: str
    auth: str


class MockProvider:
    """The provider's pages and its administration."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self._client = Browser()

    @property
    def jwks_uri(self) -> str:
        return f"{self.issuer}/jwks"

    async def register(self, callback: str, auth: str) -> Registered:
        """Register the portal as a client (RFC 7591)."""
        requested = {"redirect_uris": [callback], "token_endpoint_auth_method": auth}
        response = await self._send("POST", "/oauth2/clients", requested)
        assert response.status == 201, response.text
        given = json.loads(response.body)
        return Registered(given["client_id"], given["client_secret"], auth)

    async def complete_sign_in(self, browser: Browser, page: Response, subject: str = "ada") -> Response:
        """Sign in with the button of a user."""
        assert page.url.startswith(f"{self.issuer}/oauth2/authorize?"), page.url
        form = next(form for form in page.forms if ("sub", subject) in form.buttons)
        return await browser.submit(form, button="sub")

    async def deny(self, browser: Browser, page: Response) -> Response:
        """Press the deny button."""
        form = next(form for form in page.forms if ("action", "deny") in form.buttons)
        return await browser.submit(form, button="action")

    async def revoke_tokens(self, subject: str = "ada") -> None:
        """Revoke all tokens of a user, as an administrator would."""
        response = await self._send("POST", f"/users/{subject}/revoke-tokens", {})
        assert response.status == 204

    def close(self) -> None:
        self._client.close()

    async def _send(self, method: str, path: str, document: object) -> Response:
        headers = {"Content-Type": "application/json"}
        body = json.dumps(document)
        return await self._client.fetch(
            f"{self.issuer}{path}", method, headers=headers, body=body, site=None, csrf=False
        )


def tenant_file(issuer: str, registered: Registered, api_url: str, options: Mapping[str, object]) -> str:
    """Return the tenant file; `options` are additional keys."""
    return yaml.safe_dump(
        {
            "name": "Umbrella Ltd",
            "issuer": issuer,
            "client": {
                "id": registered.client_id,
                "secret": registered.client_secret,
                "auth": registered.auth,
            },
            "scopes": ["openid", "profile", "email", "offline_access"],
            "api": {"base_url": api_url},
            **options,
        }
    )


def start_mock(folder: Path) -> Child:
    """Start the provider without waiting for it; tests can share it."""
    config = {"accounts": _ACCOUNTS, "access_token_seconds": ACCESS_TOKEN_SECONDS}
    command = (sys.executable, "-m", "tests.integration.mock_provider")
    return Child("oidc-provider-mock", command, folder, first_line=json.dumps(config))


@contextlib.asynccontextmanager
async def mock_provider(child: Child) -> AsyncIterator[MockProvider]:
    """The provider in `child`, for one test."""
    issuer = str(await child.ready(lambda: child.output.endswith("\n") and child.output.strip()))
    provider = MockProvider(issuer)
    try:
        yield provider
    finally:
        provider.close()
        print(child.errors)
