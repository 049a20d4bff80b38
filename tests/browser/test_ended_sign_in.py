"""An open tenant home page while the login ends at the provider or in another tab."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.visitor import PASSWORDS, Look, Visitor

NewVisitor = Callable[..., Visitor]


def part(page: Page, name: str) -> Locator:
    return page.locator(f"[data-{name}]")


def sign_out_at_the_provider(visitor: Visitor) -> None:
    """Sign out on the provider's own page, in another tab."""
    page = visitor.context.new_page()
    page.goto(f"{visitor.stage.issuers['acme']}/")
    page.get_by_role("button", name="Sign out of").click()
    expect(page.get_by_role("heading", name="signed out")).to_be_visible()
    page.close()


def return_to_tab(page: Page, by: str) -> None:
    """Dispatch the event that a browser sends when the user returns to the tab."""
    target = {"focus": "window", "visibilitychange": "document"}[by]
    page.evaluate(f"() => {target}.dispatchEvent(new Event('{by}'))")


def reads_of_the_session(visitor: Visitor) -> int:
    return visitor.requests.count(visitor.stage.at("/session"))


@pytest.mark.parametrize("by", ["focus", "visibilitychange"])
def test_a_page_shows_a_sign_out_at_the_provider_when_the_user_returns_to_it(
    new_visitor: NewVisitor, by: str
) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    page.get_by_label("Path").fill("/orders/half-written")
    sign_out_at_the_provider(visitor)
    return_to_tab(page, by)
    notice = page.get_by_role("status").filter(has_text="Your sign-in here has ended.")
    expect(notice.get_by_role("link", name="Sign in again")).to_be_visible()
    expect(page.get_by_text("Signed in as Alice Archer")).to_be_hidden()
    expect(page.get_by_role("button", name="Sign out of Acme Corporation")).to_have_count(0)
    expect(part(page, "token-left")).to_have_text("Ended")
    expect(page.get_by_label("Path")).to_have_value("/orders/half-written")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    expect(page.get_by_role("button", name="GET /orders", exact=True)).to_be_disabled()
    expect(page.get_by_role("main")).not_to_contain_text("alice@acme.example", use_inner_text=True)
    page.get_by_label("Path").press("Enter")
    assert not [url for url in visitor.requests if "/api/" in url]
    visitor.check()
    visitor.open_switcher()
    expect(page.locator(".switcher .menu-panel")).not_to_contain_text("Alice Archer", use_inner_text=True)
    notice.get_by_role("link").click()
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill(PASSWORDS["acme"].format("alice"))
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page).to_have_url(visitor.stage.at("/t/acme/developer"))
    visitor.check_no_errors()


def test_a_page_shows_a_sign_out_when_its_token_expires(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    visitor.page.clock.install()
    page = visitor.develop()
    sign_out_at_the_provider(visitor)
    page.clock.fast_forward(290_000)
    assert reads_of_the_session(visitor) == 0
    expect(part(page, "ended")).to_be_hidden()
    page.clock.fast_forward(15_000)
    expect(part(page, "ended")).to_contain_text("Your sign-in here has ended.")
    page.clock.fast_forward(60_000)
    assert reads_of_the_session(visitor) == 1


def test_the_session_is_read_at_most_once_in_five_seconds(
    new_visitor: NewVisitor,
) -> None:
    visitor = new_visitor()
    visitor.page.clock.install()
    page = visitor.develop()
    page.clock.pause_at(time.time() + 60)
    for by in ("visibilitychange", "focus") * 3:
        return_to_tab(page, by)
    with page.expect_response("**/session"):
        page.clock.run_for(10)
    sign_out_at_the_provider(visitor)
    return_to_tab(page, "focus")
    page.clock.run_for(4_900)
    assert reads_of_the_session(visitor) == 1
    expect(part(page, "ended")).to_be_hidden()
    page.clock.run_for(200)
    expect(part(page, "ended")).to_be_visible()
    assert reads_of_the_session(visitor) == 2
    page.evaluate("() => Object.defineProperty(document, 'visibilityState', {value: 'hidden'})")
    return_to_tab(page, "visibilitychange")
    page.clock.run_for(10_000)
    assert reads_of_the_session(visitor) == 2


def test_a_page_of_one_user_reports_the_sign_in_of_another(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    visitor.page.clock.install()
    page = visitor.develop()
    sign_out_at_the_provider(visitor)
    return_to_tab(page, "focus")
    page.clock.run_for(10)
    expect(part(page, "ended")).to_contain_text("Your sign-in here has ended.")
    visitor.page = visitor.context.new_page()
    visitor.develop(user="bob")
    visitor.page.close()
    visitor.page = page
    return_to_tab(page, "focus")
    page.clock.run_for(5_000)
    expect(part(page, "ended")).to_contain_text("You are signed in here as Bob Baker now.")
    part(page, "ended").get_by_role("link", name="Reload this page").click()
    expect(page.get_by_text("Signed in as Bob Baker")).to_be_visible()
    expect(part(page, "ended")).to_be_hidden()
    visitor.check_no_errors()


def test_a_sign_in_in_another_tab_is_detected(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    visitor.page.clock.install()
    page = visitor.develop()
    sign_out_at_the_provider(visitor)
    return_to_tab(page, "focus")
    page.clock.run_for(10)
    expect(part(page, "ended")).to_be_visible()
    visitor.page = visitor.context.new_page()
    visitor.develop()
    visitor.page.close()
    visitor.page = page
    return_to_tab(page, "focus")
    page.clock.run_for(5_000)
    expect(part(page, "ended")).to_be_hidden()
    expect(page.get_by_text("Signed in as Alice Archer")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    expect(page.get_by_role("main")).to_contain_text("alice@acme.example", use_inner_text=True)
    expect(part(page, "token-left")).to_have_text(re.compile(r"^(5 min 00|4 min 5\d) s left$"))


def test_without_scripts_the_page_shows_the_sign_out_after_a_reload(
    new_visitor: NewVisitor,
) -> None:
    visitor = new_visitor(Look(scripts=False))
    page = visitor.develop()
    expect(part(page, "ended")).to_be_hidden()
    sign_out_at_the_provider(visitor)
    page.reload()
    expect(page.get_by_role("heading", name="Sign in to Acme Corporation")).to_be_visible()
    visitor.check()
