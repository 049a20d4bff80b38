"""Answers of a provider with values longer than any: refused, and the attempt stays (THREATS L2)."""

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
async def test_a_posted_value_that_is_too_long_spends_nothing_and_the_honest_response_works(
    world: World, name: str
) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    for more in (1, 50_000):
        too_long = {**given, name: "x" * (LONGEST.get(name, LONGEST_OTHER) + more)}
        response = await post(world, browser, too_long)
        await is_rejected(world, browser, response)
        assert len(stored(world)["attempts"]) == 1, "nothing was taken, and nothing was put aside"
    posted = await post(world, browser, given)
    assert posted.status == 303
    assert (await finish(browser, world, posted)).status == 303
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.parametrize("letter", ["\x01", "é", "😀"])
@pytest.mark.gen_test
async def test_letters_that_grow_when_they_are_written_down_spend_nothing(world: World, letter: str) -> None:
    """What is put aside is written as JSON, where one byte of a form may become six."""
    browser = world.browser()
    given = await response_form(world, browser)
    raw = letter * (90_000 // len(letter.encode()))
    response = await post(world, browser, f"{urlencode(given)}&error_description={raw}")
    await is_rejected(world, browser, response)
    posted = await post(world, browser, f"{urlencode(given)}&unknown={raw}")
    assert posted.status == 303, "what means nothing is not kept"
    assert (await finish(browser, world, posted)).status == 303


@pytest.mark.gen_test
async def test_a_signed_response_that_is_too_long_spends_nothing(world: World) -> None:
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


@pytest.mark.parametrize("letter", ["x", "\x01", "é"])
@pytest.mark.gen_test
async def test_values_as_long_as_allowed_do_not_keep_a_response_out(world: World, letter: str) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    allowed = {name: letter * LONGEST.get(name, LONGEST_OTHER) for name in ("error_description", "error_uri")}
    body = "&".join([urlencode(given), *(f"{name}={value}" for name, value in allowed.items())])
    posted = await post(world, browser, body)
    assert posted.status == 303
    assert (await finish(browser, world, posted)).status == 303


@pytest.mark.parametrize("letter", ["\x01", "é", "😀"])
@pytest.mark.gen_test
async def test_values_that_are_too_long_together_do_not_spend_the_attempt(world: World, letter: str) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    sizes = {"code": 8_192, "error_description": 16_384} | dict.fromkeys(
        ("error", "error_uri", "session_state", "iss"), 4_096
    )
    long = {"state": given["state"]} | {name: letter * size for name, size in sizes.items()}
    body = "&".join(f"{name}={value}" for name, value in long.items())
    refused = await post(world, browser, body)
    assert refused.status in {400, 413}
    honest = await post(world, browser, given)
    assert honest.status == 303
