"""The account page: nobody sees or ends a login that is not their own (THREATS T2, T3, S1)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import urlencode

import pytest

from portal.oidc.id_token import LONGEST_IDENTIFIER
from portal.stores.tenant_records import Event
from portal.web.base import PageHandler
from tests.handlers.test_account import account, calls, end_forms
from tests.kit.browser import Browser
from tests.kit.world import World


def fields_of(page_forms: list[tuple[str, str]]) -> dict[str, str]:
    return dict(page_forms)


async def post(world: World, browser: Browser, path: str, site: str = "same-origin", **fields: str) -> int:
    body = urlencode(fields)
    response = await browser.fetch(world.at(path), "POST", body=body, site=site, csrf=False)
    return response.status


async def reference_seen_by(world: World, browser: Browser) -> str:
    """What the page of a browser sends to end the user's other login."""
    (form,) = end_forms(await account(world, browser))
    return fields_of(form.fields)["login"]


@pytest.mark.gen_test
async def test_T3_a_user_neither_sees_nor_ends_the_login_of_another_subject(world: World) -> None:
    alice, alice_there, other = (world.browser() for _ in range(3))
    await world.quick_sign_in(alice, "acme")
    await world.quick_sign_in(alice_there, "acme")
    await world.sign_in(other, "acme", user="bob")
    assert end_forms(await account(world, other)) == []
    reference = await reference_seen_by(world, alice)
    assert await post(world, other, "/account/end", tenant="acme", login=reference) == 303
    assert await post(world, other, "/account/end-others", tenant="acme") == 303
    assert [await calls(world, one) for one in (alice, alice_there, other)] == [200, 200, 200]


@pytest.mark.gen_test
async def test_T3_a_user_of_one_tenant_ends_no_login_of_another(world: World) -> None:
    alice, alice_there, gina = (world.browser() for _ in range(3))
    await world.quick_sign_in(alice, "acme")
    await world.quick_sign_in(alice_there, "acme")
    await world.quick_sign_in(gina, "globex")
    reference = await reference_seen_by(world, alice)
    for tenant in ("acme", "globex", "nowhere"):
        expected = 303 if tenant == "globex" else 401
        assert await post(world, gina, "/account/end", tenant=tenant, login=reference) == expected
        assert await post(world, gina, "/account/end-others", tenant=tenant) == expected
    assert (await calls(world, alice), await calls(world, alice_there)) == (200, 200)


@pytest.mark.gen_test
async def test_T2_the_same_subject_of_another_issuer_or_registration_is_another_user(world: World) -> None:
    alice, there = world.browser(), world.browser()
    await world.quick_sign_in(alice, "acme")
    await world.quick_sign_in(there, "acme")
    stored = await world.login_of(there, "acme")
    assert stored is not None
    store = world.running.portal.store
    for changes in ({"issuer": "https://another.example"}, {"registration": "0" * 64}, {"tenant": "globex"}):
        other = replace(stored, version=stored.version + 1, **changes)  # type: ignore[arg-type]
        await store.delete_login(stored.session, stored.tenant)
        await store.put_login(other)
        assert end_forms(await account(world, alice)) == [], changes
        assert await post(world, alice, "/account/end-others", tenant="acme") == 303
        _, left = await store.read((), (other.id,), now=world.clock())
        assert left, changes
        await store.delete_login(other.session, other.tenant)
    await store.put_login(stored)
    assert len(end_forms(await account(world, alice))) == 1


@pytest.mark.gen_test
async def test_T3_a_reference_cannot_be_made_from_what_else_is_known(world: World) -> None:
    alice, there = world.browser(), world.browser()
    await world.quick_sign_in(alice, "acme")
    await world.quick_sign_in(there, "acme")
    guesses = (world.session_id(there), f"{world.session_id(there)}:acme", "0" * 64, "acme-001")
    for guess in guesses:
        assert await post(world, alice, "/account/end", tenant="acme", login=guess) == 303
    for wrong in ("", "x" * 65):
        assert await post(world, alice, "/account/end", tenant="acme", login=wrong) == 400
    assert await calls(world, there) == 200


@pytest.mark.gen_test
async def test_S1_no_other_site_ends_a_login(world: World) -> None:
    alice, there = world.browser(), world.browser()
    await world.quick_sign_in(alice, "acme")
    await world.quick_sign_in(there, "acme")
    reference = await reference_seen_by(world, alice)
    for site in ("cross-site", "same-site", "none"):
        for path in ("/account/end", "/account/end-others"):
            assert await post(world, alice, path, site, tenant="acme", login=reference) == 403
    assert await calls(world, there) == 200


@pytest.mark.gen_test
async def test_S1_a_login_that_has_ended_here_ends_none_elsewhere(world: World) -> None:
    alice, there = world.browser(), world.browser()
    await world.quick_sign_in(alice, "acme")
    await world.quick_sign_in(there, "acme")
    reference = await reference_seen_by(world, alice)
    await alice.fetch(world.at("/t/acme/logout"), "POST", body="")
    assert await post(world, alice, "/account/end", tenant="acme", login=reference) == 401
    assert await post(world, world.browser(), "/account/end-others", tenant="acme") == 401
    assert await calls(world, there) == 200


@pytest.mark.gen_test
async def test_D5_the_longest_subject_stops_no_records_of_other_tenants(world: World) -> None:
    """As JSON, a subject of quotation marks is twice as long."""
    longest = '"' * LONGEST_IDENTIFIER
    world.acme.faults.mutate_id_token = lambda header, claims: claims.update(sub=longest)
    world.acme.faults.mutate_userinfo = lambda claims: claims.update(sub=longest)
    long, gina = world.browser(), world.browser()
    await world.quick_sign_in(long, "acme")
    await world.quick_sign_in(gina, "globex")
    events = world.running.portal.user_events
    for browser, tenant in ((long, "acme"), (gina, "globex")):
        login = await world.login_of(browser, tenant)
        assert login is not None
        seen: list[Event] = []
        for _ in range(50):
            seen = [*await events.recent([login], most=10)]
            if seen:
                break
            await asyncio.sleep(0.1)
        assert [event.kind for event in seen] == ["signed_in"], tenant
        assert (await browser.open(world.at("/account"))).status == 200


@pytest.mark.parametrize("path", ["/t/acme/logout", "/logout"])
@pytest.mark.gen_test
async def test_T3_a_sign_out_that_deleted_nothing_is_not_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Another request has deleted the login after this one has read it."""
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    store = world.running.portal.store
    read = PageHandler.prepare

    async def deleted_meanwhile(handler: PageHandler) -> None:
        await read(handler)
        assert await store.delete_session(world.session_id(browser))

    monkeypatch.setattr(PageHandler, "prepare", deleted_meanwhile)
    recorded: list[str] = []
    events = world.running.portal.user_events
    monkeypatch.setattr(events, "signed_out", lambda login, request: recorded.append(login.tenant))
    await browser.fetch(world.at(path), "POST", body="")
    assert recorded == []
