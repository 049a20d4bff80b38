"""The pages that test_story.py does not visit: empty lists, errors, and the providers' own pages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from portal.oidc.recent_failures import FIRST_PAUSE
from tests.browser.stage import Stage
from tests.browser.visitor import Look, Visitor
from tests.kit.faulty.endpoints import EndpointFault, Response
from tests.kit.raw import change_tenant

each_look = pytest.mark.parametrize("look", [Look(1280, "light"), Look(320, "dark")], ids=str)
NewVisitor = Callable[..., Visitor]


def heading(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)


@each_look
def test_pages_of_a_user_who_is_not_signed_in(new_visitor: NewVisitor, look: Look) -> None:
    visitor = new_visitor(look)
    for path, title in (
        ("/?q=nobody", "Find your organisation"),
        ("/?q=%3Cscript%3Ealert(1)%3C/script%3E" + "W" * 200, "Find your organisation"),
        ("/t/globex/", "Sign in to Globex"),
        ("/account", "Your account"),
        ("/signed-out", "You are signed out everywhere"),
    ):
        expect(heading(visitor.open(path))).to_have_text(title)
        visitor.check()
    visitor.check_no_errors()


@each_look
def test_pages_of_a_user_who_is_signed_in_to_two_tenants(new_visitor: NewVisitor, look: Look) -> None:
    visitor = new_visitor(look)
    visitor.arrive("acme")
    page = visitor.arrive("globex", "sam")
    expect(page.get_by_text("Signed in as Sam Rivera")).to_be_visible()
    visitor.check()
    visitor.open("/t/globex/developer")
    expect(page.locator(".chip-missing")).to_have_text(["write:orders", "write:projects"])
    page.locator(".menu-account summary").click()
    expect(page.get_by_role("button", name="Sign out of Globex").first).to_be_visible()
    visitor.check()
    for path, title in (
        ("/", "Your organisations"),
        ("/?q=acme", "Your organisations"),
        ("/account", "Your account"),
        ("/t/acme/signed-out", "You are still signed in"),
    ):
        expect(heading(visitor.open(path))).to_have_text(title)
        visitor.check()
    visitor.check_no_errors()


@each_look
def test_the_home_leads_to_the_applications_of_the_organisation(
    stage: Stage, new_visitor: NewVisitor, look: Look
) -> None:
    links = [
        {"title": "Invoices", "url": "https://invoices.acme.example/", "description": "Pay them in time."},
        {"title": "W" * 100, "url": "/account", "description": "d" * 500},
        {"title": "\u0637\u0644\u0628\u0627\u062a", "url": "/account"},
    ]
    stage.ask(lambda world: change_tenant(world, "acme", home_url="/account", links=links))
    visitor = new_visitor(look)
    page = visitor.arrive("acme")
    expect(page.get_by_role("link", name="Invoices Pay them in time.")).to_have_attribute(
        "href", "https://invoices.acme.example/"
    )
    visitor.check()
    page.get_by_role("link", name="Open Acme Corporation").click()
    expect(heading(page)).to_have_text("Your account")
    visitor.check_no_errors()


@each_look
def test_a_step_up_by_another_account_says_so(stage: Stage, new_visitor: NewVisitor, look: Look) -> None:
    visitor = new_visitor(look)
    page = visitor.arrive("acme")
    stage.ask(lambda world: setattr(world.acme, "automatic_user", "bob"))
    stage.ask(lambda world: setattr(world.acme, "automatic_acr", "mfa"))
    visitor.open("/t/acme/login?acr_values=mfa&return_to=/account")
    expect(heading(page)).to_have_text("You have changed your account")
    visitor.check_accessibility()
    needed = page.evaluate("() => document.documentElement.scrollWidth")
    assert needed <= look.width
    page.get_by_role("link", name="Continue with the new account").click()
    expect(heading(page)).to_have_text("Your account")
    expect(page.get_by_role("main").get_by_text("Bob Baker")).to_be_visible()
    visitor.check_no_errors()


@each_look
def test_error_pages(stage: Stage, new_visitor: NewVisitor, look: Look) -> None:
    visitor = new_visitor(look)
    expect(heading(visitor.open("/nowhere"))).to_have_text("Page not found")
    visitor.check()
    page = visitor.open("/t/acme/callback?state=unknown&code=unknown")
    expect(heading(page)).to_have_text("This sign-in is no longer valid")
    visitor.check()
    page.get_by_role("link", name="Start again").click()
    page.get_by_role("link", name="Continue").click()
    page.get_by_role("button", name="Cancel").click()
    expect(heading(page)).to_have_text("Sign-in was cancelled")
    expect(page.get_by_text("Error")).to_have_count(0)
    visitor.check()
    stage.ask(lambda world: world.globex.faults.endpoints.__setitem__("discovery", server_error()))
    expect(heading(visitor.open("/t/globex/login"))).to_contain_text("does not respond")
    visitor.check()
    stage.ask(lambda world: world.globex.faults.clear())
    stage.ask(lambda world: world.clock.advance(FIRST_PAUSE))  # the failure is cached for this time
    page.get_by_role("link", name="Try again").click()
    assert page.url.startswith(stage.issuers["globex"])
    visitor.check_no_errors(refusals=True)


def server_error() -> EndpointFault:
    return EndpointFault(response=Response(503))


@each_look
def test_the_providers_own_pages(stage: Stage, new_visitor: NewVisitor, look: Look) -> None:
    visitor = new_visitor(look)
    for tenant, user in (("acme", "bob"), ("globex", "hank")):
        issuer = stage.issuers[tenant]
        page = visitor.open(f"/t/{tenant}/login")
        page.get_by_label("User name").fill(user)
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("The user name or the password is wrong")
        visitor.check()
        visitor.sign_in(tenant, user)
        for path, title in (
            ("/authorize", "Something went wrong"),
            ("/sign-in/expired", "Something went wrong"),
            ("/logout", "Sign out?"),
            ("/", f"Hello, {user.title()}"),
        ):
            page.goto(f"{issuer}{path}")
            expect(heading(page)).to_have_text(title)
            visitor.check()
        page.get_by_role("main").get_by_role("button").click()
        expect(heading(page)).to_have_text("You are signed out")
        visitor.check()
        page.goto(f"{issuer}/")
        expect(heading(page)).to_have_text("You are not signed in")
    visitor.check_no_errors(refusals=True)


@each_look
def test_signing_in_and_switching_work_with_the_keyboard(
    stage: Stage, new_visitor: NewVisitor, look: Look
) -> None:
    visitor = new_visitor(look)
    page = visitor.open("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    press(page, page.get_by_role("link", name="Acme Corporation"))
    type_into_form(page, "alice", "acme-alice")
    press(page, page.get_by_role("button", name="Allow", exact=True))
    expect(page.get_by_text("Signed in as Alice Archer")).to_be_visible()

    press(page, page.get_by_role("link", name="Developer"))
    press(page, page.get_by_label("Path"))
    expect(page.locator(".response-code")).to_have_text("200 OK")
    press(page, page.locator(".switcher summary"))
    press(page, page.get_by_role("link", name="Add another organisation"))
    press(page, page.get_by_role("link", name="Globex"))
    type_into_form(page, "gina", "globex-gina")
    expect(page.get_by_text("Signed in as Gina Gomez")).to_be_visible()

    press(page, page.locator(".switcher summary"))
    press(page, page.get_by_role("navigation").get_by_role("link", name="Acme Corporation"))
    expect(page).to_have_url(stage.at("/t/acme/"))
    press(page, page.locator(".menu-account summary"))
    press(page, page.get_by_role("button", name="Sign out everywhere"))
    expect(heading(page)).to_have_text("You are signed out everywhere")
    visitor.check_no_errors()


def type_into_form(page: Page, user: str, password: str) -> None:
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type(user)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    page.keyboard.press("Enter")


def press(page: Page, target: Locator) -> None:
    tab_until_focused(page, target)
    page.keyboard.press("Enter")


def tab_until_focused(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus, and check that the focus is always visible."""
    expect(target).to_be_attached()
    for _ in range(60):
        page.keyboard.press("Tab")
        assert page.evaluate(
            """() => {
                const focused = document.activeElement;  // the body after the last element
                const style = getComputedStyle(focused);
                const marked = style.outlineStyle !== "none" || style.boxShadow !== "none";
                return marked || focused === document.body;
            }"""
        ), page.evaluate("() => document.activeElement.outerHTML")
        if target.evaluate("(element) => element === document.activeElement"):
            return
    raise AssertionError(f"the keyboard does not reach {target}")
