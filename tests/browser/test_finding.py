"""Finding an organisation and switching in a real browser: clicks, navigations and requests are counted.

`pytest -s` prints the counts.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.browser.stage import Stage
from tests.browser.visitor import Look, Visitor
from tests.kit.raw import change_tenant
from tests.kit.world import World

NewVisitor = Callable[..., Visitor]
each_look = pytest.mark.parametrize(
    "look", [Look(1280), Look(320, "dark"), Look(390, scripts=False)], ids=str
)


class Counted:
    """Counts what a browser does from now on: navigations of the window, and requests to providers."""

    def __init__(self, visitor: Visitor) -> None:
        self._stage = visitor.stage
        self.navigations = 0
        self.redirects = 0
        self.provider_requests = 0
        self.forms = 0
        visitor.context.on("request", self._count)

    def _count(self, request: Request) -> None:
        if not request.is_navigation_request():
            return
        at_provider = not request.url.startswith(self._stage.url)
        self.provider_requests += at_provider
        self.forms += request.method == "POST" and at_provider
        if request.redirected_from is None:
            self.navigations += 1
        else:
            self.redirects += 1

    def tell(self, what: str, clicks: int) -> None:
        """Print the counts."""
        print(
            f"{what}: {clicks} click(s), {self.navigations} navigation(s), {self.redirects} redirect(s), "
            f"{self.provider_requests} request(s) to the provider, {self.forms} form(s) there"
        )


def test_clicks_and_round_trips_of_a_first_login_and_of_switching(
    stage: Stage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    page = visitor.open("/")
    counted = Counted(visitor)
    page.get_by_label("Organisation name or work e-mail address").fill("alice@acme.example")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_label("User name")).to_be_visible()
    assert page.url.startswith(stage.issuers["acme"])
    assert (counted.navigations, counted.redirects) == (1, 2)
    counted.tell("first login by e-mail, to the provider's form", clicks=1)
    visitor.sign_in("acme", "alice")
    counted.tell("first login by e-mail, to the organisation's page", clicks=3)

    visitor.arrive("globex")
    counted = Counted(visitor)
    visitor.open_switcher()
    page.locator(".switcher").get_by_role("link", name="Acme Corporation").click()
    expect(page).to_have_url(stage.at("/t/acme/"))
    assert (counted.navigations, counted.redirects, counted.provider_requests) == (1, 0, 0)
    counted.tell("switch to an organisation with a login", clicks=1)

    cookie = next(one for one in visitor.context.cookies(stage.url) if one["name"] == "portal")
    session = cookie["value"].split(".")[0]
    stage.run(lambda world: world.running.portal.store.delete_login(session, "acme"))
    page = visitor.open("/t/globex/")
    counted = Counted(visitor)
    visitor.open_switcher()
    page.locator(".switcher").get_by_role("link", name="Acme Corporation").click()
    expect(page).to_have_url(stage.at("/t/acme/"))
    expect(page.get_by_text("Signed in as Alice Archer")).to_be_visible()
    assert (counted.navigations, counted.forms) == (1, 0)
    assert counted.provider_requests == 1
    counted.tell("switch to an ended login, the provider's session alive", clicks=1)


@each_look
def test_an_organisation_is_found_remembered_and_forgotten(
    stage: Stage, new_visitor: NewVisitor, look: Look
) -> None:
    visitor = new_visitor(look)
    visitor.arrive("acme")
    page = visitor.open("/account")
    page.get_by_role("main").get_by_role("button", name="Sign out everywhere").click()
    expect(page).to_have_url(stage.at("/signed-out"))
    expect(page.get_by_role("button", name="Forget all")).to_be_visible()
    visitor.check()
    page = visitor.open("/")
    expect(page.get_by_role("heading", name="Sign in again")).to_be_visible()
    visitor.check()
    page.get_by_role("button", name=re.compile("^Remove")).click()
    expect(page).to_have_url(stage.at("/"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Find your organisation")
    expect(page.get_by_role("heading", name="Sign in again")).to_have_count(0)
    visitor.check_no_errors()


@each_look
def test_a_choice_of_organisations_and_a_miss(stage: Stage, new_visitor: NewVisitor, look: Look) -> None:
    def share(world: World) -> None:
        for tenant in ("acme", "globex"):
            change_tenant(world, tenant, shared_email_domains=["x.example"])

    stage.ask(share)
    visitor = new_visitor(look)
    page = visitor.open("/")
    search(page, "nobody@nowhere.example")
    expect(page.get_by_role("heading", name="Nothing was found")).to_be_visible()
    visitor.check()
    search(page, "ann@x.example")
    expect(page.get_by_text("Several organisations use this e-mail address")).to_be_visible()
    visitor.check()
    page.get_by_role("main").get_by_role("button", name="Globex").click()
    expect(page.get_by_label("User name")).to_be_visible()
    assert page.url.startswith(stage.issuers["globex"])
    assert not [url for url in visitor.requests if "x.example" in url and url.startswith(stage.url)]
    visitor.check_no_errors()


def search(page: Page, text: str) -> None:
    page.get_by_role("searchbox").fill(text)
    with page.expect_navigation():
        page.get_by_role("button", name="Search").click()


def test_after_a_search_the_language_can_be_changed_and_the_address_opened_again(
    new_visitor: NewVisitor,
) -> None:
    visitor = new_visitor(Look(390, scripts=False))
    page = visitor.open("/")
    search(page, "zz")
    expect(page).to_have_url(visitor.stage.at("/find"))
    expect(page.get_by_text("Check the spelling, or enter")).to_be_visible()
    search(page, "zz@nowhere.example")
    expect(page.get_by_text("Check the spelling of your work e-mail address.")).to_be_visible()
    page.get_by_role("button", name="Deutsch").click()
    expect(page).to_have_url(visitor.stage.at("/"))
    expect(page.locator("html")).to_have_attribute("lang", "de")
    for path in ("/find", "/forget", "/language"):
        page = visitor.open(path)
        expect(page).to_have_url(visitor.stage.at("/"))
    visitor.check_no_errors()


def test_the_list_follows_what_is_typed_without_an_address_in_any_request(
    stage: Stage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    page = visitor.open("/")
    typed: list[str] = []
    visitor.context.on("request", lambda request: typed.append(f"{request.url} {request.post_data or ''}"))
    box = page.get_by_role("searchbox")
    box.press_sequentially("glob", delay=20)
    expect(page.get_by_text("1 found for “glob”")).to_be_visible()
    expect(page.get_by_role("main").get_by_role("link")).to_have_count(1)
    expect(box).to_be_focused()
    box.fill("zz")
    expect(page.get_by_role("heading", name="Nothing was found")).to_be_visible()
    box.fill("")
    expect(page.get_by_text("2 organisations")).to_be_visible()
    before = len(typed)
    box.fill("ann@acme")
    page.wait_for_timeout(400)
    assert typed[before:] == []
    assert not [request for request in typed if "?q=" in request]
    visitor.check_no_errors()


def test_the_list_says_when_it_cannot_be_loaded(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.open("/")
    page.route("**/find", lambda route: route.abort())
    page.get_by_role("searchbox").fill("glob")
    expect(page.get_by_text("The list could not be loaded.")).to_be_visible()
    page.unroute("**/find")
    page.get_by_role("searchbox").fill("globe")
    expect(page.get_by_text("1 found for “globe”")).to_be_visible()
    expect(page.get_by_text("The list could not be loaded.")).to_be_hidden()


def test_a_user_of_another_organisation_sees_where_they_are_signed_in(new_visitor: NewVisitor) -> None:
    visitor = new_visitor(Look(320))
    visitor.arrive("acme")
    page = visitor.open("/t/globex/")
    expect(page.get_by_text("You are not signed in to Globex")).to_be_visible()
    visitor.check()
    page.get_by_role("main").get_by_role("link", name="Acme Corporation").click()
    expect(page.get_by_text("Signed in as Alice Archer")).to_be_visible()


def test_a_cancelled_sign_in_offers_to_try_again(new_visitor: NewVisitor) -> None:
    visitor = new_visitor(Look(320, "dark"))
    page = visitor.open("/t/acme/login?return_to=/account%23left")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign-in was cancelled")
    visitor.check()
    page.get_by_role("link", name="Try again").click()
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill("acme-alice")
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page).to_have_url(visitor.stage.at("/account#left"))
    visitor.check_no_errors()


def test_a_browser_that_blocks_cookies_is_told_so(chromium: Browser, stage: Stage, tmp_path: Path) -> None:
    settings = tmp_path / "profile" / "Default" / "Preferences"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"profile": {"default_content_setting_values": {"cookies": 2}}}))
    stage.ask(lambda world: setattr(world.acme, "automatic_user", "alice"))
    program = shutil.which("chromium")
    context = chromium.browser_type.launch_persistent_context(
        str(tmp_path / "profile"), executable_path=program, args=["--no-sandbox"]
    )
    try:
        page = context.pages[0]
        page.goto(stage.at("/t/acme/login"))
        expect(page.get_by_role("heading", level=1)).to_have_text("Your browser blocks cookies")
        assert page.url == stage.at("/t/acme/cookie-check?set=1")
        expect(page.get_by_role("link", name="Start again")).to_be_visible()
    finally:
        context.close()


@pytest.fixture
def searching_stage(tmp_path: Path) -> Iterator[Stage]:
    with contextlib.closing(Stage(tmp_path / "searching", chooser="search")) as stage:
        yield stage


def test_nothing_is_listed_by_default(chromium: Browser, searching_stage: Stage) -> None:
    visitor = Visitor(chromium, searching_stage, Look(320))
    try:
        page = visitor.open("/")
        expect(page.get_by_role("main").get_by_role("link")).to_have_count(0)
        visitor.check()
        search(page, "acme corporation")
        expect(page.get_by_role("link", name="Acme Corporation")).to_be_visible()
        visitor.check()
        search(page, "acme")
        expect(page.get_by_role("heading", name="Nothing was found")).to_be_visible()
        visitor.check_no_errors()
    finally:
        visitor.close()
