"""A real browser posts the authorization response from another site, over http on localhost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.stage import Stage
from tests.browser.visitor import Look, Visitor
from tests.kit.raw import change_tenant


@pytest.mark.parametrize("look", [Look(), Look(390, "dark", scripts=False)], ids=str)
@pytest.mark.parametrize("mode", ["form_post", "form_post.jwt"])
def test_a_posted_response_adds_the_login_to_the_session_of_the_browser(
    stage: Stage, new_visitor: Callable[..., Visitor], look: Look, mode: str
) -> None:
    stage.ask(lambda world: change_tenant(world, "acme", response_mode=mode))
    visitor = new_visitor(look)
    visitor.arrive("globex")
    stage.ask(lambda world: setattr(world.acme, "automatic_user", "alice"))
    page = visitor.open("/t/acme/login")
    if not look.scripts:
        expect(page.get_by_role("heading", level=1)).to_have_text("One moment")
        visitor.check_accessibility()
        page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(stage.at("/t/acme/"))
    expect(page.get_by_text("Signed in as Alice Archer")).to_be_visible()
    visitor.check()
    page.goto(stage.at("/t/globex/"))
    expect(page.get_by_text("Signed in as Gina Gomez")).to_be_visible()
    cookies = {cookie["name"]: cookie for cookie in visitor.context.cookies()}
    assert cookies["portal"]["sameSite"] == "Lax"
    assert (cookies["portal-attempt-post"]["sameSite"], cookies["portal-attempt-post"]["httpOnly"]) == (
        "None",
        True,
    )
    assert visitor.console_errors == []
    callbacks = [url for url in visitor.requests if url.startswith(stage.at("/t/acme/callback"))]
    assert callbacks
    assert not any(secret in url for url in callbacks for secret in stage.issued())


def test_a_silent_login_that_is_refused_ends_at_the_providers_form(
    stage: Stage, new_visitor: Callable[..., Visitor]
) -> None:
    stage.ask(lambda world: change_tenant(world, "acme", response_mode="form_post"))
    visitor = new_visitor()
    page = visitor.open("/t/acme/login?prompt=none&return_to=/account")
    expect(page.get_by_label("User name")).to_be_visible()
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill("acme-alice")
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page).to_have_url(stage.at("/account"))
    assert visitor.console_errors == []
