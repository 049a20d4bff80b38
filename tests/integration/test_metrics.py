"""What happens is counted once, whichever process it happened in: read from a scrape of 1 and 2 processes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPError

from portal.config.metric_settings import MetricSettings
from tests.kit.browser import Browser
from tests.kit.event_stream import events_of
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.endpoints import Response as FaultyResponse
from tests.kit.processes import PortalProcess, free_port, world_outside
from tests.kit.websockets import CLOSE, opened
from tests.kit.world import World

_SECONDS = 60.0
_SAMPLE = re.compile(r"^([a-z_:]+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(text: str) -> Samples:
    """The samples of a scrape by name and labels."""
    found: Samples = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = _SAMPLE.match(line)
        assert match, line
        found[match[1], frozenset(_LABEL.findall(match[2] or ""))] = float(match[3])
    return found


class Scraper:
    """Reads the metrics of a portal, and the values of single series."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._url = f"http://{address}/metrics"
        self._client = AsyncHTTPClient(force_instance=True)

    async def text(self) -> str:
        response = await self._client.fetch(self._url, request_timeout=_SECONDS)
        return response.body.decode()

    async def samples(self) -> Samples:
        return samples_of(await self.text())

    async def value(self, name: str, **labels: str) -> float:
        """The sum over all series of a name that have these labels; 0 when there is none."""
        wanted = frozenset(labels.items())
        samples = await self.samples()
        return sum(value for (one, of), value in samples.items() if one == name and wanted <= of)

    async def until(self, expected: float, name: str, **labels: str) -> None:
        """Wait until a value is reached: another process shows what it counts within a second."""
        async with asyncio.timeout(_SECONDS):
            while (found := await self.value(name, **labels)) != expected:
                assert found <= expected, (name, labels, found)
                await asyncio.sleep(0.05)

    def close(self) -> None:
        self._client.close()


@asynccontextmanager
async def scraped(
    folder: Path, *, processes: int, tenants: int = 100
) -> AsyncIterator[tuple[World, PortalProcess, Scraper]]:
    """A portal in processes of its own that serves its metrics."""
    address = f"127.0.0.1:{free_port()}"
    scraper = Scraper(address)
    made = world_outside(
        folder,
        processes=processes,
        changes=lambda settings: replace(
            settings, metrics_listen=address, metrics=MetricSettings(tenants=tenants)
        ),
    )
    async with made as (world, served):
        try:
            yield world, served, scraper
        finally:
            scraper.close()


async def orders(world: World, browser: Browser) -> int:
    """Call Acme's API; return the status."""
    response = await browser.fetch(
        world.at("/t/acme/api/orders"),
        headers={"X-Portal-CSRF": "1", "Sec-Fetch-Site": "same-origin", "Connection": "close"},
    )
    return response.status


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.gen_test(timeout=240)
async def test_what_happens_is_in_the_scrape(tmp_path: Path, processes: int) -> None:
    async with scraped(tmp_path, processes=processes) as (world, _, scraper):
        steps: tuple[Callable[[World, Scraper], Awaitable[None]], ...] = (
            _a_login,
            _calls,
            _a_refused_login,
            _an_unavailable_provider,
            _a_refresh,
            _a_long_body,
            _a_stream,
            _a_socket,
            _a_refused_tenant_file,
        )
        for step in steps:
            await step(world, scraper)


async def _a_login(world: World, scraper: Scraper) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await scraper.until(1, "portal_logins_started_total", tenant="acme")
    await scraper.until(1, "portal_logins_finished_total", tenant="acme")
    for endpoint in ("metadata", "keys", "token"):
        assert await scraper.value("portal_provider_requests_total", tenant="acme", endpoint=endpoint) >= 1
        assert await scraper.value("portal_provider_request_duration_seconds_count", endpoint=endpoint) >= 1
    await scraper.until(1, "portal_provider_requests_total", tenant="acme", endpoint="token", outcome="2xx")
    assert await scraper.value("portal_store_operation_duration_seconds_count", operation="add_attempt") == 1
    assert await scraper.value("portal_sessions") == 1
    assert await scraper.value("portal_logins") == 1
    assert await scraper.value("portal_tenants") == 2
    assert await scraper.value("portal_vault_key_created_timestamp_seconds") > 1.6e9
    async with asyncio.timeout(_SECONDS):  # it is measured some time after the start
        while not await scraper.value("portal_event_loop_lag_seconds_count"):
            await asyncio.sleep(0.05)


async def _calls(world: World, scraper: Scraper) -> None:
    browser = world.browsers[0]
    for _ in range(8):
        assert await orders(world, browser) == 200
    assert await orders(world, world.browser()) == 401
    calls = "portal_api_calls_total"
    await scraper.until(8, calls, tenant="acme", status="2xx", responder="api")
    await scraper.until(1, calls, tenant="acme", status="4xx", responder="portal")
    await scraper.until(8, "portal_api_upstream_duration_seconds_count", tenant="acme")
    await scraper.until(8, "portal_api_added_duration_seconds_count")
    took = await scraper.value("portal_api_upstream_duration_seconds_sum")
    assert 0 < took < 8 * _SECONDS


async def _a_refused_login(world: World, scraper: Scraper) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    response = await browser.step(re.sub(r"state=[^&]*", "state=another", callback), site="cross-site")
    assert response.status == 400
    await scraper.until(1, "portal_logins_refused_total", tenant="acme", rule="login_attempt_unknown")


async def _an_unavailable_provider(world: World, scraper: Scraper) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    world.acme.faults.endpoints["token"] = EndpointFault(response=FaultyResponse())
    response = await browser.step(callback, site="cross-site")
    world.acme.faults.endpoints.clear()
    assert response.status == 503
    await scraper.until(1, "portal_logins_refused_total", tenant="acme", rule="provider_unavailable")
    await scraper.until(1, "portal_provider_requests_total", tenant="acme", endpoint="token", outcome="5xx")


async def _a_refresh(world: World, scraper: Scraper) -> None:
    browser = world.browsers[0]
    await world.expire_access_token(browser, "acme")
    assert await orders(world, browser) == 200
    await scraper.until(1, "portal_refreshes_total", tenant="acme", token="login", outcome="refreshed")
    await scraper.until(9, "portal_api_upstream_duration_seconds_count", tenant="acme")


async def _a_stream(world: World, scraper: Scraper) -> None:
    async with events_of(world, world.browsers[0]):
        await scraper.until(1, "portal_session_streams")
        assert await scraper.value("portal_connections") >= 1
    async with asyncio.timeout(_SECONDS):
        while await scraper.value("portal_session_streams"):
            await asyncio.sleep(0.05)


async def _a_socket(world: World, scraper: Scraper) -> None:
    async with opened(world, world.browsers[0]) as socket:
        await socket.say({"type": "say", "text": "hello"})
        assert await socket.receive() is not None
        await scraper.until(1, "portal_sockets")
        await socket.send(CLOSE, b"\x03\xe8")
        assert await socket.closed() == 1000
    await scraper.until(1, "portal_api_calls_total", tenant="acme", status="1xx", responder="api")
    await scraper.until(2, "portal_socket_frames_total", to="server")


async def _a_long_body(world: World, scraper: Scraper) -> None:
    browser = world.browsers[0]
    timed = await scraper.value("portal_api_upstream_duration_seconds_count", tenant="acme")
    before = await scraper.value("portal_api_calls_total", tenant="acme", responder="api")
    await browser.fetch(world.at("/t/acme/api/orders"), "POST", body=b"x" * 100_000)
    await scraper.until(before + 1, "portal_api_calls_total", tenant="acme", responder="api")
    after = await scraper.value("portal_api_upstream_duration_seconds_count", tenant="acme")
    assert after == timed, "how fast the browser sends is not the time of the API"


async def _a_refused_tenant_file(world: World, scraper: Scraper) -> None:
    (world.settings.tenants / "broken.yaml").write_text("name: 7\n")
    async with asyncio.timeout(_SECONDS):
        while await scraper.value("portal_tenant_problems", tenant="broken") < 1:
            await asyncio.sleep(0.05)


@pytest.mark.gen_test(timeout=240)
async def test_a_worker_that_is_replaced_takes_nothing_from_the_sum(tmp_path: Path) -> None:
    name, labels = "portal_api_calls_total", {"tenant": "acme", "status": "2xx"}
    async with scraped(tmp_path, processes=2) as (world, served, scraper):
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        for _ in range(6):
            assert await orders(world, browser) == 200
        await scraper.until(6, name, **labels)
        timed = await scraper.value("portal_api_upstream_duration_seconds_count", tenant="acme")
        for killed in served.workers:
            served.kill_worker(killed)
            async with asyncio.timeout(_SECONDS):
                while killed in served.workers or len(served.workers) < 2:
                    await asyncio.sleep(0.05)
            assert await _when_there_is_a_worker(scraper, name, **labels) == 6
        assert await scraper.value("portal_api_upstream_duration_seconds_count", tenant="acme") == timed
        async with asyncio.timeout(_SECONDS):
            while await orders(world, browser) != 200:
                await asyncio.sleep(0.1)
        await scraper.until(7, name, **labels)


async def _when_there_is_a_worker(scraper: Scraper, name: str, **labels: str) -> float:
    """A value; a connection that waited in the queue of a killed worker is closed, and is tried again."""
    async with asyncio.timeout(_SECONDS):
        while True:
            try:
                return await scraper.value(name, **labels)
            except (OSError, HTTPError):
                await asyncio.sleep(0.05)


@pytest.mark.gen_test(timeout=240)
async def test_tenants_beyond_the_number_of_the_operator_are_counted_together(tmp_path: Path) -> None:
    async with scraped(tmp_path, processes=2, tenants=1) as (world, _, scraper):
        for tenant in ("acme", "globex"):
            browser = world.browser()
            await world.quick_sign_in(browser, tenant)
            response = await browser.fetch(world.at(f"/t/{tenant}/api/orders"))
            assert response.status == 200
        await scraper.until(1, "portal_api_calls_total", tenant="acme")
        await scraper.until(1, "portal_api_calls_total", tenant="_other")
        await scraper.until(1, "portal_logins_finished_total", tenant="_other")
        assert "globex" not in await scraper.text()
