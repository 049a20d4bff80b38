"""THREATS S6 and S7 on real sockets: the end of a login."""

from __future__ import annotations

import asyncio
import base64
import json
from urllib.parse import urlencode

import pytest

from tests.kit.browser import Browser
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.endpoints import Response as Canned
from tests.kit.raw import api_head, change_tenant, connected, stored, until
from tests.kit.world import World

# --- S6: the provider detects that a refresh token was used twice


async def _steal_refresh_token(world: World, browser: Browser) -> None:
    """A thief uses the stored refresh token at the provider."""
    login = await world.login_of(browser, "acme")
    assert login is not None
    token = world.running.tokens.open(login).refresh_token
    assert token is not None
    client = world.acme.settings.clients[0]
    credentials = base64.b64encode(f"{client.client_id}:{client.client_secret}".encode()).decode()
    thief = world.browser()
    response = await thief.fetch(
        f"{world.acme.issuer}/token",
        "POST",
        body=urlencode({"grant_type": "refresh_token", "refresh_token": token.reveal()}),
        headers={"Authorization": f"Basic {credentials}"},
    )
    assert response.status == 200


@pytest.mark.gen_test
async def test_S6_reuse_of_a_refresh_token_ends_only_that_login_and_is_reported(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    await world.expire_access_token(browser, "acme")
    await _steal_refresh_token(world, browser)
    response = await browser.fetch(world.at("/t/acme/api/orders"))
    problem = json.loads(response.body)
    assert response.status == 401
    assert problem["code"] == "login_ended"
    assert problem["title"] == "Your sign-in at this organisation has ended"
    assert problem["login_url"].startswith("/t/acme/login")
    assert world.acme_api.calls.total() == 0
    assert await world.login_of(browser, "acme") is None
    assert "Sign in to" in (await browser.step(world.at("/t/acme/"))).text
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200
    again = await browser.fetch(world.at("/t/acme/api/orders"))
    assert json.loads(again.body)["code"] == "login_required"
    assert world.acme.requests["refresh"] == 2, "a used refresh token was sent again"
    await world.quick_sign_in(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_S6_the_explorer_tells_the_user_that_the_login_has_ended(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.expire_access_token(browser, "acme")
    world.acme.faults.refresh_error = "invalid_grant"
    body = urlencode({"method": "GET", "path": "/orders"})
    response = await browser.step(world.at("/t/acme/developer"), "POST", body, site="same-origin")
    assert "Your sign-in here has ended" in response.text
    assert world.acme_api.calls.total() == 0


# --- S7: a logout wins over running calls and refreshes


async def _sign_out(world: World, browser: Browser) -> None:
    response = await browser.step(world.at("/t/acme/logout"), "POST", "", site="same-origin")
    assert response.status == 303


@pytest.mark.parametrize("revocation_works", [True, False])
@pytest.mark.gen_test
async def test_S7_a_logout_during_a_refresh_wins(world: World, revocation_works: bool) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    await world.expire_access_token(browser, "acme")
    hold = asyncio.Event()
    world.acme.faults.endpoints["refresh"] = EndpointFault(hold=hold)
    if not revocation_works:
        world.acme.faults.endpoints["revocation"] = EndpointFault(response=Canned(503), remaining=1)
    calls = [asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/orders"))) for _ in range(5)]
    await until(lambda: world.acme.requests["refresh"], "no refresh began")
    await _sign_out(world, browser)
    assert await world.login_of(browser, "acme") is None
    hold.set()
    assert {response.status for response in await asyncio.gather(*calls)} == {401}
    assert await world.login_of(browser, "acme") is None
    assert not [row for row in stored(world)["logins"] if row[2] == "acme"]
    assert world.acme_api.calls.total() == 0
    if not revocation_works:
        await until(lambda: world.acme.requests["revocation"] == 2, "the late token set was not revoked")
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200


@pytest.mark.gen_test
async def test_S7_a_logout_during_a_call_wins_also_when_the_api_asks_for_a_new_token(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    hold = asyncio.Event()
    world.acme_api.faults["echo"] = EndpointFault(hold=hold)
    world.acme_api.refuse_next = 1
    call = asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/echo")))
    await until(lambda: world.acme_api.calls["echo"], "the API was not called")
    await _sign_out(world, browser)
    hold.set()
    assert (await call).status == 401
    assert world.acme_api.calls["echo"] == 1
    assert await world.login_of(browser, "acme") is None


@pytest.mark.gen_test
async def test_S7_a_call_whose_body_arrives_after_the_logout_is_refused(world: World) -> None:
    """Otherwise a thief opens connections before the logout and calls the API for an hour after it."""
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with connected(world) as connection:
        extra = ["Content-Length: 10"]
        await connection.send(api_head(world, browser, "/t/acme/api/echo", method="POST", extra=extra))
        await connection.send(b"01234")
        await until(lambda: world.running.portal.in_flight.count, "the call did not arrive")
        await _sign_out(world, browser)
        await connection.send(b"56789")
        response = await connection.read_response()
    assert response is not None
    assert response.status == 401
    assert world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_S7_a_logout_of_everything_wins_over_refreshes_at_every_tenant(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    hold = asyncio.Event()
    for tenant in ("acme", "globex"):
        await world.expire_access_token(browser, tenant)
        world.provider(tenant).faults.endpoints["refresh"] = EndpointFault(hold=hold)
    calls = [
        asyncio.ensure_future(browser.fetch(world.at(f"/t/{path}")))
        for path in ("acme/api/orders", "globex/api/projects")
    ]
    await until(lambda: world.acme.requests["refresh"] and world.globex.requests["refresh"], "no refresh")
    cookie = dict(browser.cookies["localhost"])
    assert (await browser.step(world.at("/logout"), "POST", "", site="same-origin")).status == 303
    hold.set()
    assert {response.status for response in await asyncio.gather(*calls)} == {401}
    assert stored(world)["sessions"] == stored(world)["logins"] == []
    browser.cookies["localhost"] = cookie
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401


@pytest.mark.parametrize("path", ["/t/acme/logout", "/logout"])
@pytest.mark.parametrize("provider", ["down", "without logout endpoints", "slow", "changed"])
@pytest.mark.gen_test
async def test_S7_a_logout_works_without_the_provider(world: World, path: str, provider: str) -> None:
    def without_endpoints(metadata: dict[str, object]) -> None:
        for name in ("end_session_endpoint", "revocation_endpoint"):
            metadata.pop(name)

    browser = world.browser()
    if provider == "without logout endpoints":
        world.acme.faults.mutate_metadata = without_endpoints
    await world.quick_sign_in(browser, "acme")
    if provider == "down":
        for server in world.parts.servers:
            server.stop()
        await world.parts.disconnect()
    elif provider == "slow":
        world.acme.faults.endpoints["revocation"] = EndpointFault(drop_response=True)
    elif provider == "changed":
        change_tenant(world, "acme", client={"id": "another-client"})
    response = await browser.step(world.at(path), "POST", "", site="same-origin")
    assert response.status == 303
    assert stored(world)["logins"] == []
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401


@pytest.mark.gen_test
async def test_S7_a_logout_without_a_login_is_not_an_error(world: World) -> None:
    browser = world.browser()
    for path in ("/t/acme/logout", "/logout"):
        assert (await browser.step(world.at(path), "POST", "", site="same-origin")).status == 303
    await world.quick_sign_in(browser, "globex")
    for _ in range(2):
        response = await browser.step(world.at("/t/acme/logout"), "POST", "", site="same-origin")
        assert response.status == 303
        assert response.headers["Location"] == "/t/acme/signed-out"
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200


@pytest.mark.gen_test
async def test_S7_a_second_login_during_a_refresh_keeps_its_own_tokens(world: World) -> None:
    """Bob signs in during Alice's refresh: neither of them gets the tokens of the other."""
    browser = world.browser()
    await world.sign_in(browser, "acme", "alice")
    await world.expire_access_token(browser, "acme")
    hold = asyncio.Event()
    world.acme.faults.endpoints["refresh"] = EndpointFault(hold=hold)
    call = asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/echo")))
    await until(lambda: world.acme.requests["refresh"], "no refresh began")
    browser.cookies["127.0.0.1"] = {}
    await world.sign_in(browser, "acme", "bob")
    hold.set()
    assert (await call).status == 401
    response = await browser.fetch(world.at("/t/acme/api/echo"))
    assert json.loads(response.body)["authorization"]["subject"] == "acme-002"
