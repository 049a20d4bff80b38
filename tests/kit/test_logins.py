"""Test logins with the draft of Globex, the tenant of the database in `console_world`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlencode

from portal.admin.drafts import OpenDraft
from tests.kit.browser import Browser, Response
from tests.kit.console import ACT, ConsoleWorld
from tests.kit.faulty.provider import FaultyProvider

PAGE = "/admin/t/globex/draft/test"


class Tester:
    """Makes drafts of Globex, and test logins in the browser of its admin, Gina."""

    __test__ = False  # not a class of tests

    def __init__(self, console: ConsoleWorld, browser: Browser | None = None) -> None:
        self.console = console
        self.world = console.world
        self.browser = browser or console.admin

    @property
    def provider(self) -> FaultyProvider:
        return self.world.globex

    async def open(self) -> OpenDraft:
        return await self.console.services.drafts.get("globex")

    async def draft(self, change: Callable[[str], str] = lambda content: f"{content}\n# changed\n") -> None:
        """Store the draft with another content."""
        drafts, now = self.console.services.drafts, await self.open()
        saved = await drafts.save("globex", change(now.shown), ACT, replaces=now.version)
        assert saved.problems == (), saved.problems

    async def discard(self) -> None:
        now = await self.open()
        assert now.version is not None
        await self.console.services.drafts.discard("globex", ACT, version=now.version)

    async def begin(self, provider: str = "default", *, again: bool = False) -> Response:
        """Press the button; return the redirect to the provider, or the page that says why not."""
        page = await self.console.get(self.browser, PAGE)
        form = page.form(f"{PAGE}/{provider}")
        fields = dict(form.fields) | ({"again": "1"} if again else {})
        return await self.browser.step(
            self.console.at(form.action), "POST", urlencode(fields), site="same-origin"
        )

    async def to_callback(self, provider: str = "default", user: str = "gina") -> str:
        """Begin and sign in at the provider without pages; return the callback URL without opening it."""
        begun = await self.begin(provider)
        assert begun.status == 303, begun.text
        self.provider.automatic_user = user
        try:
            responded = await self.browser.step(begun.headers["Location"], site="cross-site")
        finally:
            self.provider.automatic_user = None
        assert responded.status in {302, 303}, responded.text
        return responded.headers["Location"]

    async def test(self, provider: str = "default", user: str = "gina") -> Response:
        """Make a test login; return the page of its result."""
        begun = await self.begin(provider)
        assert begun.status == 303, begun.text
        self.provider.automatic_user = user
        try:
            page = await self.browser.open(
                self.console.at(begun.headers["Location"])
                if begun.headers["Location"].startswith("/")
                else begun.headers["Location"]
            )
            return await self.world.post_back(self.browser, page)
        finally:
            self.provider.automatic_user = None

    def register(self, *redirect_uris: str) -> None:
        """Register redirect URIs at the provider, in addition to that of logins."""
        provider = self.provider
        [client] = provider.settings.clients
        client = replace(client, redirect_uris=(*client.redirect_uris, *redirect_uris))
        provider.settings = replace(provider.settings, clients=(client,))
