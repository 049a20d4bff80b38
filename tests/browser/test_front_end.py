"""Runs the sample code for front-end developers from docs/reference/http.md in a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.stage import Stage
from tests.browser.visitor import Visitor

NewVisitor = Callable[..., Visitor]
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "http.md"
BLOCKS = re.findall(r"^```js\n(.*?)^```$", REFERENCE.read_text(), re.MULTILINE | re.DOTALL)
CODE = "\n".join(block for block in BLOCKS if "function " in block)
"""The functions; the other blocks are about a page that has more than these."""


def own_page(visitor: Visitor) -> Page:
    """A developer's page on the portal's origin, with the code of the reference."""
    body = f'<!doctype html><html lang="en"><title>Orders</title><h1>Orders</h1><script>{CODE}</script>'
    page = visitor.page
    page.route("**/orders-page", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto(visitor.stage.at("/orders-page"))
    return page


def test_the_sample_makes_a_call_and_starts_a_missing_login(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    visitor.arrive()
    page = own_page(visitor)
    response = page.evaluate(
        """async () => {
            const response = await call("/echo", { method: "POST", body: "[1]" });
            return [response.status, (await response.json()).body];
        }"""
    )
    assert response == [200, "[1]"]
    page.evaluate("() => signOutHereOnly()")
    page.evaluate("() => void call('/orders')")
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page).to_have_url(stage.at("/t/acme/"))
    expect(page.get_by_text("Signed in as Alice Archer")).to_be_visible()


def test_a_fetch_signs_out_of_the_portal_and_a_form_also_of_the_provider(
    stage: Stage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    visitor.arrive()
    page = own_page(visitor)
    tenants = "async () => (await (await fetch('/session')).json()).tenants.map((tenant) => tenant.slug)"
    assert page.evaluate(tenants) == ["acme"]
    page.evaluate("() => signOutHereOnly()")
    assert page.evaluate(tenants) == []
    visitor.open("/t/acme/login")
    page.get_by_role("button", name="Allow", exact=True).click()  # no password: the provider has a session
    expect(page).to_have_url(stage.at("/t/acme/"))
    own_page(visitor).evaluate("() => signOut()")
    expect(page).to_have_url(stage.at("/t/acme/signed-out"))
    visitor.open("/t/acme/login")
    expect(page.get_by_label("Password")).to_be_visible()
