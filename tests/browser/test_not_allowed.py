"""An account that may not sign in: the page, another account, and the provider's sign-out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.visitor import Look, Visitor
from tests.kit.raw import change_tenant

NewVisitor = Callable[..., Visitor]
ADMINS = {
    "contact": "IT service desk, help@acme.example",
    "require": [{"claim": "roles", "contains": "admin"}],
}


@pytest.mark.parametrize("look", [Look(), Look(390, "dark")], ids=str)
def test_a_user_who_may_not_sign_in_can_change_the_account_or_sign_out(
    new_visitor: NewVisitor, look: Look
) -> None:
    visitor = new_visitor(look)
    visitor.stage.ask(lambda world: change_tenant(world, "acme", access=ADMINS))
    page = visitor.open("/t/acme/login")
    page.get_by_label("User name").fill("bob")
    page.get_by_label("Password").fill("acme-bob")
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "This account may not sign in at Acme Corporation"
    )
    for text in ("Bob Baker", "bob@acme.example", "IT service desk, help@acme.example"):
        expect(page.locator("main")).to_contain_text(text)
    visitor.check()
    page.get_by_role("button", name="Sign out at the sign-in service").click()
    if page.url.startswith(visitor.stage.issuers["acme"]):
        page.get_by_role("button").first.click()
    expect(page.get_by_role("heading", name="signed out")).to_be_visible()
    visitor.open("/t/acme/login")
    page.get_by_label("User name").fill("bob")
    page.get_by_label("Password").fill("acme-bob")
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("link", name="Sign in with another account").click()
    visitor.sign_in("acme", "alice")
    visitor.check_no_errors(refusals=True)
