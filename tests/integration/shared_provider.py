"""Providers in child processes that several tests share, each test with its own portal and client."""

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
from tests.integration.local_portal import LocalPortal, PortalAddress, local_portal
from tests.integration.registrations import printed_metadata
from tests.kit.browser import Browser, Form, Response, origin
from tests.kit.world import OffsetClock

SECRET = "of-letters-alone-as-most-providers-make-them"


@dataclass(frozen=True, slots=True)
class Registration:
    """The registration of the portal at the provider.

    `client` and `file` are keys of the tenant file; `metadata` overrides the client metadata that the portal
    prints, and None removes a member.
    """

    client: Mapping[str, object]
    file: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SharedProvider:
    """A provider in a child process.

    Parameters: userinfo, the path of its UserInfo endpoint relative to the issuer; scopes, requested at
    sign-in; sign_out_button, the name of the button that confirms a sign-out.
    """

    issuer: str
    userinfo: str
    scopes: tuple[str, ...]
    sign_out_button: str

    async def add_user(self, name: str) -> None:
        """Add a user whose password is the name."""
        claims = {"name": "Ada <Lovelace>", "email": "ada@acme.example", "email_verified": True}
        await self._administer("users", {name: claims})

    async def register(self, metadata: Mapping[str, object]) -> None:
        """Register a client (OIDC Registration 2) with the id and secret in `metadata`."""
        await self._administer("clients", metadata)

    async def change_keys(self, *, keep: bool) -> None:
        """Change the signing keys. Parameters: keep, whether the old ones stay published."""
        await self._administer("keys", {"keep": keep})

    async def complete_sign_in(self, browser: Browser, page: Response, user: str) -> Response:
        """Sign in and consent if required; submit the form that the provider's script would submit."""
        while page.url.startswith(origin(self.issuer)):
            if form := _form_with_field(page, "password"):
                page = await browser.submit(form, {"username": user, "password": user})
            elif form := _form_with_button(page, "allow"):
                page = await browser.submit(form, button="allow")
            else:
                page = await browser.submit(page.form("/callback"))
        return page

    async def confirm_sign_out(self, browser: Browser, page: Response) -> Response:
        """Press the button that confirms the sign-out."""
        form = _form_with_button(page, self.sign_out_button)
        assert form is not None, page.text[:2000]
        return await browser.submit(form, button=self.sign_out_button)

    async def metadata(self) -> dict[str, object]:
        """Return the provider metadata (OIDC Discovery 4.2)."""
        with _client() as browser:
            response = await browser.open(f"{self.issuer}/.well-known/openid-configuration")
        document: dict[str, object] = json.loads(response.body)
        return document

    async def _administer(self, what: str, document: Mapping[str, object]) -> None:
        headers = {"Content-Type": "application/json"}
        url = f"{origin(self.issuer)}/admin/{what}"
        with _client() as browser:
            response = await browser.fetch(
                url, "POST", headers=headers, body=json.dumps(document), site=None, csrf=False
            )
        assert response.status == 200, response.text[-2000:]


@dataclass(frozen=True, slots=True)
class SharedProviderWorld:
    """The tenant `acme` at a provider, with the provider's UserInfo as the tenant's API, and the portal."""

    portal: LocalPortal
    provider: SharedProvider
    users: tuple[str, str]

    async def sign_in(self, browser: Browser, user: int = 0) -> Response:
        """Sign in through the pages; return the tenant's home page. Parameters: user, an index of `users`."""
        page = await self.portal.begin(browser, "acme")
        page = await self.provider.complete_sign_in(browser, page, self.users[user])
        assert page.url == self.portal.at("/t/acme/"), (urlsplit(page.url).path, page.text[:3000])
        assert page.status == 200
        return page

    async def call(self, browser: Browser) -> Response:
        """Call the tenant's API."""
        return await self.portal.call(browser, "acme", self.provider.userinfo)

    async def renew(self, browser: Browser) -> TokenSet:
        """Call the API with an expired access token, which must succeed; return the new token set."""
        before = await self.portal.tokens_of(browser, "acme")
        await self.portal.expire_access_token(browser, "acme")
        response = await self.call(browser)
        assert response.status == 200, response.text
        after = await self.portal.tokens_of(browser, "acme")
        assert after.access_token != before.access_token
        return after

    async def sign_out(self, browser: Browser) -> Response:
        """Sign out of the portal and the provider; return the portal's final page."""
        provider_page = await self.portal.sign_out(browser, "acme")
        back = await self.provider.confirm_sign_out(browser, provider_page)
        assert back.url == self.portal.at("/t/acme/signed-out"), back.text[:2000]
        assert await self.portal.signed_in_at(browser) == []
        return back


def start_program(module: str, output: Path, **configuration: object) -> Child:
    """Start a provider of this folder without waiting for it.

    Parameters: output, a folder for its output; configuration, documented in the module.
    """
    command = (sys.executable, "-m", f"tests.integration.{module}")
    return Child(module, command, output, first_line=json.dumps(configuration))


async def issuer_of(child: Child) -> str:
    """Wait until the provider serves; return its issuer."""
    return await child.ready(
        lambda: child.output.strip() if child.output.endswith("\n") else None, seconds=60
    )


@contextlib.asynccontextmanager
async def shared_provider_world(
    provider: SharedProvider, folder: Path, registration: Registration
) -> AsyncIterator[SharedProviderWorld]:
    """Register a new client and two new users; serve a portal for them during the block."""
    client_id, address = f"portal-{secrets.token_hex(8)}", PortalAddress()
    users = (f"ada-of-{client_id}", f"byron-of-{client_id}")
    tenants = {"acme": _tenant_file(provider, client_id, registration)}
    metadata = {
        **printed_metadata(folder, tenants, address),
        "client_secret": SECRET,
        **registration.metadata,
    }
    try:
        for user in users:
            await provider.add_user(user)
        await provider.register({name: value for name, value in metadata.items() if value is not None})
    except BaseException:
        address.close()
        raise
    async with local_portal(folder, tenants, address, OffsetClock()) as portal:
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
def _client() -> Iterator[Browser]:
    browser = Browser()
    try:
        yield browser
    finally:
        browser.close()


def _form_with_field(page: Response, name: str) -> Form | None:
    return next((form for form in page.forms if name in dict(form.fields)), None)


def _form_with_button(page: Response, name: str) -> Form | None:
    return next((form for form in page.forms if name in dict(form.buttons)), None)
