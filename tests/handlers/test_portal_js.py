"""How portal.js is served, and the page where a sign-in in a window of its own ends."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.kit.raw import add_second_provider
from tests.kit.world import World

SCRIPT = "/static/portal.js"


@pytest.mark.gen_test
async def test_portal_js_is_checked_again_each_time_it_is_used(world: World) -> None:
    browser = world.browser()
    script = await browser.fetch(world.at(SCRIPT))
    assert script.status == 200
    assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert script.headers["Cache-Control"] == "no-cache"
    same = await browser.fetch(world.at(SCRIPT), headers={"If-None-Match": script.headers["Etag"]})
    assert (same.status, same.body) == (304, b"")


@pytest.mark.gen_test
async def test_portal_js_has_a_name_that_is_cached_for_ever(world: World) -> None:
    browser = world.browser()
    script = await browser.fetch(world.at(SCRIPT))
    name = script.headers["Content-Location"]
    hashed = await browser.fetch(world.at(name))
    assert (hashed.status, hashed.body) == (200, script.body)
    assert hashed.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert hashed.headers["X-Content-Type-Options"] == "nosniff"
    assert (await browser.fetch(world.at(name), "HEAD")).headers["Content-Length"] == str(len(script.body))


@pytest.mark.gen_test
async def test_a_name_of_another_version_leads_to_this_one_and_is_not_kept(world: World) -> None:
    browser = world.browser()
    other = await browser.fetch(world.at("/static/portal-0123456789abcdef.js"))
    assert (other.status, other.headers["Location"]) == (302, SCRIPT)
    assert other.headers["Cache-Control"] == "no-store"
    for name in ("portal-0123456789abcde.js", "portal-0123456789ABCDEF.js", "menu-0123456789abcdef.js"):
        assert (await browser.fetch(world.at(f"/static/{name}"))).status == 404


@pytest.mark.gen_test
async def test_a_sign_in_in_a_window_of_its_own_ends_on_a_page_that_closes_it(world: World) -> None:
    browser = world.browser()
    world.acme.automatic_user = "alice"
    page = await browser.open(world.at(f"/t/acme/login?return_to={quote('/t/acme/signed-in', safe='')}"))
    assert page.url == world.at("/t/acme/signed-in")
    assert "You are signed in to Acme Corporation" in page.text
    assert 'data-tenant="acme"' in page.text
    assert "/static/signed-in.js?v=" in page.text
    assert "/t/acme/" in page.links


@pytest.mark.gen_test
async def test_the_page_of_a_sign_in_that_did_not_happen_offers_it(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "globex")
    page = await browser.open(world.at("/t/acme/signed-in"))
    assert page.url == world.at("/t/acme/signed-in")
    assert any(link.startswith("/t/acme/login") for link in page.links)
    assert (await browser.open(world.at("/t/nobody/signed-in"))).status == 404


@pytest.mark.gen_test
async def test_a_choice_between_providers_keeps_where_the_sign_in_ends(world: World) -> None:
    add_second_provider(world)
    browser = world.browser()
    for wanted, kept in (("/t/acme/signed-in", "/t/acme/signed-in"), ("https://evil.example/", "/t/acme/")):
        page = await browser.open(world.at(f"/t/acme/login?return_to={quote(wanted, safe='')}"))
        assert page.status == 200
        for provider in ("partners", "staff"):
            assert f"/t/acme/login?provider={provider}&return_to={quote(kept, safe='')}" in page.links
