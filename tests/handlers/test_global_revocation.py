"""Global Token Revocation, end to end (draft-parecki-oauth-global-token-revocation; RFC 9493)."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from portal.demo.compact import JsonObject
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.provider_logout import Provider, calls
from tests.kit.raw import PATIENCE, change_tenant
from tests.kit.world import World
from tests.security.test_global_revocation_threats import ACME, alice, ask, token


@pytest.mark.parametrize(
    "sub_id",
    [
        {"format": "iss_sub", "sub": "acme-001"},
        {"format": "opaque", "id": "acme-001"},
        {"format": "email", "email": "alice@acme.example"},
    ],
)
@pytest.mark.gen_test
async def test_a_revocation_ends_the_users_logins_in_all_sessions(world: World, sub_id: JsonObject) -> None:
    change_tenant(world, "acme", global_token_revocation=True)
    here, there, bob = (world.browser() for _ in range(3))
    for browser, user in ((here, "alice"), (there, "alice"), (bob, "bob")):
        await world.sign_in(browser, "acme", user)
    await world.quick_sign_in(here, "globex")
    if sub_id["format"] == "iss_sub":
        sub_id = sub_id | {"iss": world.acme.issuer}
    response = await ask(world, token(world), {"sub_id": sub_id})
    assert (response.status, response.body) == (204, b"")
    assert response.headers["Cache-Control"] == "no-store"
    assert [await calls(world, browser) for browser in (here, there, bob)] == [401, 401, 200]
    assert await calls(world, here, "globex") == 200
    assert world.acme.requests["revocation"] == 2, "the refresh token of each login is revoked"


@pytest.mark.gen_test
async def test_the_member_of_older_drafts_is_accepted(world: World) -> None:
    change_tenant(world, "acme", global_token_revocation=True)
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    body = {"subject": alice(world)["sub_id"]}
    assert (await ask(world, token(world), body)).status == 204
    assert await calls(world, browser) == 401


@pytest.mark.parametrize("email", ["ALICE@acme.example", "alice@acme.example.net", "nobody@acme.example"])
@pytest.mark.gen_test
async def test_email_addresses_are_compared_exactly(world: World, email: str) -> None:
    change_tenant(world, "acme", global_token_revocation=True)
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    response = await ask(world, token(world), {"sub_id": {"format": "email", "email": email}})
    assert (response.status, json.loads(response.body)["code"]) == (404, "revocation_subject_unknown")
    assert await calls(world, browser) == 200


@pytest.mark.gen_test
async def test_the_users_events_name_the_revocation(world: World) -> None:
    change_tenant(world, "acme", global_token_revocation=True)
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    login = await world.login_of(browser, "acme")
    assert login is not None
    assert (await ask(world, token(world), alice(world))).status == 204
    events = world.running.portal.user_events

    async with asyncio.timeout(PATIENCE):
        while "global_token_revocation" not in [one.reason for one in await events.recent([login], most=5)]:
            await asyncio.sleep(0.005)


@pytest.mark.gen_test
async def test_a_revocation_works_while_the_provider_does_not_revoke(world: World) -> None:
    change_tenant(world, "acme", global_token_revocation=True)
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    world.acme.faults.endpoints["revocation"] = EndpointFault(drop_response=True)
    assert (await ask(world, token(world), alice(world))).status == 204
    assert await calls(world, browser) == 401


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
@pytest.mark.gen_test
async def test_the_body_must_be_json(world: World, kind: str, log_lines: io.StringIO) -> None:
    change_tenant(world, "acme", global_token_revocation=True)
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    bearer = token(world)
    response = await Provider(world).send(
        json.dumps(alice(world)),
        world.at(ACME),
        **{"Content-Type": kind, "Authorization": f"Bearer {bearer}"},
    )
    assert (response.status, json.loads(response.body)["code"]) == (400, "revocation_request_rejected")
    assert await calls(world, browser) == 200
    assert bearer not in log_lines.getvalue()
    assert (await ask(world, bearer, alice(world))).status == 204, "a refused body uses up no token"
