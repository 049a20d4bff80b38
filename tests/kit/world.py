"""The test environment: the portal, two development providers and two sample APIs on real sockets."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tornado.netutil import bind_sockets

from portal.app import RunningPortal, running
from portal.config.settings import LogSettings, Settings
from portal.keys.client_key_ring import complete_client_keys
from portal.keys.key_ring import KeyRing
from portal.secret import Secret
from portal.stores.model import Login, login_id
from tests.kit.browser import Browser, Form, Response
from tests.kit.faulty.api import FaultyApi
from tests.kit.faulty.parts import FaultyParts, ProviderOptions, faulty_parts
from tests.kit.faulty.provider import FaultyProvider

SERVER = os.environ.get("PORTAL_TEST_SERVER", "httptools")
"""The setting `server` of the portals that tests start."""


class OffsetClock:
    """Real time plus an offset that tests advance; portal and providers share it."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return round(time.time() + self.offset, 3)

    def advance(self, seconds: float) -> None:
        self.offset += seconds


@functools.cache
def key_ring() -> bytes:
    """Return a key ring with all keys, created once; `portal serve` also creates them at start-up."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.json"
        KeyRing.create(path)
        complete_client_keys(path)
        return path.read_bytes()


USERS = {
    "acme": ("alice", "acme-alice"),
    "globex": ("gina", "globex-gina"),
    "initech": ("peter", "initech-peter"),
}


@dataclass
class World:
    """The test environment, created by `world()`."""

    url: str
    parts: FaultyParts
    running: RunningPortal
    clock: OffsetClock
    settings: Settings
    browsers: list[Browser] = field(default_factory=list)

    @property
    def acme(self) -> FaultyProvider:
        return self.parts.providers["acme"]

    @property
    def globex(self) -> FaultyProvider:
        return self.parts.providers["globex"]

    @property
    def acme_api(self) -> FaultyApi:
        return self.parts.apis["acme"]

    @property
    def globex_api(self) -> FaultyApi:
        return self.parts.apis["globex"]

    def provider(self, tenant: str) -> FaultyProvider:
        return self.parts.providers[tenant]

    def browser(self) -> Browser:
        browser = Browser()
        self.browsers.append(browser)
        return browser

    def at(self, path: str) -> str:
        return f"{self.url}{path}"

    async def to_provider(self, browser: Browser, tenant: str, query: str = "") -> Response:
        """Start a login; return the provider's sign-in page."""
        return await browser.open(self.at(f"/t/{tenant}/login{query}"))

    async def sign_in(
        self, browser: Browser, tenant: str, user: str | None = None, query: str = ""
    ) -> Response:
        """Sign in through the provider's sign-in and consent pages."""
        default, _ = USERS[tenant]
        name = user or default
        page = await self.to_provider(browser, tenant, query)
        if page.url.startswith(self.provider(tenant).issuer):
            page = await self.fill_in(browser, page, tenant, name)
        return page

    async def fill_in(self, browser: Browser, page: Response, tenant: str, name: str) -> Response:
        if any(field == "password" for form in page.forms for field, _ in form.fields):
            form = _form_with(page, "password")
            page = await browser.submit(form, {"username": name, "password": f"{tenant}-{name}"})
        if any(button == "allow" for form in page.forms for button, _ in form.buttons):
            page = await browser.submit(_form_with_button(page, "allow"), button="allow")
        return await self.post_back(browser, page)

    async def post_back(self, browser: Browser, page: Response) -> Response:
        """Submit the response form, as the provider's script would, if the page has one."""
        responses = [form for form in page.forms if form.action.startswith(f"{self.url}/t/")]
        return await browser.submit(responses[0]) if responses else page

    async def stop_before_callback(self, browser: Browser, tenant: str, query: str = "") -> str:
        """Sign in at the provider without pages; return the callback URL without opening it."""
        provider = self.provider(tenant)
        provider.automatic_user = USERS[tenant][0]
        try:
            begun = await browser.step(self.at(f"/t/{tenant}/login{query}"))
            assert begun.status == 303, begun.text
            responded = await browser.step(begun.headers["Location"], site="cross-site")
            assert responded.status in {302, 303}, responded.text
            return responded.headers["Location"]
        finally:
            provider.automatic_user = None

    async def quick_sign_in(self, browser: Browser, tenant: str) -> Response:
        """Sign in without the provider's pages."""
        provider = self.provider(tenant)
        provider.automatic_user = USERS[tenant][0]
        try:
            page = await self.post_back(browser, await browser.open(self.at(f"/t/{tenant}/login")))
        finally:
            provider.automatic_user = None
        assert page.status == 200, (page.status, page.text[:3000])
        assert page.url == self.at(f"/t/{tenant}/")
        return page

    async def developer_page(self, browser: Browser, tenant: str) -> Response:
        """Sign in without the provider's pages; return the developer page with the API explorer."""
        await self.quick_sign_in(browser, tenant)
        return await browser.open(self.at(f"/t/{tenant}/developer"))

    def session_id(self, browser: Browser) -> str:
        cookie = browser.cookie("localhost", "portal")
        assert cookie is not None
        return cookie.split(".")[0]

    async def login_of(self, browser: Browser, tenant: str) -> Login | None:
        key = login_id(self.session_id(browser), tenant)
        _, logins = await self.running.portal.store.read((), (key,), now=self.clock())
        return logins.get(key)

    async def expire_access_token(self, browser: Browser, tenant: str) -> Secret:
        """Make the stored access token look expired and return it. The provider still accepts it."""
        login = await self.login_of(browser, tenant)
        assert login is not None
        tokens = self.running.tokens.open(login)
        vault = self.running.vault
        expired = replace(tokens, expires_at=self.clock() - 1)
        swapped = await self.running.portal.store.swap_login(
            replace(login, tokens=vault.seal_tokens(login.id, expired), version=login.version + 1),
            expected_version=login.version,
        )
        assert swapped
        return tokens.access_token


def _form_with(page: Response, field_name: str) -> Form:
    return next(form for form in page.forms if any(name == field_name for name, _ in form.fields))


def _form_with_button(page: Response, button: str) -> Form:
    for form in page.forms:
        if any(name == button for name, _ in form.buttons):
            return form
    raise AssertionError(f"no form with a button {button!r}: {page.text[:2000]}")


@contextlib.asynccontextmanager
async def world(
    folder: Path,
    *,
    database: str | None = None,
    hostile: bool = False,
    options: ProviderOptions | None = None,
    host: str = "localhost",
    **changes: object,
) -> AsyncIterator[World]:
    """Start everything in this process; `host` is a local host name, `changes` are portal settings."""
    clock = OffsetClock()
    sockets = bind_sockets(0, address="127.0.0.1")
    port = sockets[0].getsockname()[1]
    url = f"http://{host}:{port}"
    async with faulty_parts(
        folder / "parts",
        portal_url=url,
        options=replace(options or ProviderOptions(access_token_seconds=300.0), clock=clock),
        hostile=hostile,
    ) as parts:
        keys = folder / "keys.json"
        if not keys.exists():
            keys.touch(mode=0o600)
            keys.write_bytes(key_ring())
        settings = Settings(
            public_url=url,
            listen=f"127.0.0.1:{port}",
            tenants=parts.tenants_folder,
            database=database or f"sqlite:///{folder}/portal.db",
            keys=keys,
            allow_private_networks=True,
            log=LogSettings(format="json", level="debug"),
            server=SERVER,
            chooser="list",
        )
        settings = replace(settings, **changes)  # type: ignore[arg-type]
        async with running(settings, sockets=sockets, clock=clock) as started:
            made = World(url, parts, started, clock, settings)
            try:
                yield made
            finally:
                for browser in made.browsers:
                    browser.close()
