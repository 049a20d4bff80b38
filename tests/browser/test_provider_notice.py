"""What a person sees when the sign-in service of an organisation does not work, in every look."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.stage import Stage
from tests.browser.test_every_look import check
from tests.browser.visitor import Look, Visitor
from tests.handlers.test_provider_health import break_provider, fail_until_unhealthy
from tests.kit.raw import add_second_provider

NewVisitor = Callable[..., Visitor]
LOOKS = [
    Look(width, scheme, scripts)
    for width in (390, 1280)
    for scheme in ("light", "dark")
    for scripts in (True, False)
]


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_the_sign_in_page_of_a_provider_that_fails_warns(
    stage: Stage, new_visitor: NewVisitor, look: Look
) -> None:
    stage.run(fail_until_unhealthy)
    visitor = new_visitor(look, reduced_motion="reduce")
    page = visitor.open("/")
    page.locator("main").get_by_role("link", name="Acme").first.click()
    expect(page).to_have_url(stage.at("/t/acme/"))
    notice = page.get_by_role("status").filter(has_text="has not worked lately")
    expect(notice).to_be_in_viewport()
    button = page.get_by_role("link", name="Continue")
    expect(button).to_be_in_viewport()
    check(visitor, "provider-warning")
    button.click()
    page.get_by_label("User name").wait_for()


@pytest.mark.parametrize("look", [Look(390, "dark", False), Look(1280)], ids=str)
def test_a_link_to_a_provider_that_is_gone_leads_to_the_others(
    stage: Stage, new_visitor: NewVisitor, look: Look
) -> None:
    stage.ask(add_second_provider)
    stage.ask(break_provider)
    visitor = new_visitor(look, reduced_motion="reduce")
    page = visitor.open("/t/acme/login?provider=staff")
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "The sign-in service of this organisation does not respond"
    )
    check(visitor, "provider-gone")
    page.get_by_role("link", name="Choose a sign-in service").click()
    expect(page.get_by_role("link", name="partners")).to_be_visible()
    check(visitor, "provider-choice")
