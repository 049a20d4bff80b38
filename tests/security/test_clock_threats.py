"""THREATS S10: two hosts share a database, and their clocks differ by more than the length of a lease."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient

from portal.demo.provider_model import UserAccount
from tests.kit.browser import Browser
from tests.kit.faulty.parts import ProviderOptions
from tests.kit.processes import PortalProcess, free_port, world_outside
from tests.kit.raw import until
from tests.kit.world import World
from tests.mongodb import fresh_database, running_server

USERS = 20
TOKEN_SECONDS = 10.0
"""The refresh margin is a tenth of it: the most that `exp` in whole seconds can precede the expiry."""
CALLING_SECONDS = 13.0


@pytest.fixture
def mongodb(tmp_path: Path) -> Iterator[str]:
    with running_server(tmp_path / "mongodb") as server, fresh_database(server) as uri:
        yield uri


def _account(number: int) -> UserAccount:
    name = f"user{number:02}"
    return UserAccount(
        name,
        f"acme-{name}",
        f"subject-{name}",
        name,
        f"{name}@acme.example",
        (),
        frozenset({"read:orders"}),
    )


async def _call(world: World, host: str, browser: Browser) -> str:
    """Call the API through one host; return the status and whether the portal or the API sent it."""
    headers = {
        "Host": world.url.removeprefix("http://"),
        "Cookie": f"portal={browser.cookie('localhost', 'portal')}",
        "Sec-Fetch-Site": "same-origin",
        "X-Portal-CSRF": "1",
    }
    client = AsyncHTTPClient()
    url = f"http://{host}/t/acme/api/orders"
    response = await client.fetch(url, headers=headers, raise_error=False)
    sender = "portal" if "X-Portal-Problem" in response.headers else "API"
    return f"{response.code} of the {sender}"


@pytest.mark.timeout(120)
@pytest.mark.gen_test(timeout=100)
async def test_S10_hosts_whose_clocks_differ_by_25_seconds_use_no_refresh_token_twice(
    tmp_path: Path, mongodb: str
) -> None:
    options = ProviderOptions(
        access_token_seconds=TOKEN_SECONDS, consent=False, users=tuple(_account(n) for n in range(USERS))
    )
    async with world_outside(tmp_path, database=mongodb, options=options) as (world, first):
        second_address = f"127.0.0.1:{free_port()}"
        second = PortalProcess(
            replace(world.settings, listen=second_address), tmp_path / "second.log", clock_offset=25.0
        )
        await second.start()
        try:
            await until(
                lambda: "clock" in second.log, "the second host did not detect that its clock is wrong"
            )
            browsers = [world.browser() for _ in range(USERS)]
            for number, browser in enumerate(browsers):
                await world.sign_in(browser, "acme", user=f"user{number:02}")
            statuses: Counter[str] = Counter()
            end = time.monotonic() + CALLING_SECONDS
            while time.monotonic() < end:
                calls = [
                    _call(world, host, browser)
                    for browser in browsers
                    for host in (world.settings.listen, second_address)
                ]
                statuses.update(await asyncio.gather(*calls))
                await asyncio.sleep(0.2)
        finally:
            await second.stop()
        assert statuses.keys() == {"200 of the API"}, statuses
        # each host must compare the expiry with the database's clock: with its own it would refresh each time
        assert USERS <= world.acme.requests["refresh"] <= 2 * USERS
        refreshed = [served.log.count('"event": "refreshed"') for served in (first, second)]
        assert min(refreshed) > 0, f"one of the hosts refreshed nothing: {refreshed}"
        assert sum(refreshed) == world.acme.requests["refresh"]
