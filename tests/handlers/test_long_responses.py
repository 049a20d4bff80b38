"""Authorization responses with too long values are refused, and the attempt stays valid (THREATS L2)."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.kit.raw import change_tenant, stored
from tests.kit.world import World
from tests.security.test_posted_login_threats import finish, is_rejected, post, response_form

LONGEST = {"code": 8_192, "error_description": 16_384}
LONGEST_OTHER = 4_096


@pytest.mark.parametrize(
    "name", ["code", "iss", "error", "error_description", "error_uri", "session_state", "state"]
)
@pytest.mark.gen_test
async def test_a_posted_value_that_is_too_long_does_not_use_up_the_attempt(world: World, name: str) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    for more in (1, 50_000):
        too_long = {**given, name: "x" * (LONGEST.get(name, LONGEST_OTHER) + more)}
        response = await post(world, browser, too_long)
        await is_rejected(world, browser, response)
        assert len(stored(world)["attempts"]) == 1, "the attempt was used up or the response was stored"
    posted = await post(world, browser, given)
    assert posted.status == 303
    assert (await finish(browser, world, posted)).status == 303
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.parametrize("character", ["\x01", "é", "😀"])
@pytest.mark.gen_test
async def test_characters_that_grow_in_json_do_not_use_up_the_attempt(world: World, character: str) -> None:
    """A stored response is JSON, where one byte of a form may become six."""
    browser = world.browser()
    given = await response_form(world, browser)
    raw = character * (90_000 // len(character.encode()))
    response = await post(world, browser, f"{urlencode(given)}&error_description={raw}")
    await is_rejected(world, browser, response)
    posted = await post(world, browser, f"{urlencode(given)}&unknown={raw}")
    assert posted.status == 303, "unknown parameters must not be stored"
    assert (await finish(browser, world, posted)).status == 303


@pytest.mark.gen_test
async def test_a_signed_response_that_is_too_long_does_not_use_up_the_attempt(world: World) -> None:
    change_tenant(world, "acme", response_mode="form_post.jwt")
    browser = world.browser()
    world.acme.automatic_user = "alice"
    page = await browser.open(world.at("/t/acme/login"))
    given = dict(page.form("/t/acme/callback").fields)
    assert set(given) == {"response"}
    response = await post(world, browser, {"response": given["response"] + "A" * 65_536})
    await is_rejected(world, browser, response)
    assert len(stored(world)["attempts"]) == 1
    posted = await post(world, browser, given)
    assert (await finish(browser, world, posted)).status == 303


@pytest.mark.parametrize("character", ["x", "\x01", "é"])
@pytest.mark.gen_test
async def test_values_of_the_maximal_length_are_accepted(world: World, character: str) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    allowed = {
        name: character * LONGEST.get(name, LONGEST_OTHER) for name in ("error_description", "error_uri")
    }
    body = "&".join([urlencode(given), *(f"{name}={value}" for name, value in allowed.items())])
    posted = await post(world, browser, body)
    assert posted.status == 303
    assert (await finish(browser, world, posted)).status == 303


@pytest.mark.parametrize("character", ["\x01", "é", "😀"])
@pytest.mark.gen_test
async def test_values_that_are_too_long_together_do_not_use_up_the_attempt(
    world: World, character: str
) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    sizes = {"code": 8_192, "error_description": 16_384} | dict.fromkeys(
        ("error", "error_uri", "session_state", "iss"), 4_096
    )
    long = {"state": given["state"]} | {name: character * size for name, size in sizes.items()}
    body = "&".join(f"{name}={value}" for name, value in long.items())
    refused = await post(world, browser, body)
    assert refused.status in {400, 413}
    honest = await post(world, browser, given)
    assert honest.status == 303
