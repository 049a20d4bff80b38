"""A portal in the test process for third-party providers, and an API that accepts their tokens."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from portal.app import RunningPortal, running
from portal.config.settings import Settings
from portal.demo.api import ApiSettings
from portal.demo.organisations import ACME_ORGANISATION
from portal.oidc.provider import TokenSet
from portal.stores.model import login_id
from tests.kit.browser import Browser, Response
from tests.kit.faulty.api import FaultyApi
from tests.kit.world import OffsetClock


class PortalUsers:
    """The browsers of a test, and what their users do in the portal."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._browsers: list[Browser] = []

    def at(self, path: str) -> str:
        return f"{self.url}{path}"

    def browser(self) -> Browser:
        browser = Browser()
        self._browsers.append(browser)
        return browser

    async def begin(self, browser: Browser, tenant: str, query: str = "") -> Response:
        """Start a login; return the provider's page."""
        return await browser.open(self.at(f"/t/{tenant}/login{query}"))

    async def call(self, browser: Browser, tenant: str, path: str = "/orders") -> Response:
        """Call the tenant's API as a script on the portal's page would."""
        return await browser.fetch(self.at(f"/t/{tenant}/api{path}"))

    async def signed_in_at(self, browser: Browser) -> list[str]:
        """Return the slugs of the tenants that this browser is signed in to."""
        response = await browser.fetch(self.at("/session"))
        return sorted(one["slug"] for one in json.loads(response.body)["tenants"])

    async def sign_out(self, browser: Browser, tenant: str) -> Response:
        """Press the sign-out button of a tenant; return the final page."""
        home = await browser.open(self.at(f"/t/{tenant}/"))
        return await browser.submit(home.form(f"/t/{tenant}/logout"))

    def close(self) -> None:
        for browser in self._browsers:
            browser.close()


class LocalPortal(PortalUsers):
    """A portal in the test process."""

    def __init__(self, url: str, served: RunningPortal, clock: OffsetClock) -> None:
        super().__init__(url)
        self.running = served
        self.clock = clock

    async def tokens_of(self, browser: Browser, tenant: str) -> TokenSet:
        """Return the stored token set of an existing login."""
        cookie = browser.cookie("localhost", "portal")
        assert cookie is not None
        key = login_id(cookie.partition(".")[0], tenant)
        _, logins = await self.running.portal.store.read((), (key,), now=self.clock())
        return self.running.tokens.open(logins[key])

    async def expire_access_token(self, browser: Browser, tenant: str) -> None:
        """Make the stored access token look expired. The provider still accepts it."""
        tokens = await self.tokens_of(browser, tenant)
        await self.replace_tokens(browser, tenant, replace(tokens, expires_at=self.clock() - 1))

    async def replace_tokens(self, browser: Browser, tenant: str, tokens: TokenSet) -> None:
        """Replace the stored token set."""
        cookie = browser.cookie("localhost", "portal")
        assert cookie is not None
        key = login_id(cookie.partition(".")[0], tenant)
        store, vault = self.running.portal.store, self.running.vault
        login = (await store.read((), (key,), now=self.clock()))[1][key]
        assert await store.swap_login(
            replace(login, tokens=vault.seal_tokens(login.id, tokens), version=login.version + 1),
            expected_version=login.version,
        )


class PortalAddress:
    """The address of a portal, known before the portal starts."""

    def __init__(self, port: int = 0) -> None:
        self.sockets = bind_sockets(port, address="127.0.0.1")
        self.listen = f"127.0.0.1:{self.sockets[0].getsockname()[1]}"
        self.url = f"http://localhost:{self.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        """Close the sockets if no portal is started."""
        for one in self.sockets:
            one.close()


@contextlib.asynccontextmanager
async def local_portal(
    folder: Path, tenants: Mapping[str, str], address: PortalAddress, clock: OffsetClock
) -> AsyncIterator[LocalPortal]:
    """Serve a portal during the block; `tenants` are the texts of tenant files by slug."""
    write_tenants(folder, tenants)
    settings = portal_settings(folder, address)
    async with running(settings, sockets=address.sockets, clock=clock) as served:
        assert not served.portal.registry.problems, served.portal.registry.problems
        portal = LocalPortal(address.url, served, clock)
        try:
            yield portal
        finally:
            portal.close()


def portal_settings(folder: Path, address: PortalAddress) -> Settings:
    """Return the settings of a portal at this address, with its data in `folder`."""
    return Settings(
        public_url=address.url,
        listen=address.listen,
        tenants=folder / "tenants",
        database=f"sqlite:///{folder}/portal.db",
        keys=folder / "keys.json",
        allow_private_networks=True,
    )


def write_tenants(folder: Path, tenants: Mapping[str, str]) -> Path:
    """Write tenant files; return their folder."""
    path = folder / "tenants"
    path.mkdir(exist_ok=True)
    for slug, text in tenants.items():
        (path / f"{slug}.yaml").write_text(text, encoding="utf-8")
    return path


@contextlib.asynccontextmanager
async def orders_api(
    *,
    issuer: str,
    jwks_uri: str,
    audience: str,
    clock: OffsetClock,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[FaultyApi, str]]:
    """Serve a sample API that accepts the access tokens of one issuer; yields it and its base URL."""
    api = FaultyApi(
        ApiSettings(
            "orders", "Orders", issuer, jwks_uri, audience, ACME_ORGANISATION.collections, clock=clock
        )
    )
    sockets = bind_sockets(0, address="127.0.0.1")
    server = HTTPServer(api.application(), ssl_options=tls)
    server.add_sockets(sockets)
    origin = "https://localhost:{}" if tls else "http://127.0.0.1:{}"
    try:
        yield api, origin.format(sockets[0].getsockname()[1]) + api.settings.base_path
    finally:
        server.stop()
        await server.close_all_connections()
