"""THREATS L2 and L3 for signed responses (JARM) and for pushed and signed requests."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.kit.browser import Browser, Response
from tests.kit.raw import change_tenant, stored
from tests.kit.world import World


async def is_rejected(world: World, browser: Browser, response: Response) -> None:
    """Check that a response had no effect: an error page, no token request, no session."""
    assert response.status == 400, response.text
    assert "Location" not in response.headers
    assert world.acme.requests["token"] == 0
    assert stored(world)["sessions"] == stored(world)["logins"] == []
    assert browser.cookie("localhost", "portal") is None


Mutation = Callable[[dict[str, object], dict[str, object]], object]
MUTATIONS: dict[str, Mutation] = {
    "another issuer": lambda header, claims: claims.update(iss="https://unknown.example"),
    "no issuer": lambda header, claims: claims.pop("iss"),
    "another audience": lambda header, claims: claims.update(aud="unknown"),
    "no audience": lambda header, claims: claims.pop("aud"),
    "expired": lambda header, claims: claims.update(exp=1),
    "no expiry": lambda header, claims: claims.pop("exp"),
    "no state": lambda header, claims: claims.pop("state"),
    "no code": lambda header, claims: claims.pop("code"),
    "a code that is not a string": lambda header, claims: claims.update(code=["c"]),
    "a critical header": lambda header, claims: header.update(crit=["exp"]),
    "another type": lambda header, claims: header.update(typ="logout+jwt"),
}


@pytest.mark.parametrize("case", MUTATIONS)
@pytest.mark.gen_test
async def test_L2_a_signed_response_that_breaks_a_rule_sends_no_token_request(
    world: World, case: str
) -> None:
    change_tenant(world, "acme", response_mode="jwt")
    world.acme.faults.mutate_signed_response = MUTATIONS[case]  # type: ignore[assignment]
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    await is_rejected(world, browser, await browser.step(callback, site="cross-site"))


@pytest.mark.parametrize("fault", ["bad_signature", "alg_none", "none at all"])
@pytest.mark.parametrize("mode", ["jwt", "form_post.jwt"])
@pytest.mark.gen_test
async def test_L2_an_unsigned_response_is_refused_when_a_signed_one_was_requested(
    world: World, fault: str, mode: str
) -> None:
    change_tenant(world, "acme", response_mode=mode)
    world.acme.faults.response_signature = fault  # type: ignore[assignment]
    browser = world.browser()
    if mode == "jwt":
        response = await browser.step(await world.stop_before_callback(browser, "acme"), site="cross-site")
    else:
        world.acme.automatic_user = "alice"
        page = await browser.open(world.at("/t/acme/login"))
        response = await browser.submit(page.form("/t/acme/callback"))
    await is_rejected(world, browser, response)


# --- L3: PKCE, nonce and state of pushed requests


@pytest.mark.parametrize("changes", [{"par": True}, {"request_object": "signed", "par": True}])
@pytest.mark.gen_test
async def test_L3_a_pushed_request_has_s256_and_a_new_nonce_and_state(
    world: World, changes: dict[str, object]
) -> None:
    change_tenant(world, "acme", **changes)
    browser = world.browser()
    requests = []
    for _ in range(3):
        begun = await browser.step(world.at("/t/acme/login?code_challenge_method=plain&nonce=n&state=s"))
        (request_uri,) = parse_qs(urlsplit(begun.headers["Location"]).query)["request_uri"]
        requests.append(world.acme.pushed[request_uri].parameters)
    for name in ("state", "nonce", "code_challenge"):
        assert len({tuple(request[name]) for request in requests}) == 3
        assert all(len(request[name][0]) >= 43 for request in requests)
    assert {tuple(request["code_challenge_method"]) for request in requests} == {("S256",)}
