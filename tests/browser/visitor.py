"""A user with a browser window: common actions, and checks that apply to every page."""

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
    """A browser window: width in CSS pixels, preferred colour scheme, and whether scripts run."""

    width: int = 1280
    scheme: Literal["light", "dark"] = "light"
    scripts: bool = True

    def __str__(self) -> str:
        return f"{self.width}-{self.scheme}-{'scripts' if self.scripts else 'no-scripts'}"


class Visitor:
    """A browser context with one page. `console_errors` are the errors and warnings of its console."""

    def __init__(self, browser: Browser, stage: Stage, look: Look | None = None, **options: Any) -> None:
        self.stage = stage
        self.look = look or Look()
        self.console_errors: list[str] = []
        self.requests: list[str] = []
        options = {
            "viewport": {"width": self.look.width, "height": 900 if self.look.width > 600 else 844},
            "color_scheme": self.look.scheme,
            "java_script_enabled": self.look.scripts,
            **options,
        }
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(15_000)
        self.context.on("console", self._on_console)
        self.context.on("weberror", lambda error: self.console_errors.append(f"uncaught: {error.error}"))
        self.context.on("request", self._on_request)
        self.page = self.context.new_page()
        self._script_page: Page | None = None
        self._browser = browser

    def close(self) -> None:
        if self._script_page is not None:
            self._script_page.context.close()
        self.context.close()

    # --- actions

    def open(self, path: str) -> Page:
        """Open a path of the portal."""
        self.page.goto(self.stage.at(path))
        return self.page

    def sign_in(self, tenant: str, user: str) -> None:
        """Complete the provider's form and consent, up to the tenant home page."""
        page = self.page
        page.get_by_label("User name").fill(user)
        page.get_by_label("Password").fill(PASSWORDS[tenant].format(user))
        page.get_by_role("button", name="Sign in", exact=True).click()
        if page.get_by_role("button", name="Allow", exact=True).count():
            page.get_by_role("button", name="Allow", exact=True).click()
        expect(page).to_have_url(self.stage.at(f"/t/{tenant}/"))

    def arrive(self, tenant: str = "acme", user: str | None = None) -> Page:
        """Sign in to a tenant without the provider's pages, and show the tenant home page."""
        name = user or {"acme": "alice", "globex": "gina"}[tenant]
        self.stage.ask(lambda world: setattr(world.provider(tenant), "automatic_user", name))
        self.open(f"/t/{tenant}/login")
        self.stage.ask(lambda world: setattr(world.provider(tenant), "automatic_user", None))
        expect(self.page).to_have_url(self.stage.at(f"/t/{tenant}/"))
        return self.page

    def develop(self, tenant: str = "acme", user: str | None = None) -> Page:
        """Sign in as `arrive`, and show the tenant's developer page."""
        self.arrive(tenant, user)
        return self.open(f"/t/{tenant}/developer")

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

    # --- checks

    def check(self) -> None:
        """Check what every page must have: no secrets, no overflow, and accessibility."""
        page = self.page
        page.wait_for_load_state("load")  # the width is known only with the style sheets
        kept = page.evaluate("() => [document.cookie, localStorage.length, sessionStorage.length]")
        assert kept == ["", 0, 0], page.url
        needed = page.evaluate("() => document.documentElement.scrollWidth")
        assert needed <= self.look.width, f"{page.url} is {needed} pixels wide"
        html = page.content()
        assert not [secret for secret in self.stage.issued() if secret in html], page.url
        if page.url.startswith(self.stage.url) and urlsplit(page.url).path != "/t/acme/callback":
            assert not _SECRET_NAMES.search(page.url), page.url
        if self.look.scripts or page.locator("#explorer").count():  # other pages are the same without scripts
            self.check_accessibility()

    def check_accessibility(self) -> None:
        """Check that axe-core finds nothing serious or critical (WCAG 2.2 A and AA, best practices)."""
        page = self.page if self.look.scripts else self._copy_with_scripts()
        page.evaluate(AXE.read_text())  # through the debugger, which the page's policy does not restrict
        found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        assert found["passes"], "axe checked nothing"
        serious = [
            (rule["id"], [node["html"] for node in rule["nodes"]][:3])
            for rule in found["violations"]
            if rule["impact"] in {"serious", "critical"}
        ]
        assert serious == [], page.url

    def check_no_errors(self, *, refusals: bool = False) -> None:
        """Check that the console has no errors, no other site was called, and cookies are protected.

        Parameters: refusals, whether responses of 400 and above are expected, which the console logs.
        """
        self.page.evaluate("() => null")  # waits for earlier events of the browser
        refused = "error: Failed to load resource: the server responded with a status of "
        errors = [text for text in self.console_errors if not (refusals and text.startswith(refused))]
        assert errors == []
        assert self.foreign_requests() == []
        for cookie in self.context.cookies():
            assert cookie["httpOnly"], cookie["name"]
            assert cookie["sameSite"] == "Lax", cookie["name"]

    def foreign_requests(self) -> list[str]:
        """Requests to sites other than the portal and the providers."""
        known = (self.stage.url, *self.stage.issuers.values())
        return [url for url in self.requests if not url.startswith(known)]

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "assert"}:
            self.console_errors.append(f"{message.type}: {message.text} ({message.location['url']})")

    def _on_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _copy_with_scripts(self) -> Page:
        """A copy of the page in a window with scripts, because axe-core needs them."""
        html = self.page.content()
        self._script_page = self._script_page or self._browser.new_page(
            viewport=self.page.viewport_size, color_scheme=self.look.scheme
        )

        def reflect(route: Route) -> None:
            if route.request.is_navigation_request():
                route.fulfill(body=html, content_type="text/html; charset=utf-8")
            elif route.request.resource_type == "script":
                route.fulfill(body="", content_type="text/javascript")
            else:
                route.continue_()

        self._script_page.unroute_all()
        self._script_page.route("**/*", reflect)
        self._script_page.goto(self.page.url)
        return self._script_page
