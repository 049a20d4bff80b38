"""A tenant's logo and colour on pages."""

from __future__ import annotations

import pytest

from tests.kit.logos import SVG, png
from tests.kit.raw import change_tenant
from tests.kit.world import World
from tests.unit.outbound.wire import http_response, serving, until

FOREVER = "public, max-age=31536000, immutable"


def style_of(text: str) -> str | None:
    """The address of the tenant's style sheet on a page."""
    found = text.partition('href="/t/')[2].partition('"')[0]
    return f"/t/{found}" if "/style-" in found else None


@pytest.mark.gen_test
async def test_pages_show_the_logo_once_it_is_here_and_browsers_keep_it(world: World) -> None:
    async with serving(lambda _: http_response(200, SVG)) as wire:
        change_tenant(world, "acme", branding={"logo_url": wire.url("/logo")})
        browser = world.browser()
        assert "avatar-logo" not in (await browser.open(world.at("/t/acme/"))).text
        tenant = world.running.portal.registry.get("acme")
        assert tenant is not None
        await until(lambda: world.running.portal.logos.now(tenant) is not None)
        for path in ("/t/acme/", "/"):
            assert "avatar-logo" in (await browser.open(world.at(path))).text, path
        address = (
            (await browser.open(world.at("/t/acme/")))
            .text.partition('avatar-logo" src="')[2]
            .partition('"')[0]
        )
        assert address.startswith("/t/acme/logo?v=")
        assert "avatar-logo" in (await world.quick_sign_in(browser, "acme")).text
        for url, kept in (
            (address, FOREVER),
            ("/t/acme/logo", "no-cache"),
            ("/t/acme/logo?v=old", "no-cache"),
        ):
            response = await browser.step(world.at(url))
            assert (response.status, response.text, response.headers["Cache-Control"]) == (200, SVG, kept)
        assert len(wire.received) == 1


@pytest.mark.gen_test
async def test_a_process_that_has_not_fetched_the_logo_waits_for_it(world: World) -> None:
    """The page may be made by one process, and the logo be asked of another."""
    async with serving(lambda _: http_response(200, png(40, 40))) as wire:
        change_tenant(world, "acme", branding={"logo_url": wire.url("/logo")})
        response = await world.browser().step(world.at("/t/acme/logo?v=of-another-process"))
    assert (response.status, response.headers["Content-Type"]) == (200, "image/png")


@pytest.mark.gen_test
async def test_there_is_no_logo_of_nobody(world: World) -> None:
    for path in ("/t/acme/logo", "/t/nobody/logo", "/t/nobody/style-0000000000000000.css"):
        response = await world.browser().step(world.at(path))
        assert (response.status, response.headers["Cache-Control"]) == (404, "no-store")


@pytest.mark.gen_test
async def test_the_colour_has_a_style_sheet_on_the_tenants_own_pages_only(world: World) -> None:
    change_tenant(world, "acme", branding={"color": "#7a1f5c"})
    browser = world.browser()
    address = style_of((await browser.open(world.at("/t/acme/"))).text)
    assert address is not None
    response = await browser.step(world.at(address))
    assert response.status == 200
    assert "background: #7a1f5c; color: #ffffff;" in response.text
    assert response.headers["Content-Type"] == "text/css; charset=utf-8"
    assert response.headers["Cache-Control"] == FOREVER
    assert style_of((await world.quick_sign_in(browser, "acme")).text) == address
    for path in ("/", "/account", "/nowhere"):
        assert style_of((await browser.open(world.at(path))).text) is None, path

    change_tenant(world, "acme", branding={"color": "#ffd400"})
    changed = style_of((await browser.open(world.at("/t/acme/"))).text)
    assert changed not in (None, address)
    outdated = await browser.step(world.at(address))
    assert "background: #ffd400; color: #000000;" in outdated.text
    assert outdated.headers["Cache-Control"] == "no-cache"
