"""The end of a session on pages of the portal: said in time, avoidable, harmless; and the account page."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.visitor import Look, Visitor

NewVisitor = Callable[..., Visitor]


def notice(page: Page) -> Locator:
    return page.locator("[data-session-notice]")


def open_account(visitor: Visitor) -> Page:
    """Open the account page with a clock that the test moves."""
    visitor.page.clock.install()
    visitor.arrive()
    page = visitor.open("/account")
    expect(notice(page)).to_be_hidden()
    return page


def pass_time(visitor: Visitor, seconds: int) -> None:
    """Move the portal's clock and that of the page."""
    visitor.stage.ask(lambda world: world.clock.advance(seconds))
    visitor.page.clock.fast_forward(seconds * 1000)


def reads(visitor: Visitor) -> int:
    return visitor.requests.count(visitor.stage.at("/session"))


def test_the_reader_is_told_in_time_and_stays_signed_in(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = open_account(visitor)
    pass_time(visitor, 3_400)
    assert reads(visitor) == 0, "nothing is asked while the end is far"
    pass_time(visitor, 100)
    expect(notice(page).get_by_role("status")).to_contain_text("You will be signed out soon")
    visitor.check()
    notice(page).get_by_role("button", name="Stay signed in").click()
    expect(notice(page)).to_be_hidden()
    pass_time(visitor, 3_000)
    page.reload()
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    expect(page.locator("main").get_by_text("Alice Archer")).to_be_visible()
    visitor.check_no_errors()


def test_after_the_end_the_page_stays_and_leads_back_to_itself(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = open_account(visitor)
    pass_time(visitor, 3_500)
    expect(notice(page)).to_be_visible()
    pass_time(visitor, 110)
    expect(notice(page).get_by_role("status")).to_contain_text("You are signed out here now.")
    expect(page.get_by_role("heading", name="Where you are signed in")).to_be_visible()
    visitor.check()
    link = notice(page).get_by_role("link", name="Sign in again")
    target = urlsplit(link.get_attribute("href") or "")
    assert (target.path, parse_qs(target.query)) == ("/t/acme/login", {"return_to": ["/account"]})
    visitor.stage.ask(lambda world: setattr(world.acme, "automatic_user", "alice"))
    link.click()
    expect(page).to_have_url(visitor.stage.at("/account"))
    visitor.check_no_errors()


def test_another_tab_that_extends_the_session_hides_the_notice(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = open_account(visitor)
    pass_time(visitor, 3_500)
    expect(notice(page)).to_be_visible()
    other = visitor.context.new_page()
    other.goto(visitor.stage.at("/"))
    other.close()
    page.clock.fast_forward(16_000)
    expect(notice(page)).to_be_hidden()


def test_an_end_that_cannot_be_moved_is_said_so(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    visitor.page.clock.install()
    visitor.arrive()
    for _ in range(24):
        visitor.stage.ask(lambda world: world.clock.advance(1_790))
        visitor.open("/account")
    page = visitor.page
    pass_time(visitor, 140)
    expect(notice(page)).to_contain_text("this time cannot be extended")
    expect(notice(page).get_by_role("button")).to_have_count(0)


def test_a_page_that_cannot_reach_the_portal_says_nothing_wrong(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = open_account(visitor)
    page.route("**/session", lambda route: route.fulfill(status=503, body="{}"))
    pass_time(visitor, 3_500)
    expect(notice(page)).to_be_hidden()
    page.unroute("**/session")
    page.clock.fast_forward(31_000)
    expect(notice(page)).to_be_visible()


def test_typed_text_survives_the_end_of_the_session_in_the_explorer(new_visitor: NewVisitor) -> None:
    """Without scripts: the form is posted, refused, and sent again after a sign-in in another tab."""
    visitor = new_visitor(Look(390, "light", scripts=False))
    page = visitor.develop()
    visitor.stage.ask(lambda world: world.clock.advance(3_700))
    page.get_by_label("Path").fill("/echo?typed=1")
    with page.expect_navigation():
        page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Your sign-in here has ended.")).to_be_visible()
    visitor.check()
    visitor.stage.ask(lambda world: setattr(world.acme, "automatic_user", "alice"))
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Sign in, in a new tab").click()
    expect(opened.value).to_have_url(visitor.stage.at("/t/acme/"))
    with page.expect_navigation():
        page.get_by_role("button", name="Send again what you entered").click()
    expect(page.get_by_label("Path")).to_have_value("/echo?typed=1")
    assert visitor.stage.ask(lambda world: world.acme_api.calls["echo"]) == 1


LOOKS = [
    Look(320, "light"),
    Look(390, "dark"),
    Look(1280, "light", scripts=False),
    Look(1280, "dark"),
]


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_the_account_page_at_every_width(new_visitor: NewVisitor, look: Look) -> None:
    there = new_visitor()
    there.arrive()
    visitor = new_visitor(look)
    visitor.arrive()
    visitor.arrive("globex")
    page = visitor.open("/account")
    expect(page.get_by_role("heading", name="Acme Corporation")).to_be_visible()
    visitor.check()
    page.get_by_role("button", name="End the sign-in of").click()
    expect(page.get_by_role("status").first).to_have_text("One sign-in has ended.")
    visitor.check()
    visitor.check_no_errors()
    there.page.reload()
    expect(there.page.get_by_role("heading", name="Sign in to Acme Corporation")).to_be_visible()
