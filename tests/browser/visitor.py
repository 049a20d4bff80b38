"""Somebody at a browser window: what they do in many tests, and what must hold of all that they see."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Route, expect

from tests.browser.stage import Stage

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
PASSWORDS = {"acme": "acme-{}", "globex": "globex-{}"}
_SECRET_NAMES = re.compile(r"[?&#](?:code|state|token|access_token|id_token|refresh_token)=")


@dataclass(frozen=True, slots=True)
class Look:
    """A window: its width in CSS pixels, what its owner prefers, and whether pages may run scripts."""

    width: int = 1280
    scheme: Literal["light", "dark"] = "light"
    scripts: bool = True

    def __str__(self) -> str:
        return f"{self.width}-{self.scheme}-{'scripts' if self.scripts else 'no-scripts'}"


class Visitor:
    """A browser context with one page; `complaints` is what its console said."""

    def __init__(self, browser: Browser, stage: Stage, look: Look | None = None, **options: Any) -> None:
        self.stage = stage
        self.look = look or Look()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        options = {
            "viewport": {"width": self.look.width, "height": 900 if self.look.width > 600 else 844},
            "color_scheme": self.look.scheme,
            "java_script_enabled": self.look.scripts,
            **options,
        }
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(15_000)
        self.context.on("console", self._hear)
        self.context.on("weberror", lambda said: self.complaints.append(f"uncaught: {said.error}"))
        self.context.on("request", self._note)
        self.page = self.context.new_page()
        self._mirror: Page | None = None
        self._browser = browser

    def close(self) -> None:
        if self._mirror is not None:
            self._mirror.context.close()
        self.context.close()

    # --- what people do

    def open(self, path: str) -> Page:
        """Type an address of the portal."""
        self.page.goto(self.stage.at(path))
        return self.page

    def sign_in(self, tenant: str, user: str) -> None:
        """From the provider's form through its consent to the tenant's home."""
        page = self.page
        page.get_by_label("User name").fill(user)
        page.get_by_label("Password").fill(PASSWORDS[tenant].format(user))
        page.get_by_role("button", name="Sign in", exact=True).click()
        if page.get_by_role("button", name="Allow", exact=True).count():
            page.get_by_role("button", name="Allow", exact=True).click()
        expect(page).to_have_url(self.stage.at(f"/t/{tenant}/"))

    def arrive(self, tenant: str = "acme", user: str | None = None) -> Page:
        """Be signed in at a tenant's home, without the provider's pages."""
        name = user or {"acme": "alice", "globex": "gina"}[tenant]
        self.stage.ask(lambda world: setattr(world.provider(tenant), "automatic_user", name))
        self.open(f"/t/{tenant}/login")
        self.stage.ask(lambda world: setattr(world.provider(tenant), "automatic_user", None))
        expect(self.page).to_have_url(self.stage.at(f"/t/{tenant}/"))
        return self.page

    def call(self, path: str, method: str = "GET", body: str | None = None) -> None:
        """Send a call with the explorer and wait for its end."""
        page = self.page
        page.get_by_label("Method").select_option(method)
        page.get_by_label("Path").fill(path)
        if body is not None:
            if not page.locator("#call-body").is_visible():
                page.get_by_text("Request body").click()
            page.locator("#call-body").fill(body)
        self.press_for_response(page.get_by_role("button", name="Send"))

    def press_for_response(self, button: Locator) -> None:
        """Press a button of the explorer and wait until the call has ended."""
        if self.look.scripts:
            button.click()
            expect(self.page.locator("[data-send]")).to_have_text("Send")
        else:
            with self.page.expect_navigation():
                button.click()

    def open_switcher(self) -> None:
        self.page.locator(".switcher summary").click()

    # --- what must hold

    def check(self) -> None:
        """What every page owes to everybody: nothing secret, nothing out of reach, nothing cut off."""
        page = self.page
        page.wait_for_load_state("load")  # a page whose style sheets are on their way has other measures
        kept = page.evaluate("() => [document.cookie, localStorage.length, sessionStorage.length]")
        assert kept == ["", 0, 0], page.url
        needed = page.evaluate("() => document.documentElement.scrollWidth")
        assert needed <= self.look.width, f"{page.url} is {needed} pixels wide"
        html = page.content()
        assert not [secret for secret in self.stage.issued() if secret in html], page.url
        if page.url.startswith(self.stage.url) and urlsplit(page.url).path != "/t/acme/callback":
            assert not _SECRET_NAMES.search(page.url), page.url
        if self.look.scripts or page.locator("#explorer").count():  # elsewhere the page is the same without
            self.check_accessibility()

    def check_accessibility(self) -> None:
        """Nothing serious or critical for axe-core (WCAG 2.2 A and AA, and its best practices)."""
        page = self.page if self.look.scripts else self._reflection()
        page.evaluate(AXE.read_text())  # by the debugger, which the page's policy does not bind
        found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        assert found["passes"], "axe looked at nothing"
        serious = [
            (rule["id"], [node["html"] for node in rule["nodes"]][:3])
            for rule in found["violations"]
            if rule["impact"] in {"serious", "critical"}
        ]
        assert serious == [], page.url

    def check_nothing_was_wrong(self, *, refusals: bool = False) -> None:
        """The console stayed silent, nothing was asked of strangers, and no page can read a cookie.

        Parameters: refusals, whether answers of 400 and above were expected, which the console names.
        """
        self.page.evaluate("() => null")  # what the browser said before this has been heard after it
        refused = "error: Failed to load resource: the server responded with a status of "
        assert [said for said in self.complaints if not (refusals and said.startswith(refused))] == []
        assert self.strangers() == []
        for cookie in self.context.cookies():
            assert cookie["httpOnly"], cookie["name"]
            assert cookie["sameSite"] == "Lax", cookie["name"]

    def strangers(self) -> list[str]:
        """Requests to anybody but the portal and the providers."""
        known = (self.stage.url, *self.stage.issuers.values())
        return [url for url in self.requests if not url.startswith(known)]

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "assert"}:
            self.complaints.append(f"{message.type}: {message.text} ({message.location['url']})")

    def _note(self, request: Request) -> None:
        self.requests.append(request.url)

    def _reflection(self) -> Page:
        """The page as it stands, in a window where axe-core may run: it cannot where scripts are off."""
        html = self.page.content()
        self._mirror = self._mirror or self._browser.new_page(
            viewport=self.page.viewport_size, color_scheme=self.look.scheme
        )

        def reflect(route: Route) -> None:
            if route.request.is_navigation_request():
                route.fulfill(body=html, content_type="text/html; charset=utf-8")
            elif route.request.resource_type == "script":
                route.fulfill(body="", content_type="text/javascript")
            else:
                route.continue_()

        self._mirror.unroute_all()
        self._mirror.route("**/*", reflect)
        self._mirror.goto(self.page.url)
        return self._mirror
