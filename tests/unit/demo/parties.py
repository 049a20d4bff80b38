"""A running provider, and a minimal client that can also send invalid requests."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from portal.demo.compact import read
from portal.demo.provider_model import IDENTITY_SCOPES, ClientRegistration, ProviderSettings, UserAccount
from tests.kit.browser import Browser, Response, origin
from tests.kit.faulty.provider import FaultyProvider
from tests.kit.faulty.provider_handlers import faulty_provider_application

CALLBACK = "http://localhost:9/t/acme/callback"
SIGNED_OUT = "http://localhost:9/t/acme/signed-out"
SECRET = "a secret: with/specials+%"
VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
API_SCOPES = {"read:orders": "See the orders", "write:orders": "Place orders"}
SCOPE = " ".join([*IDENTITY_SCOPES, *API_SCOPES])

ALICE = UserAccount(
    "alice", "pw-alice", "sub-alice", "Alice Archer", "alice@acme.example", ("sales",), frozenset(API_SCOPES)
)
BOB = UserAccount("bob", "pw-bob", "sub-bob", "Bob Baker", "bob@acme.example")
CLIENT = ClientRegistration(
    client_id="the portal",
    client_secret=SECRET,
    redirect_uris=(CALLBACK,),
    post_logout_redirect_uris=(SIGNED_OUT,),
    audiences=("https://api.acme.example", "https://reports.acme.example"),
    scopes=(*IDENTITY_SCOPES, *API_SCOPES),
)
PUBLIC = ClientRegistration(client_id="public", client_secret=None, redirect_uris=(CALLBACK,))


@asynccontextmanager
async def serving(key: RSAPrivateKey, *, path: str = "", **changes: Any) -> AsyncIterator[Party]:
    """A provider on a free port, with a browser and a registered client."""
    sockets = bind_sockets(0, address="127.0.0.1")
    settings = ProviderSettings(
        id="acme",
        name="Acme",
        issuer=f"http://127.0.0.1:{sockets[0].getsockname()[1]}{path}",
        clients=(CLIENT, PUBLIC),
        users=(ALICE, BOB),
        api_scopes=API_SCOPES,
    )
    provider = FaultyProvider(replace(settings, **changes), key)
    server = HTTPServer(faulty_provider_application(provider))
    server.add_sockets(sockets)
    party = Party(provider)
    try:
        yield party
    finally:
        party.close()
        server.stop()
        await server.close_all_connections()


class Party:
    """A client and a browser at one provider."""

    def __init__(self, provider: FaultyProvider) -> None:
        self.provider = provider
        self.browser = Browser()
        self.http = AsyncHTTPClient(force_instance=True)

    def close(self) -> None:
        self.browser.close()
        self.http.close()

    def url(self, path: str, **parameters: object) -> str:
        query = urlencode({k: v for k, v in parameters.items() if v is not None}, doseq=True)
        return f"{self.provider.settings.base_url}{path}?{query}"

    def authorize_url(self, **changes: object) -> str:
        parameters: dict[str, object] = {
            "response_type": "code",
            "client_id": CLIENT.client_id,
            "redirect_uri": CALLBACK,
            "scope": SCOPE,
            "state": "the-state",
            "nonce": "the-nonce",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return self.url("/authorize", **{**parameters, **changes})

    async def ask(self, **changes: object) -> Response:
        """Send the browser to the authorization endpoint. Follows no redirect."""
        return await self.browser.step(self.authorize_url(**changes))

    async def sign_in(
        self, username: str = "alice", password: str = "pw-alice", **changes: object
    ) -> dict[str, str]:
        """Sign in, with the form if it is shown. Returns the parameters of the authorization response."""
        return returned(await self.fill_in(username, password, **changes))

    async def fill_in(self, username: str, password: str, **changes: object) -> Response:
        """Send the sign-in form if it is shown. Follows no redirect."""
        response = await self.ask(**changes)
        if response.headers.get("Location", "").startswith(CALLBACK):
            return response
        page = await self.browser.step(self.absolute(response.headers["Location"]))
        return await self.send_form(page, username=username, password=password)

    async def send_form(self, page: Response, button: str = "", **values: str) -> Response:
        """Send the first form of a page with these values. Follows no redirect."""
        form = page.forms[0]
        fields = [pair for pair in form.fields if pair[0] not in values] + list(values.items())
        fields += [pair for pair in form.buttons if pair[0] and pair[0] == button]
        return await self.browser.step(self.absolute(form.action), "POST", urlencode(fields))

    async def follow(self, response: Response) -> Response:
        """Follow one redirect of the provider to itself."""
        return await self.browser.step(self.absolute(response.headers["Location"]))

    def absolute(self, location: str) -> str:
        return f"{origin(self.provider.issuer)}{location}" if location.startswith("/") else location

    async def post(
        self, path: str, parameters: dict[str, Any], *, basic: tuple[str, str] | None = None
    ) -> HTTPResponse:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if basic is not None:
            pair = f"{quote(basic[0], safe='')}:{quote(basic[1], safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return await self.http.fetch(
            f"{self.provider.settings.base_url}{path}",
            method="POST",
            headers=headers,
            body=urlencode({k: v for k, v in parameters.items() if v is not None}, doseq=True),
            raise_error=False,
        )

    async def token(self, **parameters: Any) -> HTTPResponse:
        return await self.post("/token", parameters, basic=(CLIENT.client_id, SECRET))

    async def exchange(self, code: str, **changes: Any) -> HTTPResponse:
        parameters = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
        }
        return await self.token(**{**parameters, **changes})

    async def refresh(self, refresh_token: str, **changes: Any) -> HTTPResponse:
        return await self.token(grant_type="refresh_token", refresh_token=refresh_token, **changes)

    async def tokens(
        self, username: str = "alice", password: str = "pw-alice", **changes: object
    ) -> dict[str, str]:
        """Sign in and exchange the code."""
        response = await self.sign_in(username, password, **changes)
        received: dict[str, str] = document(await self.exchange(response["code"]))
        return received

    async def get(self, path: str, token: str | None = None) -> HTTPResponse:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.http.fetch(
            f"{self.provider.settings.base_url}{path}", headers=headers, raise_error=False
        )


def returned(response: Response) -> dict[str, str]:
    """The parameters of a redirect to the callback."""
    location = response.headers["Location"]
    assert location.startswith(f"{CALLBACK}?"), urlsplit(location).path
    assert all(len(values) == 1 for values in parse_qs(urlsplit(location).query).values())
    return dict(parse_qsl(urlsplit(location).query))


def document(response: HTTPResponse) -> Any:
    assert response.code == 200, response.code
    return json.loads(response.body)


def error(response: HTTPResponse) -> str:
    assert response.headers["Cache-Control"] == "no-store"
    return str(json.loads(response.body)["error"])


def claims(token: str) -> dict[str, Any]:
    return read(token)[1]
