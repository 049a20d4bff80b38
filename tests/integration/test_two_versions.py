"""The version before and this one serve together on one database, in both directions, under load."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.earlier_version import NoEarlierVersion, extract_earlier_version
from tests.kit.browser import Browser
from tests.kit.faulty.parts import ProviderOptions
from tests.kit.processes import PortalProcess, free_port, world_outside
from tests.kit.world import World
from tests.mongodb import fresh_database, running_server

BROWSERS = 4
CALLS = 40
"""Calls that the browsers must have made before the next step."""
_PAUSE = 0.01
"""Seconds between two calls of a browser: both versions need the processor to start."""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the package of the version before."""
    folder = tmp_path_factory.mktemp("earlier")
    try:
        name = extract_earlier_version(folder)
    except NoEarlierVersion as reason:
        pytest.skip(f"the version before cannot be built: {reason}")
    print(f"the version before is {name}")
    return folder / "code"


@pytest.fixture(params=["sqlite", "mongodb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/portal.db"
        return
    with running_server(tmp_path / "mongodb") as server, fresh_database(server) as url:
        yield f"{url}?timeoutMS=20000&serverSelectionTimeoutMS=20000"


class LoadBalancer:
    """Forwards each connection to the next of the portals that serve."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._numbers = itertools.count()
        self.forwarded: Counter[int] = Counter()

    @contextlib.asynccontextmanager
    async def listen(self, port: int) -> AsyncIterator[None]:
        listener = await asyncio.start_server(self._forward, "127.0.0.1", port)
        try:
            yield
        finally:
            listener.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = self.ports[next(self._numbers) % len(self.ports)]
        self.forwarded[port] += 1
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


class Load:
    """Calls the API with every browser until it is stopped; each call must succeed."""

    def __init__(self, world: World, browsers: list[Browser]) -> None:
        self._world = world
        self._browsers = browsers
        self._stopped = False
        self.calls = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._call(browser) for browser in self._browsers))

    async def _call(self, browser: Browser) -> None:
        for number in itertools.count():
            if self._stopped:
                return
            if number % 5 == 4:
                await self._world.expire_access_token(browser, "acme")
            response = await browser.fetch(self._world.at("/t/acme/api/orders"))
            assert response.status == 200, (response.status, response.text[:500])
            self.calls += 1
            await asyncio.sleep(_PAUSE)

    async def go_on(self) -> None:
        """Wait for more calls."""
        until = self.calls + CALLS
        while self.calls < until:
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        self._stopped = True


@contextlib.asynccontextmanager
async def under_load(world: World, browsers: list[Browser]) -> AsyncIterator[Load]:
    """Call the API during the block, which ends at once when a call fails."""
    load = Load(world, browsers)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run())
        yield load
        load.stop()


@pytest.mark.timeout(300)
@pytest.mark.gen_test(timeout=240)
async def test_two_versions_serve_together_on_one_database(
    tmp_path: Path, database: str, earlier: Path
) -> None:
    options = ProviderOptions(access_token_seconds=300.0)
    async with world_outside(tmp_path, database=database, options=options, serves=False) as (world, _):
        listens = int(world.url.rpartition(":")[2])
        old_port, new_port = free_port(), free_port()
        settings = replace(world.settings, listen=f"127.0.0.1:{old_port}")
        old = PortalProcess(settings, tmp_path / "old.log", code=earlier)
        settings = replace(world.settings, listen=f"127.0.0.1:{new_port}")
        new = PortalProcess(settings, tmp_path / "new.log")
        balancer = LoadBalancer()
        try:
            async with balancer.listen(listens):
                await old.start()
                balancer.ports = [old_port]
                browsers = [world.browser() for _ in range(BROWSERS)]
                for browser in browsers:
                    await world.quick_sign_in(browser, "acme")
                async with under_load(world, browsers) as load:
                    await load.go_on()
                    await new.start()  # the upgrade begins
                    balancer.ports = [old_port, new_port]
                    await load.go_on()
                    await _sign_in_and_out(world)
                    balancer.ports = [new_port]
                    await old.stop()
                    await load.go_on()
                    await old.start()  # and is undone
                    balancer.ports = [old_port, new_port]
                    await load.go_on()
                    await _sign_in_and_out(world)
                    balancer.ports = [old_port]
                    await new.stop()
                    await load.go_on()
        finally:
            await old.stop()
            await new.stop()
    assert min(balancer.forwarded.values()) > CALLS / 2
    assert world.acme.requests["refresh"] >= BROWSERS
    for process in (old, new):
        for sign in ("Traceback", "damaged_entry", "unexpected_error", "refresh_token_rejected"):
            assert sign not in process.log, sign


async def _sign_in_and_out(world: World) -> None:
    """Logins that one version may begin and the other end, and a logout that both know of."""
    for _ in range(3):
        browser = world.browser()
        await world.quick_sign_in(browser, "globex")
        assert (await browser.fetch(world.at("/t/globex/api/orders"))).status == 200
        page = await browser.open(world.at("/t/globex/"))
        form = next(form for form in page.forms if form.action.endswith("/logout"))
        await browser.submit(form)
        for _ in range(4):
            assert (await browser.fetch(world.at("/t/globex/api/orders"))).status == 401
