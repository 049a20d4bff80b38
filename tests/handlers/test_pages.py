"""The pages in a browser without JavaScript."""

from __future__ import annotations

import json

import pytest

from tests.kit.browser import Form, Response
from tests.kit.world import World


def _explorer(page: Response) -> Form:
    return next(form for form in page.forms if "body" in dict(form.fields))


@pytest.mark.gen_test
async def test_the_tenant_home_without_a_login_offers_to_sign_in(world: World) -> None:
    page = await world.browser().open(world.at("/t/acme/"))
    assert page.status == 200
    assert any(link.startswith("/t/acme/login") for link in page.links)
    assert world.acme.requests.total() == 0


@pytest.mark.gen_test
async def test_the_tenant_home_shows_the_user_and_the_developer_page_the_granted_scopes(world: World) -> None:
    browser = world.browser()
    page = await world.sign_in(browser, "acme", "bob")
    assert "Bob Baker" in page.text
    assert "bob@acme.example" in page.text
    assert not [word for word in ("read:orders", "oken", world.acme.issuer) if word in main_of(page)]
    page = await browser.open(world.at("/t/acme/developer"))
    assert "Bob Baker" in page.text
    assert "read:orders" in page.text
    assert "write:orders" in page.text  # requested, not granted, and shown as missing
    assert world.acme.issuer in page.text


def main_of(page: Response) -> str:
    """The content of a page, without the header and the footer that all pages have."""
    return page.text.partition("<main")[2].partition("</main>")[0]


@pytest.mark.gen_test
async def test_the_explorer_calls_the_api_without_javascript(world: World) -> None:
    browser = world.browser()
    page = await world.developer_page(browser, "acme")
    page = await browser.submit(_explorer(page), {"method": "GET", "path": "/orders/A-1001", "body": ""})
    assert page.status == 200
    assert "A-1001" in page.text
    assert world.acme_api.calls["record"] == 1
    posted = await browser.submit(
        _explorer(page), {"method": "POST", "path": "/echo", "body": '{"hello": "world"}'}
    )
    assert "hello" in posted.text
    assert world.acme_api.received[-1].method == "POST"


@pytest.mark.gen_test
async def test_the_explorer_keeps_the_input_when_it_cannot_be_sent(world: World) -> None:
    browser = world.browser()
    page = await world.developer_page(browser, "acme")
    page = await browser.submit(_explorer(page), {"method": "PUT", "path": "/../secret", "body": "my text"})
    assert page.status == 200
    assert "/../secret" in page.text
    assert "my text" in page.text
    assert world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_the_explorer_of_an_ended_login_offers_to_sign_in_again(world: World) -> None:
    browser = world.browser()
    page = await world.developer_page(browser, "acme")
    await world.expire_access_token(browser, "acme")
    world.acme.faults.refresh_error = "invalid_grant"
    page = await browser.submit(_explorer(page), {"method": "GET", "path": "/orders", "body": ""})
    assert any(link.startswith("/t/acme/login") for link in page.links)
    assert "ended" in page.text


@pytest.mark.gen_test
async def test_a_user_who_cancels_at_the_provider_gets_a_neutral_page(world: World) -> None:
    browser = world.browser()
    page = await world.to_provider(browser, "acme", "?return_to=/desk/acme/%23/orders")
    form = next(f for f in page.forms if any(name == "cancel" for name, _ in f.buttons))
    refused = await browser.submit(form, button="cancel")
    assert refused.url.startswith(world.at("/t/acme/callback"))
    assert refused.status == 200
    assert "Sign-in was cancelled" in refused.text
    assert "Error" not in refused.text
    assert "/t/acme/login?return_to=%2Fdesk%2Facme%2F%23%2Forders" in refused.links
    assert world.acme.requests["code"] == 0


@pytest.mark.gen_test
async def test_cancelling_leaves_a_sign_in_of_before_as_it_was(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    page = await world.to_provider(browser, "acme", "?prompt=login")
    refused = await browser.submit(page.form("sign-in"), button="cancel")
    assert "You are still signed in to" in refused.text
    assert "Alice Archer" in refused.text
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_a_refusal_of_the_organisation_is_not_called_a_cancellation(world: World) -> None:
    world.acme.faults.authorization_error = ("access_denied", "User is not assigned to this application.")
    browser = world.browser()
    refused = await browser.open(await world.stop_before_callback(browser, "acme"))
    assert refused.status == 403
    assert "Access was denied" in refused.text
    assert "not assigned" in refused.text


@pytest.mark.gen_test
async def test_the_session_endpoint_names_tenants_and_no_token(world: World) -> None:
    browser = world.browser()
    found = json.loads((await browser.fetch(world.at("/session"))).body)
    assert (found["tenants"], found["session"]) == ([], None)
    await world.quick_sign_in(browser, "acme")
    response = await browser.fetch(world.at("/session"))
    (tenant,) = json.loads(response.body)["tenants"]
    token = (await world.expire_access_token(browser, "acme")).reveal()
    assert token not in response.text
    assert tenant["roles"] == ["sales", "admin"]
    assert tenant["slug"] == "acme"
    assert tenant["user"] == "Alice Archer"


@pytest.mark.gen_test
async def test_the_account_page_lists_the_tenants_of_the_browser(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    page = await browser.open(world.at("/account"))
    assert "Acme Corporation" in page.text
    assert "Globex" in page.text


@pytest.mark.gen_test
async def test_signing_out_everywhere_leads_through_every_provider(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    page = await browser.open(world.at("/account"))
    left = await browser.submit(next(form for form in page.forms if form.action == "/logout"))
    assert left.url == world.at("/signed-out")
    assert world.acme.requests["end_session"] == 1
    assert world.globex.requests["end_session"] == 1
    assert world.acme.requests["revocation"] == 1
    assert world.globex.requests["revocation"] == 1
    assert browser.cookie("localhost", "portal") is None


@pytest.mark.gen_test
async def test_an_unknown_page_is_the_portals_own_error_page(world: World) -> None:
    page = await world.browser().open(world.at("/nowhere"))
    assert page.status == 404
    assert page.headers["X-Request-Id"] in page.text
    as_json = await world.browser().fetch(world.at("/nowhere"), headers={"Accept": "application/json"})
    assert as_json.headers["Content-Type"] == "application/problem+json"


@pytest.mark.gen_test
async def test_a_method_that_is_not_allowed_is_an_error_page(world: World) -> None:
    response = await world.browser().step(world.at("/account"), "PUT", "x", site="same-origin")
    assert response.status == 405
    assert response.headers["X-Request-Id"] in response.text


@pytest.mark.gen_test
async def test_health_and_readiness(world: World) -> None:
    browser = world.browser()
    assert json.loads((await browser.fetch(world.at("/healthz"))).body) == {"status": "ok"}
    ready = await browser.fetch(world.at("/readyz"))
    details = json.loads(ready.body)
    assert abs(details.pop("clock_offset")) < 1
    assert details == {
        "status": "ready",
        "database": "ok",
        "tenants": 2,
        "tenants_without_file": 0,
        "warnings": [],
    }


@pytest.mark.gen_test
async def test_the_portal_is_not_ready_without_its_database(world: World) -> None:
    await world.running.portal.store.close()
    response = await world.browser().fetch(world.at("/readyz"))
    assert response.status == 503
    assert response.headers["Retry-After"]
    details = json.loads(response.body)
    assert (details["status"], details["database"]) == ("unavailable", "unavailable")
    assert (await world.browser().fetch(world.at("/healthz"))).status == 200
    page = await world.browser().open(world.at("/t/acme/login"))
    assert page.status == 503
    assert page.headers["Content-Type"].startswith("text/html")


@pytest.mark.gen_test
async def test_an_old_browser_that_sends_no_origin_can_still_sign_out_with_its_form(world: World) -> None:
    browser = world.browser()
    page = await world.quick_sign_in(browser, "acme")
    form: Form = page.form("/t/acme/logout")
    token = dict(form.fields)["_xsrf"]
    refused = await browser.fetch(world.at("/t/acme/logout"), "POST", body="", site=None)
    assert refused.status == 403
    assert await world.login_of(browser, "acme") is not None
    left = await browser.fetch(world.at("/t/acme/logout"), "POST", body=f"_xsrf={token}", site=None)
    assert left.status == 303


@pytest.mark.gen_test
async def test_assets_have_security_headers_and_a_version(world: World) -> None:
    browser = world.browser()
    page = await browser.open(world.at("/"))
    assert "portal.css?v=" in page.text
    style = await browser.fetch(world.at("/static/portal.css"))
    assert style.status == 200
    assert style.headers["X-Content-Type-Options"] == "nosniff"
    missing = await browser.fetch(world.at("/static/nothing.css"))
    assert missing.status == 404
    assert missing.headers["X-Content-Type-Options"] == "nosniff"
