"""A database failure at the end of a sign-in fails only this sign-in."""

from __future__ import annotations

import io

import pytest

from portal.errors import StoreUnavailable
from portal.sessions import login_storing
from portal.stores.model import Login
from tests.kit.browser import Browser
from tests.kit.failing_store import FailingStore
from tests.kit.raw import until
from tests.kit.world import World


@pytest.fixture
def store(world: World, monkeypatch: pytest.MonkeyPatch) -> FailingStore:
    """The portal's store, which fails on command."""
    monkeypatch.setattr(login_storing, "PAUSES", (0.01, 0.01))
    failing = FailingStore(world.running.portal.store)
    sessions = world.running.portal.sessions
    for part in (sessions, sessions._new_logins, sessions._waiting):
        monkeypatch.setattr(part, "_store", failing)
    return failing


async def _callback(world: World, browser: Browser, tenant: str) -> tuple[int, str]:
    response = await browser.step(await world.stop_before_callback(browser, tenant), site="cross-site")
    return response.status, response.text


@pytest.mark.parametrize("method", ["add_session", "put_login"])
@pytest.mark.gen_test
async def test_a_login_that_cannot_be_stored_is_reported_and_its_tokens_are_revoked(
    world: World, store: FailingStore, method: str
) -> None:
    browser = world.browser()
    store.fail(method)
    status, text = await _callback(world, browser, "acme")
    assert status == 503
    assert "Start again" in text
    await until(lambda: world.acme.requests["revocation"] == 1, "nothing was revoked")
    store.recover()
    await world.quick_sign_in(browser, "acme")


@pytest.mark.gen_test
async def test_a_second_login_that_cannot_be_stored_keeps_the_first(
    world: World, store: FailingStore, log_lines: io.StringIO
) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "globex")
    before = browser.cookie("localhost", "portal")
    store.fail("put_login")
    status, text = await _callback(world, browser, "acme")
    assert status == 503
    assert "You are still signed in to your other organisations" in text
    assert "the test made put_login fail" in log_lines.getvalue()
    after = browser.cookie("localhost", "portal")
    assert after != before, "the session's secret must be rotated"
    store.recover()
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200
    assert await world.login_of(browser, "acme") is None


@pytest.mark.parametrize(("fault", "times"), [("fail", 2), ("lose", 2)])
@pytest.mark.gen_test
async def test_a_broken_connection_while_a_login_is_stored_has_no_effect(
    world: World, store: FailingStore, fault: str, times: int
) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "globex")
    getattr(store, fault)("put_login", times=times)
    store.lose("rotate_session", times=1)
    status, _ = await _callback(world, browser, "acme")
    assert status == 303
    assert world.acme.requests["revocation"] == 0
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200


@pytest.mark.parametrize("method", ["add_session", "rotate_session"])
@pytest.mark.gen_test
async def test_a_login_that_was_stored_without_acknowledgement_is_not_stored_again(
    world: World, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The database stores the session and the login together."""
    browser = world.browser()
    if method == "rotate_session":
        await world.quick_sign_in(browser, "globex")
    store = world.running.portal.store
    change = getattr(store, method)

    async def lose(*given: object, **named: object) -> None:
        await change(*given, **named)
        raise StoreUnavailable("the acknowledgement was lost")

    async def refuse(login: Login) -> None:
        raise AssertionError("the login is stored already")

    monkeypatch.setattr(store, method, lose)
    monkeypatch.setattr(store, "put_login", refuse)
    status, _ = await _callback(world, browser, "acme")
    assert status == 303
    assert world.acme.requests["revocation"] == 0
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.parametrize("method", ["add_session", "rotate_session"])
@pytest.mark.gen_test
async def test_a_login_that_ended_before_its_write_was_reported_is_not_stored_again(
    world: World, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The commit takes longer than its time limit; the provider ends the login as soon as it is stored."""
    browser = world.browser()
    if method == "rotate_session":
        await world.quick_sign_in(browser, "globex")
    store = world.running.portal.store
    change = getattr(store, method)

    async def end_and_lose(*given: object, login: Login, **named: object) -> None:
        await change(*given, login=login, **named)
        ended = await store.delete_logins_by_subject(
            login.issuer, login.subject, tenant=login.tenant, registration=login.registration
        )
        assert [one.id for one in ended] == [login.id]
        raise StoreUnavailable("the database file is busy")

    monkeypatch.setattr(store, method, end_and_lose)
    status, _ = await _callback(world, browser, "acme")
    assert status == 303
    assert await world.login_of(browser, "acme") is None
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401
    if method == "rotate_session":
        assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200
