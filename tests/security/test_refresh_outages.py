"""THREATS D6: a database failure during a token rotation signs no user out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.kit.browser import Browser
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.raw import until
from tests.kit.sqlite_lock import write_lock
from tests.kit.tcp_proxy import Fate, TcpProxy, proxy_before
from tests.kit.world import World, world
from tests.mongodb import MongoTestServer, fresh_database

USERS = 8
PATIENCE = 40.0


@pytest.fixture(scope="module")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoTestServer]:
    """A MongoDB server for the tests of this file."""
    server = MongoTestServer(tmp_path_factory.mktemp("mongodb"))
    server.start()
    try:
        yield server
    finally:
        server.terminate()


@asynccontextmanager
async def _proxied(server: MongoTestServer) -> AsyncIterator[tuple[TcpProxy, str]]:
    """A proxy in front of the server, and the connection string of a new database through it."""
    async with proxy_before(server.port) as proxy:
        with fresh_database(server.uri) as uri:
            yield proxy, uri.replace(f":{server.port}/", f":{proxy.port}/")


@asynccontextmanager
async def _world_with_expired_tokens(
    folder: Path, database: str | None = None
) -> AsyncIterator[tuple[World, list[Browser]]]:
    """A portal with users whose access tokens have expired."""
    async with world(folder, database=database) as made:
        browsers = [made.browser() for _ in range(USERS)]
        for browser in browsers:
            await made.quick_sign_in(browser, "acme")
            await made.expire_access_token(browser, "acme")
        yield made, browsers


@asynccontextmanager
async def _refreshing_all(made: World, browsers: list[Browser]) -> AsyncIterator[list[asyncio.Task[int]]]:
    """Start a call of every user; the provider delays each refresh until the end of the block."""
    hold = asyncio.Event()
    made.acme.faults.endpoints["refresh"] = EndpointFault(hold=hold)
    calls = [asyncio.ensure_future(_status(made, browser)) for browser in browsers]
    await until(lambda: made.acme.requests["refresh"] == USERS, "not every refresh has begun")
    yield calls
    made.acme.faults.clear()
    hold.set()


async def _status(made: World, browser: Browser) -> int:
    return (await browser.fetch(made.at("/t/acme/api/orders"))).status


async def _final_status(made: World, browser: Browser) -> int:
    """Repeat a call while its status is 503; return the final status."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while True:
        status = await _status(made, browser)
        if status != 503 or asyncio.get_running_loop().time() > end:
            return status
        await asyncio.sleep(0.05)


async def _all_stay_signed_in(made: World, browsers: list[Browser]) -> None:
    """Check that calls of all users succeed now, and again after another refresh."""
    statuses = await asyncio.gather(*(_final_status(made, browser) for browser in browsers))
    assert statuses == [200] * USERS
    await made.running.tokens.wait_until_idle(PATIENCE)
    for browser in browsers:
        await made.expire_access_token(browser, "acme")
    assert await asyncio.gather(*(_status(made, browser) for browser in browsers)) == [200] * USERS


@pytest.mark.gen_test(timeout=100)
async def test_D6_a_locked_database_loses_no_refresh_token_and_fails_no_call(
    tmp_path: Path,
) -> None:
    async with _world_with_expired_tokens(tmp_path) as (made, browsers):
        async with _refreshing_all(made, browsers) as calls:
            lock = write_lock(tmp_path / "portal.db")
            lock.__enter__()
        try:
            assert await asyncio.gather(*calls) == [200] * USERS
            assert [await _status(made, browser) for browser in browsers] == [200] * USERS
        finally:
            lock.__exit__(None, None, None)
        await _all_stay_signed_in(made, browsers)
        assert made.acme.requests["refresh"] == 2 * USERS


@pytest.mark.gen_test(timeout=100)
async def test_D6_a_disconnected_database_loses_no_refresh_token(
    tmp_path: Path, mongodb: MongoTestServer
) -> None:
    async with (
        _proxied(mongodb) as (proxy, database),
        _world_with_expired_tokens(tmp_path, database) as (made, browsers),
    ):
        async with _refreshing_all(made, browsers) as calls:
            proxy.cut()
        assert await asyncio.gather(*calls) == [200] * USERS
        proxy.restore()
        await _all_stay_signed_in(made, browsers)
        assert made.acme.requests["refresh"] == 2 * USERS


def _resets(share: float) -> Callable[[bytes], Fate]:
    choice = random.Random(11)

    def fate(_: bytes) -> Fate:
        if choice.random() >= share:
            return Fate.PASSES
        return choice.choice((Fate.IS_LOST, Fate.IS_NOT_ACKNOWLEDGED))

    return fate


def _unacknowledged_swaps() -> Callable[[bytes], Fate]:
    """Every second write of a login succeeds without its acknowledgement."""
    count = 0

    def fate(data: bytes) -> Fate:
        nonlocal count
        if b"lease_owner" not in data or b"findAndModify" in data or b"claims" not in data:
            return Fate.PASSES
        count += 1
        return Fate.IS_NOT_ACKNOWLEDGED if count % 2 else Fate.PASSES

    return fate


@pytest.mark.parametrize("fault", ["a tenth of all messages", "acknowledgements"])
@pytest.mark.gen_test(timeout=100)
async def test_D6_connection_resets_lose_no_refresh_token(
    tmp_path: Path, mongodb: MongoTestServer, fault: str
) -> None:
    async with (
        _proxied(mongodb) as (proxy, database),
        _world_with_expired_tokens(tmp_path, database) as (made, browsers),
    ):
        proxy.fate = _resets(0.1) if fault == "a tenth of all messages" else _unacknowledged_swaps()
        for _ in range(3):
            await asyncio.gather(*(_status(made, browser) for browser in browsers))
        assert proxy.resets > 0
        proxy.fate = lambda data: Fate.PASSES
        await _all_stay_signed_in(made, browsers)
