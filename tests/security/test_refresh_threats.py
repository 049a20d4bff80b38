"""THREATS S5 and S10: one refresh for concurrent calls, and after a crash.

Reuse of a refresh token (S6) and a logout during a refresh (S7) are in test_logout_threats.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tornado.httpclient import HTTPClientError

from tests.kit.browser import Browser, Response
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.processes import PortalProcess, open_sockets, world_outside
from tests.kit.raw import PATIENCE, RawConnection, api_head, connected, until
from tests.kit.world import World
from tests.mongodb import fresh_database, running_server

CALLS = 100


@pytest.fixture(scope="module")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Connection string of a MongoDB server for the tests of this file."""
    with running_server(tmp_path_factory.mktemp("mongodb")) as uri:
        yield uri


@pytest.fixture(params=["sqlite", "mongodb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database for several portal processes."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/portal.db"
        return
    with fresh_database(request.getfixturevalue("mongodb")) as uri:
        yield uri


# --- S5


@pytest.mark.parametrize("reason", ["expired", "refused by the API"])
@pytest.mark.gen_test
async def test_S5_a_hundred_calls_in_one_process_make_one_refresh(world: World, reason: str) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    if reason == "expired":
        await world.expire_access_token(browser, "acme")
    else:
        world.acme_api.refuse_next = CALLS
    hold = asyncio.Event()
    world.acme.faults.endpoints["refresh"] = EndpointFault(hold=hold)
    calls = [asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/orders"))) for _ in range(CALLS)]
    await until(lambda: world.running.portal.in_flight.count == CALLS, "not all calls are in flight")
    if reason == "refused by the API":
        await until(lambda: world.acme_api.refuse_next == 0, "not all calls were refused")
    await until(lambda: world.acme.requests["refresh"], "no refresh began")
    hold.set()
    responses = await asyncio.gather(*calls)
    assert [response.status for response in responses] == [200] * CALLS
    assert world.acme.requests["refresh"] == 1


@pytest.mark.gen_test
async def test_S5_an_api_that_refuses_every_token_does_not_overload_the_provider(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    world.acme_api.refuse_next = 1_000
    for _ in range(10):
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401
    assert world.acme.requests["refresh"] <= 2
    assert await world.login_of(browser, "acme") is not None
    world.acme_api.refuse_next = 0
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_S5_refreshes_of_two_tenants_do_not_wait_for_each_other(world: World) -> None:
    browser = world.browser()
    for tenant in ("acme", "globex"):
        await world.quick_sign_in(browser, tenant)
        await world.expire_access_token(browser, tenant)
    world.acme.faults.endpoints["refresh"] = EndpointFault(never_responds=True)
    stuck = asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/orders")))
    await until(lambda: world.acme.requests["refresh"], "no refresh began")
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200
    assert not stuck.done()
    await world.parts.disconnect()
    assert (await stuck).status == 503
    assert await world.login_of(browser, "acme") is not None


@contextlib.asynccontextmanager
async def _spread_connections(
    world: World, served: PortalProcess, count: int
) -> AsyncIterator[list[RawConnection]]:
    """Open at least `count` connections, until every worker has some."""
    before = {pid: open_sockets(pid) for pid in served.workers}
    async with contextlib.AsyncExitStack() as stack:
        opened: list[RawConnection] = []
        while len(opened) < count or any(open_sockets(pid) < had + 5 for pid, had in before.items()):
            assert len(opened) < 8 * count, "some workers take no connections"
            connection = await stack.enter_async_context(connected(world))
            await connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            response = await connection.read_response()
            assert response is not None
            assert response.status == 200
            opened.append(connection)
        yield opened


@pytest.mark.gen_test(timeout=60)
async def test_S5_a_hundred_calls_in_four_processes_make_one_refresh(tmp_path: Path, database: str) -> None:
    async with world_outside(tmp_path, processes=4, database=database) as (world, served):
        assert len(served.workers) == 4
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        await world.expire_access_token(browser, "acme")
        async with _spread_connections(world, served, CALLS) as connections:
            head = api_head(world, browser, "/t/acme/api/orders")
            await asyncio.gather(*(connection.send(head) for connection in connections))
            responses = await asyncio.gather(*(connection.read_response() for connection in connections))
        statuses = {response.status if response else None for response in responses}
        assert len(responses) >= CALLS
        assert statuses == {200}
        assert world.acme.requests["refresh"] == 1
        tokens = {call.bearer for call in world.acme_api.received}
        assert len(tokens) == 1, "an old access token was used"


# --- S10: a process crashes


async def _is_cut_off(call: asyncio.Future[Response]) -> None:
    with pytest.raises((OSError, HTTPClientError)):
        await asyncio.wait_for(call, PATIENCE)


async def _lease_owner(world: World, browser: Browser) -> str | None:
    login = await world.login_of(browser, "acme")
    assert login is not None
    return login.lease_owner


async def _expire_lease(world: World, browser: Browser) -> None:
    """Let the lease of the killed process expire, unless it has expired on a slow machine.

    A request may write the login at the same time.
    """
    swapped = False
    while not swapped:
        login = await world.login_of(browser, "acme")
        assert login is not None
        if login.lease_owner is None:
            return
        expired = replace(login, lease_expires_at=world.clock() - 1, version=login.version + 1)
        swapped = await world.running.portal.store.swap_login(expired, expected_version=login.version)


@pytest.mark.gen_test(timeout=60)
async def test_S10_a_process_killed_during_a_refresh_loses_no_login(tmp_path: Path, database: str) -> None:
    async with world_outside(tmp_path, database=database) as (world, served):
        browser = world.browser()
        await world.quick_sign_in(browser, "globex")
        await world.quick_sign_in(browser, "acme")
        await world.expire_access_token(browser, "acme")
        world.acme.faults.endpoints["refresh"] = EndpointFault(never_responds=True, remaining=1)
        lost = asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/orders")))
        await until(lambda: world.acme.requests["refresh"] == 1, "no refresh began")
        served.kill()
        await _is_cut_off(lost)
        assert await _lease_owner(world, browser) is not None
        await served.start()
        assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200
        waiting = asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/orders")))
        await _expire_lease(world, browser)
        assert (await asyncio.wait_for(waiting, PATIENCE)).status == 200
        assert world.acme.requests["refresh"] == 2


@pytest.mark.gen_test(timeout=60)
async def test_S10_a_worker_killed_during_a_refresh_is_replaced_while_others_serve(
    tmp_path: Path,
) -> None:
    async with world_outside(tmp_path, processes=2) as (world, served):
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        await world.quick_sign_in(browser, "globex")
        await world.expire_access_token(browser, "acme")
        world.acme.faults.endpoints["refresh"] = EndpointFault(never_responds=True, remaining=1)
        lost = asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/orders")))
        await until(lambda: world.acme.requests["refresh"] == 1, "no refresh began")
        assert await _lease_owner(world, browser) is not None
        first, second = served.workers
        served.kill_worker(first)
        responses = [await browser.fetch(world.at("/t/globex/api/projects")) for _ in range(5)]
        assert [response.status for response in responses] == [200] * 5
        await until(lambda: len(served.workers) == 2 and first not in served.workers, "no new worker")
        if world.acme.requests["refresh"] == 1 and not lost.done():
            served.kill_worker(second)
        await _is_cut_off(lost)
        await _expire_lease(world, browser)
        assert (await _status_once_served(browser, world.at("/t/acme/api/orders"))) == 200
        assert world.acme.requests["refresh"] == 2


@pytest.mark.gen_test(timeout=60)
async def test_S10_a_portal_stops_while_it_replaces_a_worker(tmp_path: Path) -> None:
    async with world_outside(tmp_path, processes=2) as (_, served):
        stable, dying = served.workers
        served.kill_worker(dying)
        await until(lambda: {*served.workers} - {stable, dying}, "no new worker")
        (replacement,) = {*served.workers} - {stable, dying}
        served.kill_worker(replacement)  # so soon that its replacement is delayed
        await until(lambda: replacement not in served.workers, "the worker was not killed")
        await served.stop()


async def _status_once_served(browser: Browser, url: str) -> int:
    """Repeat a call while no worker listens; return its status."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while True:
        try:
            return (await browser.fetch(url)).status
        except (OSError, HTTPClientError):
            assert asyncio.get_running_loop().time() < end, "no worker serves"
            await asyncio.sleep(0.05)


@pytest.mark.gen_test(timeout=60)
async def test_S10_a_process_killed_during_a_login_leaves_other_logins_and_attempts_intact(
    tmp_path: Path, database: str
) -> None:
    async with world_outside(tmp_path, database=database) as (world, served):
        browser = world.browser()
        await world.quick_sign_in(browser, "globex")
        kept = await world.stop_before_callback(browser, "acme")
        callback = await world.stop_before_callback(browser, "acme")
        world.acme.faults.endpoints["code"] = EndpointFault(never_responds=True, remaining=1)
        lost = asyncio.ensure_future(browser.step(callback, site="cross-site"))
        await until(lambda: world.acme.requests["code"] == 1, "the code was not sent")
        served.kill()
        await _is_cut_off(lost)
        await served.start()
        again = await browser.step(callback, site="cross-site")
        assert again.status == 400
        assert "no longer valid" in again.text
        assert world.acme.requests["code"] == 1, "a code was sent twice"
        assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200
        other_tab = await browser.step(kept, site="cross-site")
        assert other_tab.status == 303, "an attempt begun before the crash must work after it"
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
        assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200


@pytest.mark.gen_test(timeout=60)
async def test_S10_acknowledged_changes_survive_a_kill(tmp_path: Path, database: str) -> None:
    async with world_outside(tmp_path, database=database) as (world, served):
        kept, left = world.browser(), world.browser()
        await world.quick_sign_in(kept, "acme")
        await world.quick_sign_in(left, "acme")
        await world.expire_access_token(kept, "acme")
        assert (await kept.fetch(world.at("/t/acme/api/orders"))).status == 200
        assert (await left.step(world.at("/t/acme/logout"), "POST", "", site="same-origin")).status == 303
        served.kill()
        await served.start()
        assert (await kept.fetch(world.at("/t/acme/api/orders"))).status == 200
        assert world.acme.requests["refresh"] == 1, "the rotated token set was lost"
        response = await left.fetch(world.at("/t/acme/api/orders"))
        assert response.status == 401
        assert json.loads(response.body)["code"] == "login_required"
