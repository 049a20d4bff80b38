"""Providers that run as Python programs: many tests share one, each with a portal and a client of its own."""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from portal.oidc.provider import TokenSet
from tests.integration.child import Child
from tests.integration.foreign import ForeignPortal, FrontDoor, foreign_portal
from tests.integration.ways import printed_metadata
from tests.kit.browser import Browser, Form, Response, origin
from tests.kit.world import OffsetClock

SECRET = "of-letters-alone-as-most-providers-make-them"


@dataclass(frozen=True, slots=True)
class Registration:
    """How the portal and the provider are told of each other.

    `client` and `file` are keys of the tenant file; `told` is what the provider hears beyond what the portal
    prints for it, and None takes something away.
    """

    client: Mapping[str, object]
    file: Mapping[str, object] = field(default_factory=dict)
    told: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SharedProvider:
    """A provider in a child process, as a test sees it.

    Parameters: userinfo, the path of its UserInfo endpoint below the issuer; scopes, what a sign-in asks for;
    sign_out_button, the name of the button on its page that asks whether to sign out.
    """

    issuer: str
    userinfo: str
    scopes: tuple[str, ...]
    sign_out_button: str

    async def add_user(self, name: str) -> None:
        """Have it know somebody more, whose password is the name."""
        claims = {"name": "Ada <Lovelace>", "email": "ada@acme.example", "email_verified": True}
        await self._administer("users", {name: claims})

    async def register(self, metadata: Mapping[str, object]) -> None:
        """Register a client (OIDC Registration 2) with the id and the secret that it has."""
        await self._administer("clients", metadata)

    async def change_keys(self, *, keep: bool) -> None:
        """Sign with new keys from now on. Parameters: keep, whether the old ones stay published."""
        await self._administer("keys", {"keep": keep})

    async def let_in(self, browser: Browser, page: Response, user: str) -> Response:
        """Sign in and consent as far as the provider asks; send the form that its script would send."""
        while page.url.startswith(origin(self.issuer)):
            if form := _form_with_field(page, "password"):
                page = await browser.submit(form, {"username": user, "password": user})
            elif form := _form_with_button(page, "allow"):
                page = await browser.submit(form, button="allow")
            else:
                page = await browser.submit(page.form("/callback"))
        return page

    async def confirm_sign_out(self, browser: Browser, page: Response) -> Response:
        """Press the button on the page that asks whether to sign out."""
        form = _form_with_button(page, self.sign_out_button)
        assert form is not None, page.text[:2000]
        return await browser.submit(form, button=self.sign_out_button)

    async def metadata(self) -> dict[str, object]:
        """What the provider says of itself (OIDC Discovery 4.2)."""
        with _outsider() as browser:
            response = await browser.open(f"{self.issuer}/.well-known/openid-configuration")
        document: dict[str, object] = json.loads(response.body)
        return document

    async def _administer(self, what: str, document: Mapping[str, object]) -> None:
        headers = {"Content-Type": "application/json"}
        url = f"{origin(self.issuer)}/admin/{what}"
        with _outsider() as browser:
            response = await browser.fetch(
                url, "POST", headers=headers, body=json.dumps(document), site=None, csrf=False
            )
        assert response.status == 200, response.text[-2000:]


@dataclass(frozen=True, slots=True)
class SharedProviderWorld:
    """The tenant `acme` at a provider, whose UserInfo is the tenant's API, and the portal."""

    portal: ForeignPortal
    provider: SharedProvider
    users: tuple[str, str]

    async def sign_in(self, browser: Browser, user: int = 0) -> Response:
        """Sign in as a person would; ends at the tenant's home. Parameters: user, which one of `users`."""
        page = await self.portal.begin(browser, "acme")
        page = await self.provider.let_in(browser, page, self.users[user])
        assert page.url == self.portal.at("/t/acme/"), (urlsplit(page.url).path, page.text[:3000])
        assert page.status == 200
        return page

    async def call(self, browser: Browser) -> Response:
        """Call the tenant's API."""
        return await self.portal.call(browser, "acme", self.provider.userinfo)

    async def renew(self, browser: Browser) -> TokenSet:
        """Call the API when the access token has expired, which must work; returns the new token set."""
        before = await self.portal.tokens_of(browser, "acme")
        await self.portal.expire_access_token(browser, "acme")
        response = await self.call(browser)
        assert response.status == 200, response.text
        after = await self.portal.tokens_of(browser, "acme")
        assert after.access_token != before.access_token
        return after

    async def sign_out(self, browser: Browser) -> Response:
        """Sign out here and at the provider, and come back."""
        asked = await self.portal.sign_out(browser, "acme")
        back = await self.provider.confirm_sign_out(browser, asked)
        assert back.url == self.portal.at("/t/acme/signed-out"), back.text[:2000]
        assert await self.portal.signed_in_at(browser) == []
        return back


def start_program(module: str, output: Path, **configuration: object) -> Child:
    """Start a provider of this folder without waiting for it.

    Parameters: output, a folder for what it prints; configuration, as the module says.
    """
    command = (sys.executable, "-m", f"tests.integration.{module}")
    return Child(module, command, output, first_line=json.dumps(configuration))


async def issuer_of(child: Child) -> str:
    """Wait until the provider serves; returns its issuer."""
    return await child.ready(
        lambda: child.output.strip() if child.output.endswith("\n") else None, seconds=60
    )


@contextlib.asynccontextmanager
async def shared_provider_world(
    provider: SharedProvider, folder: Path, registration: Registration
) -> AsyncIterator[SharedProviderWorld]:
    """Register a new client for a new portal, and two new users; serve the portal while the block runs."""
    client_id, door = f"portal-{secrets.token_hex(8)}", FrontDoor()
    users = (f"ada-of-{client_id}", f"byron-of-{client_id}")
    tenants = {"acme": _tenant_file(provider, client_id, registration)}
    metadata = {
        **printed_metadata(folder, tenants, door),
        "client_secret": SECRET,
        **registration.told,
    }
    try:
        for user in users:
            await provider.add_user(user)
        await provider.register({name: value for name, value in metadata.items() if value is not None})
    except BaseException:
        door.close()
        raise
    async with foreign_portal(folder, tenants, door, OffsetClock()) as portal:
        yield SharedProviderWorld(portal, provider, users)


def _tenant_file(provider: SharedProvider, client_id: str, registration: Registration) -> str:
    secret = {"secret": SECRET} if str(registration.client["auth"]).startswith("client_secret") else {}
    file = {
        "name": "Acme Inc.",
        "issuer": provider.issuer,
        "client": {"id": client_id, **secret, **registration.client},
        "scopes": list(provider.scopes),
        "api": {"base_url": provider.issuer},
    }
    return yaml.safe_dump({**file, **registration.file}, sort_keys=False)


@contextlib.contextmanager
def _outsider() -> Iterator[Browser]:
    browser = Browser()
    try:
        yield browser
    finally:
        browser.close()


def _form_with_field(page: Response, name: str) -> Form | None:
    return next((form for form in page.forms if name in dict(form.fields)), None)


def _form_with_button(page: Response, name: str) -> Form | None:
    return next((form for form in page.forms if name in dict(form.buttons)), None)
