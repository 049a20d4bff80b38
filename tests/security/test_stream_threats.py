"""THREATS S11 on real sockets: endless bodies, stalled readers, disconnected browsers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.kit.browser import Browser
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.processes import PortalProcess, resident_bytes, world_outside
from tests.kit.raw import (
    PATIENCE,
    RawResponse,
    api_head,
    change_tenant,
    connected,
    cookies,
    raw_api,
    signed_in,
    until,
)
from tests.kit.world import World

MEGABYTE = 1024 * 1024

# --- S11: endless bodies, disconnected browsers


@pytest.mark.gen_test
async def test_S11_an_explorer_call_is_cancelled_when_the_browser_disconnects(world: World) -> None:
    browser = await signed_in(world)
    body = urlencode({"method": "GET", "path": "/stream?interval=0.5"})
    head = (
        f"POST /t/acme/developer HTTP/1.1\r\nHost: x\r\nCookie: {cookies(browser)}\r\n"
        "Sec-Fetch-Site: same-origin\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    async with connected(world) as connection:
        await connection.send(head.encode())
        await until(lambda: world.acme_api.open_streams, "the explorer called nothing")
        connection.reset()
    await until(lambda: not world.acme_api.open_streams, "the explorer still reads", seconds=3)
    await until(lambda: not world.running.portal.in_flight.count, "the request was not cancelled", seconds=3)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.gen_test
async def test_S11_a_truncated_upload_is_cancelled_on_both_sides(world: World, how: str) -> None:
    browser = await signed_in(world)
    async with connected(world) as connection:
        head = api_head(
            world, browser, "/t/acme/api/upload", method="POST", extra=["Content-Length: 10000000"]
        )
        await connection.send(head + b"x" * 300_000)
        await until(lambda: world.acme_api.calls["upload"], "the upload did not begin")
        getattr(connection, how)()
    await until(
        lambda: not world.running.portal.in_flight.count, "a truncated upload stays in flight", seconds=3
    )
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_S11_an_upload_is_cancelled_when_the_browser_disconnects_during_a_refresh(world: World) -> None:
    browser = await signed_in(world)
    await world.expire_access_token(browser, "acme")
    world.acme.faults.endpoints["refresh"] = EndpointFault(never_responds=True)
    portal = world.running.portal
    async with connected(world) as connection:
        extra = ["Content-Length: 10000000"]
        await connection.send(api_head(world, browser, "/t/acme/api/upload", method="POST", extra=extra))
        await connection.send(b"x" * 70_000)
        await until(lambda: len(portal.live_calls), "the upload did not begin")
        await connection.send(b"more")
        await until(lambda: world.acme.requests["refresh"], "the access token is not refreshed")
        connection.reset()
    await until(lambda: not portal.in_flight.count, "the upload stays in flight", seconds=3)
    assert len(portal.live_calls) == 0


@pytest.mark.gen_test
async def test_S11_an_upload_truncated_before_forwarding_is_cancelled(world: World) -> None:
    browser = await signed_in(world)
    async with connected(world) as connection:
        extra = ["Content-Length: 10000"]
        await connection.send(api_head(world, browser, "/t/acme/api/upload", method="POST", extra=extra))
        await until(lambda: world.running.portal.in_flight.count, "the request did not arrive")
        connection.reset()
    await until(
        lambda: not world.running.portal.in_flight.count, "a truncated upload stays in flight", seconds=3
    )
    assert world.acme_api.calls["upload"] == 0


@pytest.mark.gen_test
async def test_S11_an_early_response_to_an_upload_is_cancelled_when_the_browser_disconnects(
    world: World,
) -> None:
    """The API responds before reading the body; the browser disconnects before reading the response."""
    browser = await signed_in(world)
    responded, ended = asyncio.Event(), asyncio.Event()

    async def respond_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9999999\r\n\r\n{")
        await writer.drain()
        responded.set()
        try:
            while await reader.read(65_536):
                pass
        except ConnectionError:
            return
        finally:
            ended.set()

    async with raw_api(respond_early) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as connection:
            extra = ["Content-Length: 50000000"]
            await connection.send(api_head(world, browser, "/t/acme/api/x", method="POST", extra=extra))
            await connection.send(b"x" * 200_000)
            await asyncio.wait_for(responded.wait(), PATIENCE)
            connection.reset()
        await asyncio.wait_for(ended.wait(), PATIENCE)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.gen_test
async def test_S11_an_endless_stream_ends_at_the_api_when_the_browser_disconnects(
    world: World, how: str
) -> None:
    browser = await signed_in(world)
    async with connected(world) as connection:
        await connection.send(api_head(world, browser, "/t/acme/api/stream?interval=0.01"))
        await asyncio.wait_for(connection.reader.readuntil(b'"tick": 3'), PATIENCE)
        getattr(connection, how)()
    await until(lambda: not world.acme_api.open_streams, "the API still streams", seconds=3)
    await until(lambda: not world.running.portal.in_flight.count, "the request was not cancelled", seconds=3)


@pytest.mark.gen_test
async def test_S11_a_call_to_a_silent_api_ends_when_the_browser_disconnects(world: World) -> None:
    browser = await signed_in(world)
    world.acme_api.faults["echo"] = EndpointFault(never_responds=True)
    async with connected(world) as connection:
        await connection.send(api_head(world, browser, "/t/acme/api/echo"))
        await until(lambda: world.acme_api.calls["echo"], "the API was not called")
        connection.reset()
    await until(lambda: not world.running.portal.in_flight.count, "the request was not cancelled", seconds=3)


LARGE = 200 * MEGABYTE
MAX_GROWTH = 40 * MEGABYTE


class _Peak:
    """Measures the peak growth of the resident memory of a portal."""

    def __init__(self, served: PortalProcess) -> None:
        (self._pid,) = served.workers
        self._before = resident_bytes(self._pid)
        self.growth = 0
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            self.growth = max(self.growth, resident_bytes(self._pid) - self._before)
            await asyncio.sleep(0.02)

    async def end(self) -> int:
        self.growth = max(self.growth, resident_bytes(self._pid) - self._before)
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        return self.growth


async def _upload(world: World, browser: Browser, size: int) -> RawResponse:
    piece = b"u" * MEGABYTE
    async with connected(world) as connection:
        extra = [f"Content-Length: {size}"]
        await connection.send(api_head(world, browser, "/t/acme/api/upload", method="POST", extra=extra))
        for _ in range(size // MEGABYTE):
            await connection.send(piece)
        response = await asyncio.wait_for(connection.read_response(), 60)
    assert response is not None
    return response


async def _download(world: World, browser: Browser, size: int) -> int:
    received = 0
    async with connected(world) as connection:
        await connection.send(api_head(world, browser, f"/t/acme/api/download?mb={size // MEGABYTE}"))
        await connection.reader.readuntil(b"\r\n\r\n")
        while received < size and (chunk := await connection.reader.read(MEGABYTE)):
            received += len(chunk)
    return received


@pytest.mark.gen_test(timeout=90)
async def test_S11_memory_stays_flat_while_large_bodies_are_forwarded(tmp_path: Path) -> None:
    async with world_outside(tmp_path) as (world, served):
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        await _upload(world, browser, 4 * MEGABYTE)
        peak = _Peak(served)
        response = await _upload(world, browser, LARGE)
        assert json.loads(response.body)["received_bytes"] == LARGE
        uploading = await peak.end()
        peak = _Peak(served)
        assert await _download(world, browser, LARGE) == LARGE
        downloading = await peak.end()
        assert uploading < MAX_GROWTH
        assert downloading < MAX_GROWTH


async def _never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read no more than the buffer of the stream takes."""
    await writer.wait_closed()


@pytest.mark.gen_test(timeout=60)
async def test_S11_a_stalled_reader_applies_back_pressure_to_the_sender(tmp_path: Path) -> None:
    async with world_outside(tmp_path) as (world, served), raw_api(_never_reads) as api:
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        await world.quick_sign_in(browser, "globex")
        await _upload(world, browser, 4 * MEGABYTE)
        change_tenant(world, "globex", api={"base_url": api.url})
        await _wait_for_call(world, browser, api.heads)
        peak = _Peak(served)
        async with connected(world) as stalled_reader, connected(world) as sender:
            await stalled_reader.send(api_head(world, browser, "/t/acme/api/download?mb=1000"))
            await until(lambda: world.acme_api.open_streams, "the download did not begin")
            extra = [f"Content-Length: {LARGE}"]
            await sender.send(api_head(world, browser, "/t/globex/api/x", method="POST", extra=extra))
            assert await _send_until_it_blocks(sender.writer, LARGE) < 50 * MEGABYTE
            assert await peak.end() < MAX_GROWTH
            assert world.acme_api.open_streams == 1


async def _wait_for_call(world: World, browser: Browser, heads: list[bytes]) -> None:
    """Wait until the portal process has loaded the changed file and calls its API."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while not heads:
        assert asyncio.get_running_loop().time() < end, "the portal did not load the changed file"
        async with connected(world) as connection:
            await connection.send(api_head(world, browser, "/t/globex/api/nothing"))
            await asyncio.wait({asyncio.ensure_future(connection.reader.read(1))}, timeout=0.3)


async def _send_until_it_blocks(writer: asyncio.StreamWriter, size: int) -> int:
    sent = 0
    while sent < size:
        writer.write(b"x" * MEGABYTE)
        try:
            await asyncio.wait_for(writer.drain(), 1)
        except TimeoutError:
            return sent
        sent += MEGABYTE
    return sent
