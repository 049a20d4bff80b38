"""Back-channel logout when the database or the provider fails: the same token can be sent again."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from portal.errors import StoreUnavailable
from portal.oidc.recent_failures import FIRST_PAUSE
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.endpoints import Response as Canned
from tests.kit.provider_logout import Provider, calls, refusal, sid_of
from tests.kit.raw import change_tenant
from tests.kit.world import World


@pytest.mark.gen_test
async def test_a_database_that_is_down_uses_up_no_token(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    token = provider.token(sid=await sid_of(world, browser))
    path = world.settings.database.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        response = await provider.tell(token)
        other.execute("ROLLBACK")
    assert response.status == 503
    assert refusal(response)["error"] == "temporarily_unavailable"
    assert int(response.headers["Retry-After"]) > 0
    assert await calls(world, browser) == 200
    assert (await provider.tell(token)).status == 200
    assert await calls(world, browser) == 401
    assert (await provider.tell(token)).status == 400


@pytest.mark.parametrize("failing", ["delete_logins_by_sid", "delete_logins_by_subject", "remember_once"])
@pytest.mark.gen_test
async def test_a_database_that_fails_half_way_uses_up_no_token(
    world: World, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store raises once; the portal's own code is not replaced."""
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    token = provider.token(sid=await sid_of(world, browser))

    async def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("lost")

    with monkeypatch.context() as broken:
        broken.setattr(world.running.portal.store, failing, fail)
        assert (await provider.tell(token)).status == 503
    assert (await provider.tell(token)).status == 200
    assert await calls(world, browser) == 401


@pytest.mark.gen_test
async def test_a_provider_whose_keys_cannot_be_fetched_may_try_again(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    token = provider.token(sid=await sid_of(world, browser))
    change_tenant(world, "globex", issuer=world.acme.issuer, client={"id": "portal-at-acme"})
    world.acme.faults.endpoints["jwks"] = EndpointFault(response=Canned(503))
    response = await provider.tell(token, tenant="globex")
    assert response.status == 503
    assert refusal(response)["error"] == "temporarily_unavailable"
    world.acme.faults.clear()
    assert (await provider.tell(token, tenant="globex")).status == 503, "the failure is cached"
    world.clock.advance(FIRST_PAUSE)
    assert (await provider.tell(token, tenant="globex")).status == 200
