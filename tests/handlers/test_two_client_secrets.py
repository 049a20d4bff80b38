"""A client secret is replaced at the provider without an interruption: the tenant has both for a while."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.kit.faulty.provider import FaultyProvider
from tests.kit.raw import change_tenant
from tests.kit.world import World

OLD, NEW = "the-old-secret-of-acme-32-bytes-long", "the-new-secret-of-acme-32-bytes-long"


def register(provider: FaultyProvider, secret: str) -> None:
    """Let the provider accept only this secret."""
    client = replace(provider.settings.clients[0], client_secret=secret)
    provider.settings = replace(provider.settings, clients=(client,))


@pytest.mark.gen_test
async def test_a_secret_is_replaced_while_users_are_signed_in(world: World) -> None:
    register(world.acme, OLD)
    change_tenant(world, "acme", client={"secret": OLD})
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")

    change_tenant(world, "acme", client={"secret": [{"value": OLD}, {"value": NEW}]}, par=True)
    await world.expire_access_token(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/echo"))).status == 200, "the old one is still accepted"
    register(world.acme, NEW)
    await world.expire_access_token(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/echo"))).status == 200, "the new one is"
    await world.quick_sign_in(world.browser(), "acme")
    await world.expire_access_token(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/echo"))).status == 200

    change_tenant(world, "acme", client={"secret": NEW})
    await world.expire_access_token(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/echo"))).status == 200, "the login is still there"


@pytest.mark.gen_test
async def test_a_login_is_kept_while_the_provider_refuses_both(world: World) -> None:
    register(world.acme, OLD)
    change_tenant(world, "acme", client={"secret": OLD})
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    change_tenant(world, "acme", client={"secret": [{"value": "wrong-1"}, {"value": "wrong-2"}]})
    await world.expire_access_token(browser, "acme")
    response = await browser.fetch(world.at("/t/acme/api/echo"))
    assert (response.status, json.loads(response.text)["code"]) == (503, "client_rejected")
    change_tenant(world, "acme", client={"secret": [{"value": "wrong-1"}, {"value": OLD}]})
    world.clock.advance(60)
    await world.expire_access_token(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/echo"))).status == 200
