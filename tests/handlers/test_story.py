"""The main user story, step by step, with the test browser."""

from __future__ import annotations

import json

import pytest

from tests.kit.world import World


@pytest.mark.gen_test
async def test_a_user_signs_in_to_two_tenants_calls_switches_and_signs_out(world: World) -> None:
    browser = world.browser()
    start = await browser.open(world.at("/"))
    assert "Acme Corporation" in start.text
    assert "Globex" in start.text

    home = await world.sign_in(browser, "acme")
    assert home.url == world.at("/t/acme/")
    assert "Alice Archer" in home.text

    orders = await browser.fetch(world.at("/t/acme/api/orders"))
    assert orders.status == 200, orders.text
    assert json.loads(orders.body)

    home = await world.sign_in(browser, "globex")
    assert home.url == world.at("/t/globex/")
    assert "Gina Gomez" in home.text
    assert "/t/acme/" in home.links
    projects = await browser.fetch(world.at("/t/globex/api/projects"))
    assert projects.status == 200, projects.text

    await world.expire_access_token(browser, "acme")
    again = await browser.fetch(world.at("/t/acme/api/orders"))
    assert again.status == 200
    assert world.acme.requests["refresh"] == 1

    home = await browser.open(world.at("/t/acme/"))
    left = await browser.submit(home.form("/t/acme/logout"))
    assert left.url == world.at("/t/acme/signed-out")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200

    page = await browser.open(world.at("/"))
    left = await browser.submit(next(form for form in page.forms if form.action == "/logout"))
    assert left.url == world.at("/signed-out")
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 401
