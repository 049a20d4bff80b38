"""A provider that notifies the portal of a logout, with valid or invalid requests."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from portal.demo.compact import JsonObject
from tests.kit.browser import Browser, Response
from tests.kit.world import World

Change = Callable[[JsonObject, JsonObject], None]


@dataclass
class Provider:
    """The provider of one tenant, as a client of the portal's logout endpoints."""

    world: World
    tenant: str = "acme"
    caller: Browser = field(default_factory=Browser)

    def token(self, *, sid: str, subject: str = "acme-001", change: Change | None = None) -> str:
        """Return a logout token of this provider for the portal; `change` modifies header and claims."""
        provider = self.world.provider(self.tenant)
        provider.faults.mutate_logout_token = change
        try:
            client = provider.settings.clients[0].client_id
            return provider.mint.logout_token(client, subject=subject, sid=sid)
        finally:
            provider.faults.mutate_logout_token = None

    async def tell(self, token: str, *, tenant: str | None = None, url: str | None = None) -> Response:
        """Send a logout token to the tenant's endpoint or to `url`."""
        at = url or self.world.at(f"/t/{tenant or self.tenant}/backchannel-logout")
        return await self.send(urlencode({"logout_token": token}), at)

    async def send(self, body: str | bytes, url: str, **headers: str) -> Response:
        """Send any body as a server would, without cookies and browser headers."""
        return await self.caller.fetch(url, "POST", body=body, headers=headers, site=None, csrf=False)

    async def frame(self, tenant: str | None = None, **parameters: str) -> Response:
        """Load the front-channel endpoint as a frame of the provider's page, without cookies."""
        query = urlencode(parameters)
        url = self.world.at(f"/t/{tenant or self.tenant}/frontchannel-logout?{query}")
        return await self.caller.fetch(
            url, headers={"Sec-Fetch-Dest": "iframe"}, site="cross-site", csrf=False
        )

    @property
    def issuer(self) -> str:
        return self.world.provider(self.tenant).issuer


async def sid_of(world: World, browser: Browser, tenant: str = "acme") -> str:
    """Return the `sid` in the ID token of a browser's login."""
    login = await world.login_of(browser, tenant)
    assert login is not None
    token = world.running.tokens.open(login).id_token
    assert token is not None
    payload = token.reveal().split(".")[1]
    sid: str = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sid"]
    return sid


def set_claims(**claims: Any) -> Change:
    """Return a change that sets claims and removes those with the value None."""

    def change(header: JsonObject, claims_in_token: JsonObject) -> None:
        for name, value in claims.items():
            claims_in_token.pop(name, None)
            if value is not None:
                claims_in_token[name] = value

    return change


def set_header(**members: Any) -> Change:
    """Return a change that sets header members."""

    def change(header: JsonObject, claims_in_token: JsonObject) -> None:
        header.update(members)

    return change


def refusal(response: Response) -> Mapping[str, str]:
    """Check the form of an error response (Back-Channel Logout 2.8) and return its members."""

    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    members: dict[str, str] = json.loads(response.body)
    assert set(members) == {"error", "error_description", "request_id"}
    assert members["request_id"] == response.headers["X-Request-Id"]
    return members


async def calls(world: World, browser: Browser, tenant: str = "acme") -> int:
    """Return the status of an API call of a browser."""
    path = "orders" if tenant == "acme" else "projects"
    return (await browser.fetch(world.at(f"/t/{tenant}/api/{path}"))).status
