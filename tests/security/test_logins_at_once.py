"""Two logins of one browser that finish at the same moment, in two tabs (THREATS L6).

Each login replaces the secret of the session, so the response of one makes the cookie of the other invalid.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from portal.sessions.waiting_logins import PAUSES
from portal.stores.model import Login
from tests.handlers.test_session import facts
from tests.kit.browser import Browser, Response
from tests.kit.event_stream import events_of
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.processes import world_outside
from tests.kit.raw import stored, until
from tests.kit.world import World
from tests.mongodb import fresh_database, running_server


@pytest.fixture(scope="module")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(tmp_path_factory.mktemp("mongodb")) as uri:
        yield uri


@pytest.fixture(params=["sqlite", "mongodb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/portal.db"
        return
    with fresh_database(request.getfixturevalue("mongodb")) as uri:
        yield uri


async def follow(world: World, browser: Browser, response: Response) -> Response:
    """Follow the redirects of a callback, as its tab does."""
    assert response.status == 303, response.text
    return await browser.open(world.at(response.headers["Location"]))


async def tenants_of(world: World, browser: Browser) -> list[str]:
    found = json.loads((await browser.fetch(world.at("/session"))).body)
    return [one["slug"] for one in found["tenants"]]


@asynccontextmanager
async def codes_held(world: World, *tenants: str) -> AsyncIterator[asyncio.Event]:
    """Let the token requests of these tenants wait for an event."""
    hold = asyncio.Event()
    for tenant in tenants:
        world.provider(tenant).faults.endpoints["code"] = EndpointFault(hold=hold)
    yield hold
    for tenant in tenants:
        world.provider(tenant).faults.endpoints.clear()


async def finish_at_once(world: World, browser: Browser, *tenants: str) -> list[Response]:
    """Send the callbacks of several tabs with the same cookies; return the pages that the tabs end with."""
    callbacks = [await world.stop_before_callback(browser, tenant) for tenant in tenants]
    before = [world.provider(tenant).requests["code"] for tenant in tenants]
    async with codes_held(world, *tenants) as hold:
        tabs = [asyncio.ensure_future(browser.step(callback, site="cross-site")) for callback in callbacks]
        for tenant, count in zip(tenants, before, strict=True):
            provider = world.provider(tenant)
            await until(lambda p=provider, c=count: p.requests["code"] > c, "no code was sent")  # type: ignore[misc]
        hold.set()
        responses = await asyncio.gather(*tabs)
    return await asyncio.gather(*(follow(world, browser, response) for response in responses))


@pytest.mark.gen_test(timeout=90)
async def test_L6_two_logins_at_the_same_moment_are_both_in_the_session(
    tmp_path: Path, database: str
) -> None:
    async with world_outside(tmp_path, processes=2, database=database) as (world, served):
        assert len(served.workers) == 2
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        for _ in range(3):
            pages = await finish_at_once(world, browser, "acme", "globex")
            assert [page.status for page in pages] == [200, 200]
            assert await tenants_of(world, browser) == ["acme", "globex"]
        for path in ("/t/acme/api/orders", "/t/globex/api/projects"):
            assert (await browser.fetch(world.at(path))).status == 200


@pytest.mark.gen_test(timeout=60)
async def test_L6_a_login_waits_until_the_other_tab_has_its_cookie(world: World) -> None:
    """The response of the first tab arrives after the second has asked for its session."""
    browser, first, second = await superseded(world)
    waiting = await browser.step(world.at(second.headers["Location"]))
    assert "/finish-login?reference=waiting." in waiting.headers["Location"]
    assert "portal" not in cookies_of(waiting)
    browser.cookies["localhost"]["portal"] = cookies_of(first)["portal"]
    page = await browser.open(world.at(waiting.headers["Location"]))
    assert page.url == world.at("/t/globex/")
    assert await tenants_of(world, browser) == ["acme", "globex"]
    assert len(stored(world)["sessions"]) == 1
    assert len(stored(world)["logins"]) == 2


async def superseded(world: World, query: str = "") -> tuple[Browser, Response, Response]:
    """A browser, and the responses to two callbacks of which it has received neither; the first was first.

    Parameters: query, of the address that begins the second login.
    """
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    acme = await world.stop_before_callback(browser, "acme")
    globex = await world.stop_before_callback(browser, "globex", query)
    before = dict(browser.cookies["localhost"])
    async with codes_held(world, "globex") as hold:
        held = asyncio.ensure_future(browser.step(globex, site="cross-site"))
        await until(lambda: world.globex.requests["code"], "no code was sent")
        first = await browser.step(acme, site="cross-site")
        hold.set()
        second = await held
    browser.cookies["localhost"] = before
    assert "portal" in cookies_of(first)
    assert "portal" not in cookies_of(second)
    return browser, first, second


def cookies_of(response: Response) -> dict[str, str]:
    lines = response.headers.get_list("Set-Cookie")
    return {name: morsel.value for line in lines for name, morsel in SimpleCookie(line).items()}


@pytest.mark.gen_test(timeout=60)
async def test_L6_without_the_cookie_of_the_first_the_second_login_stays_alone(world: World) -> None:
    """Both used a cookie that a stranger knows: nothing shows that they were one browser."""
    stranger, of_victim, second = await superseded(world)
    victim = world.browser()
    victim.cookies["localhost"] = cookies_of(of_victim)
    page = await stranger.open(world.at(second.headers["Location"]))
    assert page.url == world.at("/t/globex/")
    assert len(page.trail) == 2 + len(PAUSES), "it asked again until its time was over"
    assert await tenants_of(world, stranger) == ["globex"]
    assert await tenants_of(world, victim) == ["acme"]
    assert stranger.cookie("localhost", "portal") != victim.cookie("localhost", "portal")


@pytest.mark.gen_test(timeout=60)
async def test_L6_a_reference_is_for_one_browser_and_one_use(world: World) -> None:
    browser, first, second = await superseded(world)
    url = world.at(second.headers["Location"])
    other = world.browser()
    await world.quick_sign_in(other, "acme")
    await world.to_provider(other, "globex")  # it has a binding of its own
    assert (await other.open(url)).url == world.at("/t/acme/") or await tenants_of(world, other) == ["acme"]
    assert await tenants_of(world, other) == ["acme"]
    wrong = world.at(second.headers["Location"].replace("/t/globex/", "/t/initech/"))
    assert (await browser.step(wrong)).status in {400, 404}
    browser.cookies["localhost"]["portal"] = cookies_of(first)["portal"]
    assert (await browser.open(url)).url == world.at("/t/globex/")
    assert await tenants_of(world, browser) == ["acme", "globex"]
    cookie = browser.cookie("localhost", "portal")
    assert (await browser.step(url)).headers["Location"] == "/t/globex/"
    assert browser.cookie("localhost", "portal") == cookie


@pytest.mark.parametrize("when", ["waiting", "moving"])
@pytest.mark.gen_test(timeout=60)
async def test_L6_a_logout_of_the_provider_ends_a_login_that_waits(world: World, when: str) -> None:
    browser, first, second = await superseded(world)
    browser.cookies["localhost"]["portal"] = cookies_of(first)["portal"]
    store = world.running.portal.store
    [waiting] = [login for login in await _logins(world) if login.tenant == "globex"]
    if when == "waiting":
        await store.delete_login(waiting.session, "globex")
    else:
        delete = store.delete_session

        async def after_a_logout(session_id: str) -> list[Login]:
            await store.delete_login(waiting.session, "globex")
            return await delete(session_id)

        store.delete_session = after_a_logout  # type: ignore[method-assign]
    await browser.step(world.at(second.headers["Location"]))
    assert await tenants_of(world, browser) == ["acme"]
    assert [login.tenant for login in await _logins(world)] == ["acme"]
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


async def _logins(world: World) -> list[Login]:
    store = world.running.portal.store
    sessions = [str(row[0]) for row in stored(world)["sessions"]]
    return [login for key in sessions for login in await store.list_logins(key, now=world.clock())]


@pytest.mark.gen_test(timeout=60)
async def test_L6_sign_ins_of_two_tabs_at_once_end_their_stream_and_the_next_one_has_both(
    world: World,
) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with events_of(world, browser) as events:
        pages = await finish_at_once(world, browser, "acme", "globex")
        assert [page.status for page in pages] == [200, 200]
        assert await events.event() is None, "the stream ends, and another one is opened"
    before = await facts(world, browser)
    assert [one["slug"] for one in before["tenants"]] == ["acme", "globex"]
    async with events_of(world, browser) as events:
        await browser.fetch(world.at("/t/globex/logout"), "POST", body="")
        assert await events.event() == ("ended", {"tenant": "globex"})
