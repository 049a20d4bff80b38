"""The code that docs/reference/http.md gives to front-end developers, run in a page of theirs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.stage import Stage
from tests.browser.visitor import Visitor

RequestSession = Callable[..., Visitor]
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "http.md"
CODE = "\n".join(re.findall(r"^```js\n(.*?)^```$", REFERENCE.read_text(), re.MULTILINE | re.DOTALL))


def own_page(visitor: Visitor) -> Page:
    """A developer's page on the portal's address, with the code of the reference."""
    body = f'<!doctype html><html lang="en"><title>Orders</title><h1>Orders</h1><script>{CODE}</script>'
    page = visitor.page
    page.route("**/orders-page", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto(visitor.stage.at("/orders-page"))
    return page


def test_a_call_is_made_and_a_login_that_is_missing_is_begun(
    stage: Stage, request_session: RequestSession
) -> None:
    visitor = request_session()
    visitor.arrive()
    page = own_page(visitor)
    response = page.evaluate(
        """async () => {
            const answer = await call("/echo", { method: "POST", body: "[1]" });
            return [answer.status, (await answer.json()).body];
        }"""
    )
    assert response == [200, "[1]"]
    page.evaluate("() => signOutHereOnly()")
    page.evaluate("() => void call('/orders')")
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page).to_have_url(stage.at("/t/acme/"))
    expect(page.get_by_text("Signed in as Alice Archer")).to_be_visible()


def test_a_fetch_signs_out_here_and_a_form_at_the_provider_too(
    stage: Stage, request_session: RequestSession
) -> None:
    visitor = request_session()
    visitor.arrive()
    page = own_page(visitor)
    tenants = "async () => (await (await fetch('/session')).json()).tenants.map((tenant) => tenant.slug)"
    assert page.evaluate(tenants) == ["acme"]
    page.evaluate("() => signOutHereOnly()")
    assert page.evaluate(tenants) == []
    visitor.open("/t/acme/login")
    page.get_by_role(
        "button", name="Allow", exact=True
    ).click()  # and no password: the provider knows the user
    expect(page).to_have_url(stage.at("/t/acme/"))
    own_page(visitor).evaluate("() => signOut()")
    expect(page).to_have_url(stage.at("/t/acme/signed-out"))
    visitor.open("/t/acme/login")
    expect(page.get_by_label("Password")).to_be_visible()
