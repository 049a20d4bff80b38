"""THREATS S11 on real sockets: stalled clients and APIs, and a portal that stops meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from portal.web.server.http_server import HttpServer
from tests.kit.raw import (
    PATIENCE,
    RawConnection,
    api_head,
    change_tenant,
    connected,
    raw_api,
    signed_in,
    until,
)
from tests.kit.world import World
from tests.kit.world import world as make_world

MEGABYTE = 1024 * 1024
ENDLESS = ["Content-Length: 1000000000"]


async def _never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read no more than the head and what the buffer of the stream takes."""
    await writer.wait_closed()


async def _nothing_in_flight(world: World) -> None:
    await until(lambda: not world.running.portal.in_flight.count, "a call stays in flight")


@pytest.fixture
def short_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit the time for a body to half a second; request this fixture before `world`."""
    monkeypatch.setattr("portal.app._BODY_SECONDS", 0.5)


@pytest.fixture
def short_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.app._DRAIN_SECONDS", 0.2)
    monkeypatch.setattr("portal.web.server.listener._CLOSE_SECONDS", 0.2)


@contextlib.asynccontextmanager
async def _sending(connection: RawConnection) -> AsyncIterator[None]:
    """Send data until the connection closes."""

    async def send() -> None:
        while not connection.writer.is_closing():
            await connection.send(b"x" * MEGABYTE)

    sending = asyncio.ensure_future(send())
    try:
        yield
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send_until_it_blocks(connection: RawConnection) -> None:
    for _ in range(200):
        connection.writer.write(b"x" * MEGABYTE)
        try:
            await asyncio.wait_for(connection.writer.drain(), 0.5)
        except TimeoutError:
            return
    raise AssertionError("the portal reads everything although the API reads nothing")


# --- an API that does not read


@pytest.mark.parametrize("extra", [ENDLESS, ["Transfer-Encoding: chunked"]])
@pytest.mark.gen_test
async def test_S11_a_call_to_an_api_that_never_reads_the_body_times_out(
    world: World, log_lines: io.StringIO, extra: list[str]
) -> None:
    browser = await signed_in(world)
    async with raw_api(_never_reads) as api:
        change_tenant(world, "acme", api={"base_url": api.url, "idle_timeout": "1s"})
        async with connected(world) as connection:
            head = api_head(world, browser, "/t/acme/api/x", method="POST", extra=extra)
            await connection.send(head + (b"" if extra is ENDLESS else b"3b9aca00\r\n"))
            async with _sending(connection):
                await until(lambda: api.heads, "the API was not called")
                response = await connection.read_response()
            assert response is None or response.status == 504  # None: reset because of unread bytes
            await connection.ended()
        await _nothing_in_flight(world)
    logged = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert [
        line["status"] for line in logged if line.get("path") == "/t/acme/api/x" and "status" in line
    ] == [504]
    assert not [line for line in logged if line["level"] == "error"]


@pytest.mark.gen_test
async def test_S11_a_disconnect_is_detected_while_the_api_does_not_read(world: World) -> None:
    browser = await signed_in(world)
    async with raw_api(_never_reads) as api:
        change_tenant(world, "acme", api={"base_url": api.url, "idle_timeout": "1s"})
        async with connected(world) as connection:
            await connection.send(api_head(world, browser, "/t/acme/api/x", method="POST", extra=ENDLESS))
            async with _sending(connection):
                await until(lambda: api.heads, "the API was not called")
                connection.reset()
        await _nothing_in_flight(world)


# --- a portal that stops


@contextlib.asynccontextmanager
async def _stopping_in_time(folder: Path) -> AsyncIterator[World]:
    """A portal that must stop soon after the block."""
    manager = make_world(folder)
    yield await manager.__aenter__()
    async with asyncio.timeout(PATIENCE):
        await manager.__aexit__(None, None, None)


@pytest.mark.usefixtures("short_stops")
@pytest.mark.gen_test
async def test_S11_a_portal_stops_in_time_while_an_upload_is_stalled(tmp_path: Path) -> None:
    async with raw_api(_never_reads) as api, contextlib.AsyncExitStack() as stack:
        async with _stopping_in_time(tmp_path) as world:
            browser = await signed_in(world)
            change_tenant(world, "acme", api={"base_url": api.url})
            connection = await stack.enter_async_context(connected(world))
            await connection.send(api_head(world, browser, "/t/acme/api/x", method="POST", extra=ENDLESS))
            await _send_until_it_blocks(connection)
            assert world.running.portal.in_flight.count == 1
        await connection.ended()


@pytest.mark.usefixtures("short_stops")
@pytest.mark.gen_test
async def test_S11_a_portal_stops_in_time_despite_a_connection_that_does_not_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NeverClosing(HttpServer):
        async def close_all_connections(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr("portal.app.HttpServer", NeverClosing)
    async with _stopping_in_time(tmp_path):
        pass


# --- a browser that closes right after the head


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.gen_test
async def test_S11_a_call_ends_when_the_browser_closes_with_the_head(
    world: World, log_lines: io.StringIO, method: str
) -> None:
    """The close arrives together with the head, before a close callback is set."""
    browser = await signed_in(world)
    async with raw_api(_never_reads) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as connection:
            connection.writer.write(api_head(world, browser, "/t/acme/api/left", method=method))
            connection.writer.write_eof()
            assert await connection.ended() == b""
        await until(lambda: '"path": "/t/acme/api/left"' in log_lines.getvalue(), "the call did not end")
        await _nothing_in_flight(world)
    assert world.running.portal.in_flight.count == 0


@pytest.mark.gen_test
async def test_S11_a_call_ends_when_the_browser_closes_with_the_body(
    world: World, log_lines: io.StringIO
) -> None:
    browser = await signed_in(world)
    async with raw_api(_never_reads) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as connection:
            head = api_head(world, browser, "/t/acme/api/left", method="POST", extra=["Content-Length: 4"])
            connection.writer.write(head + b"body")
            connection.writer.write_eof()
            assert await connection.ended() == b""
        await until(lambda: '"path": "/t/acme/api/left"' in log_lines.getvalue(), "the call did not end")
        await _nothing_in_flight(world)
    assert world.running.portal.in_flight.count == 0


# --- a body that does not arrive


@pytest.mark.parametrize("sent", [b"", b"x" * 500, b"x" * 100_000])
@pytest.mark.usefixtures("short_bodies")
@pytest.mark.gen_test
async def test_S11_an_announced_body_that_does_not_arrive_times_out(world: World, sent: bytes) -> None:
    browser = await signed_in(world)
    extra = ["Content-Length: 200000"]
    async with connected(world) as connection:
        await connection.send(
            api_head(world, browser, "/t/acme/api/upload", method="POST", extra=extra) + sent
        )
        await until(lambda: world.running.portal.in_flight.count, "the request did not arrive")
        await connection.ended()
    await _nothing_in_flight(world)
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.usefixtures("short_bodies")
@pytest.mark.gen_test
async def test_S11_an_announced_form_that_does_not_arrive_times_out(world: World) -> None:
    async with connected(world) as connection:
        await connection.send(b"POST /logout HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
        await connection.ended()


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.usefixtures("short_bodies")
@pytest.mark.gen_test
async def test_S11_an_upload_may_take_longer_than_other_bodies(world: World, chunked: bool) -> None:
    browser = await signed_in(world)
    half = b"x" * MEGABYTE
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {2 * MEGABYTE}"
    piece = b"100000\r\n%s\r\n" % half if chunked else half
    async with connected(world) as uploading, connected(world) as stalled:
        extra = [framing]
        head = api_head(world, browser, "/t/acme/api/upload", method="POST", extra=extra)
        await uploading.send(head + piece)
        await until(lambda: world.acme_api.calls["upload"], "the upload did not begin")
        extra = ["Content-Length: 10"]
        await stalled.send(api_head(world, browser, "/t/acme/api/x", method="POST", extra=extra))
        await stalled.ended()
        await uploading.send(piece + (b"0\r\n\r\n" if chunked else b""))
        response = await uploading.read_response()
    assert response is not None
    assert response.status == 200
    assert json.loads(response.body)["received_bytes"] == 2 * MEGABYTE


# --- an API that responds before it receives the body


TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


async def _refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(TOO_LARGE)
    await writer.drain()
    await writer.wait_closed()


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.gen_test
async def test_S11_a_response_to_half_an_upload_reaches_the_browser_at_once(
    world: World, chunked: bool
) -> None:
    browser = await signed_in(world)
    extra = ["Transfer-Encoding: chunked"] if chunked else ENDLESS
    async with raw_api(_refuses) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as connection:
            head = api_head(world, browser, "/t/acme/api/x", method="POST", extra=extra)
            await connection.send(head + (b"f4240\r\n" if chunked else b"") + b"x" * 200_000)
            response = await connection.read_response()
            assert response is not None
            assert (response.status, response.body) == (413, b"{}")
            assert response.header("Connection") == "close"
            assert await connection.ended() == b""
        await _nothing_in_flight(world)


@pytest.mark.parametrize("more", [1_000, 65_536, 3_000_000])
@pytest.mark.gen_test
async def test_S11_a_disconnect_is_detected_during_a_stalled_early_response(world: World, more: int) -> None:
    """The body is no longer read and there is nothing to write: only the socket reveals the disconnect."""
    browser = await signed_in(world)

    async def respond_partly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n{")
        await writer.drain()
        await writer.wait_closed()

    async with raw_api(respond_partly) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as connection:
            head = api_head(world, browser, "/t/acme/api/x", method="POST", extra=ENDLESS)
            await connection.send(head + b"x" * 70_000)
            await asyncio.wait_for(connection.reader.readuntil(b"{"), PATIENCE)
            connection.writer.write(b"x" * more)
            connection.writer.write_eof()
            await _nothing_in_flight(world)


@pytest.mark.gen_test
async def test_S11_a_browser_that_keeps_sending_after_an_early_response_is_disconnected(world: World) -> None:
    browser = await signed_in(world)
    async with raw_api(_refuses) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as connection:
            await connection.send(api_head(world, browser, "/t/acme/api/x", method="POST", extra=ENDLESS))
            async with _sending(connection):
                response = await connection.read_response()
                assert response is None or response.status == 413
                assert await connection.ended() == b""
        await _nothing_in_flight(world)
