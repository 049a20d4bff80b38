"""The main user story in a real browser, with and without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.stage import Stage
from tests.browser.visitor import Look, Visitor

LOOKS = (
    Look(1280, "light"),
    Look(390, "dark"),
    Look(390, "light", scripts=False),
    Look(1280, "dark", scripts=False),
)
TOKEN_SECONDS = 300


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_a_new_user_signs_in_to_two_organisations_calls_apis_switches_and_signs_out(
    stage: Stage, new_visitor: Callable[..., Visitor], look: Look
) -> None:
    visitor = new_visitor(look)
    if look.scripts:
        visitor.page.clock.install()
    choose_and_sign_in(visitor)
    call_acme(visitor)
    add_globex(visitor)
    switch_back(visitor)
    wait_for_token_expiry(visitor)
    sign_out_of_acme(visitor)
    sign_out_everywhere(visitor)
    visitor.check_no_errors()


def choose_and_sign_in(visitor: Visitor) -> None:
    page = visitor.open("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Find your organisation")
    visitor.check()
    page.get_by_role("main").get_by_role("link", name="Acme Corporation").click()
    assert page.url.startswith(visitor.stage.issuers["acme"])
    visitor.check()
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill("acme-alice")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Allow Tenant Portal?")
    visitor.check()
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page).to_have_url(visitor.stage.at("/t/acme/"))
    expect(page.get_by_text("Signed in as Alice Archer")).to_be_visible()
    expect(page.get_by_text("alice@acme.example").first).to_be_visible()
    visitor.check()


def call_acme(visitor: Visitor) -> None:
    page = visitor.page
    page.get_by_role("main").get_by_role("link", name="Developer").click()
    visitor.press_for_response(page.get_by_role("button", name="GET /orders", exact=True))
    expect(page.locator(".response-code")).to_have_text("200 OK")
    expect(page.locator("[data-response-body]")).to_contain_text('"id": "A-1001"')
    visitor.check()
    visitor.call("/orders", "POST", '{"item": "Anvil", "quantity": 2}')
    expect(page.locator(".response-code")).to_have_text("201 Created")
    expect(page.locator("[data-response-body]")).to_contain_text('"created_by": "acme-001"')
    visitor.check()


def add_globex(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open_switcher()
    page.get_by_role("link", name="Add another organisation").click()
    expect(page.get_by_text("Signed in as Alice Archer")).to_be_visible()
    page.get_by_role("searchbox").fill("somebody@globex.example")
    page.get_by_role("button", name="Search").click()
    assert page.url.startswith(visitor.stage.issuers["globex"])
    visitor.check()
    visitor.sign_in("globex", "gina")
    expect(page.get_by_text("Signed in as Gina Gomez")).to_be_visible()
    visitor.open("/t/globex/developer")
    visitor.call("/projects")
    expect(page.locator(".response-code")).to_have_text("200 OK")
    expect(page.locator("[data-response-body]")).to_contain_text('"id": "P-1"')
    visitor.check()


def switch_back(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open_switcher()
    visitor.check()
    requests_before = len(visitor.requests)
    page.get_by_role("navigation").get_by_role("link", name="Acme Corporation").click()
    expect(page).to_have_url(visitor.stage.at("/t/acme/developer"))
    expect(page.get_by_text("Signed in as Alice Archer")).to_be_visible()
    assert all(url.startswith(visitor.stage.url) for url in visitor.requests[requests_before:])


def wait_for_token_expiry(visitor: Visitor) -> None:
    page, stage = visitor.open("/t/acme/developer"), visitor.stage
    left = page.locator("[data-token-left]")
    expect(left).to_contain_text("min" if visitor.look.scripts else "Valid until")
    stage.ask(lambda world: world.clock.advance(TOKEN_SECONDS + 1))
    if visitor.look.scripts:
        page.clock.fast_forward((TOKEN_SECONDS + 1) * 1000)
    else:
        page.reload()
    expect(left).to_contain_text("Expired")
    visitor.call("/orders/A-1001")
    expect(page.locator(".response-code")).to_have_text("200 OK")
    expect(left).to_have_text(
        re.compile(r"^[45] min \d\d s left$" if visitor.look.scripts else r"^Valid until \d\d:\d\d:\d\d UTC$")
    )
    assert stage.ask(lambda world: world.acme.requests["refresh"]) == 1
    visitor.check()


def sign_out_of_acme(visitor: Visitor) -> None:
    page, stage = visitor.page, visitor.stage
    page.get_by_role("main").get_by_role("button", name="Sign out of Acme Corporation").click()
    expect(page).to_have_url(stage.at("/t/acme/signed-out"))
    expect(page.get_by_role("heading", level=1)).to_have_text("You are signed out of Acme Corporation")
    assert stage.ask(lambda world: world.acme.requests["end_session"]) == 1
    visitor.check()
    page.get_by_role("main").get_by_role("link", name="Globex").click()
    visitor.open("/t/globex/developer")
    visitor.call("/projects")
    expect(page.locator(".response-code")).to_have_text("200 OK")
    expect_to_be_asked_to_sign_in(visitor.open("/t/acme/"), "Acme Corporation")


def sign_out_everywhere(visitor: Visitor) -> None:
    page = visitor.open("/account")
    expect(page.get_by_role("main").get_by_role("button", name="Sign out of")).to_have_count(1)
    visitor.check()
    page.get_by_role("main").get_by_role("button", name="Sign out everywhere").click()
    expect(page).to_have_url(visitor.stage.at("/signed-out"))
    expect(page.get_by_role("heading", level=1)).to_have_text("You are signed out everywhere")
    visitor.check()
    assert "portal" not in {cookie["name"] for cookie in visitor.context.cookies(visitor.stage.url)}
    expect_to_be_asked_to_sign_in(visitor.open("/t/globex/"), "Globex")


def expect_to_be_asked_to_sign_in(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Sign in to {name}")
