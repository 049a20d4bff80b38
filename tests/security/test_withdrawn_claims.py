"""THREATS A8 and S6: withdrawn or unverified claims give no access."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from portal.demo.compact import JsonObject
from portal.demo.provider_model import Grant
from portal.demo.provider_tokens import AccessToken, TokenMint
from tests.kit.browser import Browser
from tests.kit.browser import Response as Page
from tests.kit.faulty.endpoints import EndpointFault, Response
from tests.kit.raw import change_tenant, signed_in, until
from tests.kit.sqlite_lock import write_lock
from tests.kit.world import World

ADMINS = {"require": [{"claim": "roles", "contains": "admin"}]}
"""alice is an admin."""
BY_EMAIL = {"require": [{"claim": "email", "ends_with": "@acme.example", "verified_by": "email_verified"}]}


async def refreshed(world: World, browser: Browser) -> Page:
    await world.expire_access_token(browser, "acme")
    return await browser.fetch(world.at("/t/acme/api/orders"))


@pytest.mark.parametrize("source", ["id_token", "userinfo"])
@pytest.mark.gen_test
async def test_A8_email_verified_of_one_address_does_not_verify_another(world: World, source: str) -> None:
    """The ID token has an address the user entered, UserInfo a verified one."""
    change_tenant(world, "acme", userinfo=True, access=BY_EMAIL)

    def in_id_token(header: JsonObject, claims: JsonObject) -> None:
        claims.pop("email_verified", None)
        claims["email"] = "ceo@acme.example"

    world.acme.faults.mutate_id_token = in_id_token
    theirs = "ceo@acme.example" if source == "id_token" else "eve@evil.example"
    world.acme.faults.mutate_userinfo = lambda claims: claims.update(email=theirs, email_verified=True)
    world.acme.automatic_user = "alice"
    page = await world.browser().open(world.at("/t/acme/login"))
    assert page.status == (200 if source == "id_token" else 403)


@pytest.mark.gen_test
async def test_A8_an_address_from_a_refresh_is_not_verified_by_an_earlier_claim(
    world: World,
) -> None:
    change_tenant(world, "acme", userinfo=True, access=BY_EMAIL)

    def without_email(header: JsonObject, claims: JsonObject) -> None:
        claims.pop("email", None)
        claims.pop("email_verified", None)

    world.acme.faults.mutate_id_token = without_email
    world.acme.faults.mutate_userinfo = lambda claims: claims.update(
        email="eve@acme.example", email_verified=True
    )
    browser = await signed_in(world)

    def with_another(header: JsonObject, claims: JsonObject) -> None:
        without_email(header, claims)
        claims["email"] = "ceo@acme.example"

    world.acme.faults.mutate_id_token = with_another
    response = await refreshed(world, browser)
    assert response.status == 401, response.text
    assert await world.login_of(browser, "acme") is None


@pytest.mark.gen_test
async def test_A8_a_sign_in_at_another_client_does_not_restore_a_withdrawn_right(world: World) -> None:
    """Some providers set auth_time of refreshed ID tokens to the user's last sign-in at any client."""
    change_tenant(world, "acme", access=ADMINS)
    browser = await signed_in(world)

    def withdrawn(header: JsonObject, claims: JsonObject) -> None:
        claims |= {"roles": ["sales"], "auth_time": claims["iat"]}

    world.clock.advance(30)
    world.acme.faults.mutate_id_token = withdrawn
    response = await refreshed(world, browser)
    assert response.status == 401, response.text
    assert await world.login_of(browser, "acme") is None


def without_lifetime(response: JsonObject) -> None:
    response.pop("expires_in", None)


@pytest.mark.gen_test
async def test_A8_claims_of_a_refresh_apply_to_its_call_even_if_the_expiry_is_unchanged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All tokens expire with the session at the provider, and responses have no expires_in."""
    begun = world.clock()
    make = TokenMint.access_token

    def ending_alike(
        mint: TokenMint, grant: Grant, scope: tuple[str, ...], audiences: tuple[str, ...]
    ) -> AccessToken:
        settings = replace(mint.settings, clock=lambda: begun)
        return make(replace(mint, settings=settings), grant, scope, audiences)

    monkeypatch.setattr(TokenMint, "access_token", ending_alike)
    world.acme.faults.mutate_token_response = without_lifetime
    change_tenant(world, "acme", access={"paths": [{"path": "/orders", **ADMINS}]})
    browser = await signed_in(world)
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
    calls = world.acme_api.calls["orders"]
    world.acme.faults.mutate_id_token = lambda header, claims: claims.update(roles=["sales"])
    world.acme_api.refuse_next = 1
    response = await browser.fetch(world.at("/t/acme/api/orders"))
    assert response.status == 403, response.text
    assert world.acme_api.calls["orders"] <= calls + 1, "only the call that the API refused"


SERVER_ERRORS = [
    (404, {"timestamp": 1, "status": 404, "error": "Not Found", "path": "/token"}),
    (400, {"statusCode": 400, "message": "Bad Request", "error": "Bad Request"}),
    (403, {"statusCode": 403, "message": "Forbidden resource", "error": "Forbidden"}),
    (401, {"error": "unauthorized"}),
    (405, {"error": "method_not_allowed"}),
    (404, {"error": "no_such_route"}),
    (421, {"error": "wrong_host"}),
]


@pytest.mark.parametrize(("status", "body"), SERVER_ERRORS)
@pytest.mark.gen_test
async def test_S6_an_error_of_a_server_in_front_of_a_provider_ends_no_login(
    world: World, status: int, body: JsonObject
) -> None:
    browser = await signed_in(world)
    fault = EndpointFault(response=Response(status=status, body=json.dumps(body).encode()))
    world.acme.faults.endpoints["refresh"] = fault
    response = await refreshed(world, browser)
    assert response.status == 503, response.text
    assert json.loads(response.body)["code"] == "provider_unavailable"
    assert await world.login_of(browser, "acme") is not None


@pytest.mark.gen_test(timeout=30)
async def test_A8_claims_that_are_not_stored_yet_apply_to_calls(world: World, tmp_path: Path) -> None:
    change_tenant(world, "acme", access={"paths": [{"path": "/orders", **ADMINS}]})
    browser = await signed_in(world)
    await world.expire_access_token(browser, "acme")
    calls = world.acme_api.calls["orders"]
    world.acme.faults.mutate_id_token = lambda header, claims: claims.update(roles=["sales"])
    hold = asyncio.Event()
    world.acme.faults.endpoints["refresh"] = EndpointFault(hold=hold)
    first = asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/orders")))
    await until(lambda: world.acme.requests["refresh"], "no refresh began")
    with write_lock(tmp_path / "portal.db"):
        hold.set()
        assert (await first).status == 403
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 403
        assert (await browser.fetch(world.at("/t/acme/api/echo"))).status == 200
    assert world.acme_api.calls["orders"] == calls


@pytest.mark.parametrize("change", ["api", "rules", "paths"])
@pytest.mark.gen_test
async def test_T9_a_call_that_waits_for_a_token_uses_the_tenant_as_changed_meanwhile(
    world: World, change: str
) -> None:
    browser = await signed_in(world)
    await world.expire_access_token(browser, "acme")
    hold = asyncio.Event()
    world.acme.faults.endpoints["refresh"] = EndpointFault(hold=hold)
    waiting = asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/orders")))
    await until(lambda: world.acme.requests["refresh"], "no refresh began")
    boss = [{"claim": "roles", "contains": "boss"}]
    if change == "api":
        other = world.running.portal.registry.get("globex")
        assert other is not None
        assert other.api is not None
        change_tenant(world, "acme", api={"base_url": other.api.base_url})
    elif change == "rules":
        change_tenant(world, "acme", access={"require": boss})
    else:
        change_tenant(world, "acme", access={"paths": [{"path": "/orders", "require": boss}]})
    hold.set()
    response = await waiting
    assert response.status == {"api": 502, "rules": 401, "paths": 403}[change], response.text
    assert not world.acme_api.calls["orders"]
    assert not world.globex_api.calls
