"""THREATS F3 and F4: WebSockets of other sites, of ended logins, and with hostile ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from portal.web.api_proxy import live_calls
from portal.web.server import client_connection
from portal.web.websocket import relay
from tests.kit.browser import Browser
from tests.kit.loops import ON_UVLOOP
from tests.kit.memory import kept_memory
from tests.kit.processes import world_outside
from tests.kit.raw import PATIENCE, change_tenant, connected, raw_api, signed_in, until
from tests.kit.websockets import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    ApiSocket,
    BrowserSocket,
    accepting,
    frame,
    handshake,
    opened,
    read_handshake_response,
    socket_api,
    socket_head,
)
from tests.kit.world import World
from tests.security.test_live_call_threats import CUT_SECONDS, ENDS, End, _named

pytestmark = ON_UVLOOP

MEGABYTE = 1024 * 1024


@pytest.fixture(autouse=True)
def _checks_only_by_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_calls, "_LEAST_AGE", 0.0)
    monkeypatch.setattr(live_calls, "CHECK_SECONDS", 3600.0)


@contextlib.asynccontextmanager
async def both_ends(world: World) -> AsyncIterator[tuple[BrowserSocket, ApiSocket]]:
    browser = await signed_in(world)
    async with socket_api() as api:
        change_tenant(world, "acme", api={"base_url": api.api.url})
        async with opened(world, browser) as socket:
            end = await api.next()
            yield socket, end
        with contextlib.suppress(ConnectionError):  # its connection ends after what it has not read
            await asyncio.wait_for(end.reader.read(), PATIENCE)
        await nothing_is_left(world)
        await until(lambda: api.ended == 1, "the connection to the API is open")


async def nothing_is_left(world: World) -> None:
    await until(lambda: not len(world.running.portal.sockets), "a socket is left")
    await until(lambda: not world.running.portal.in_flight.count, "a call is in flight")
    assert len(world.running.portal.live_calls) == 0


# --- F3: who may open one


ORIGINS: dict[str, dict[str, str | None]] = {
    "another site": {"Origin": "https://evil.example"},
    "none": {"Origin": None},
    "null": {"Origin": "null"},
    "empty": {"Origin": ""},
    "another port": {"Origin": "http://localhost:1"},
    "another scheme": {"Origin": "https://localhost"},
    "a longer name": {"Origin": "http://localhost.evil.example"},
    "the scheme of sockets": {"Origin": "ws://localhost"},
    "own origin, but cross-site": {"Sec-Fetch-Site": "cross-site"},
    "own origin, but a sibling": {"Sec-Fetch-Site": "same-site"},
    "own origin, but typed": {"Sec-Fetch-Site": "none"},
    "no origin, but same-origin": {"Origin": None, "Sec-Fetch-Site": "same-origin"},
    "no origin, with the header of scripts": {"Origin": None, "X-Portal-CSRF": "1"},
}


@pytest.mark.parametrize("case", ORIGINS)
@pytest.mark.gen_test
async def test_F3_a_socket_of_another_origin_is_refused(world: World, case: str) -> None:
    browser = await signed_in(world)
    async with handshake(world, browser, changes=ORIGINS[case]) as (connection, response):
        assert response is not None
        assert response.status == 403
        assert json.loads(response.body)["code"] == "cross_site_request"
        assert await connection.ended() == b""
    assert world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_F3_two_origins_are_refused_and_fetch_metadata_may_be_missing(world: World) -> None:
    browser = await signed_in(world)
    twice = [f"Origin: {world.url}"]
    async with handshake(world, browser, extra=twice) as (_, response):
        assert response is not None
        assert response.status == 403
    for site in (None, "same-origin"):
        async with opened(world, browser, changes={"Sec-Fetch-Site": site}):
            pass


@pytest.mark.gen_test
async def test_F3_a_socket_needs_a_live_login_at_its_tenant(world: World) -> None:
    browser = await signed_in(world)
    cases = [(None, "/t/acme/api/live", 401), (browser, "/t/globex/api/live", 401)]
    cases += [(browser, "/t/nobody/api/live", 404), (browser, "/t/acme/apis/other/live", 404)]
    cases += [(browser, "/t/acme/api/%2e%2e/live", 400)]
    for who, target, status in cases:
        async with handshake(world, who, target) as (_, response):
            assert response is not None
            assert response.status == status, target
    assert (await browser.step(world.at("/t/acme/logout"), "POST", "", site="same-origin")).status == 303
    async with handshake(world, browser) as (_, response):
        assert response is not None
        assert response.status == 401
        assert json.loads(response.body)["login_url"].startswith("/t/acme/login")
    assert world.acme_api.calls.total() == world.globex_api.calls.total() == 0


@pytest.mark.gen_test
async def test_F3_a_socket_follows_the_rules_for_paths(world: World) -> None:
    browser = await signed_in(world)
    rule = {"path": "/live", "require": [{"claim": "roles", "contains": "nobody"}]}
    change_tenant(world, "acme", access={"paths": [rule]})
    async with handshake(world, browser) as (_, response):
        assert response is not None
        assert response.status == 403
        assert json.loads(response.body)["code"] == "access_denied"
    assert world.acme_api.calls.total() == 0


# --- F3: when it ends


CODES = {"tenant_removed": 4404, "api_moved": 1012}


@pytest.mark.parametrize("end", ENDS, ids=_named)
@pytest.mark.gen_test
async def test_F3_a_socket_ends_with_its_login(world: World, end: End) -> None:
    browser = await signed_in(world)
    async with opened(world, browser) as socket:
        await until(lambda: world.acme_api.open_sockets, "the API has no socket")
        await end(world, browser)
        await world.running.portal.live_calls.check()
        assert await socket.closed() == CODES.get(_named(end), 4401)
        await until(lambda: not world.acme_api.open_sockets, "the API still has a socket")
        await socket.send(CLOSE)
        assert await socket.receive() is None
    await nothing_is_left(world)


@pytest.mark.gen_test
async def test_F3_a_socket_ends_when_a_rule_for_its_path_ends_the_permission(world: World) -> None:
    browser = await signed_in(world)
    async with opened(world, browser) as socket:
        rule = {"path": "/live", "require": [{"claim": "roles", "contains": "nobody"}]}
        change_tenant(world, "acme", access={"paths": [rule]})
        await world.running.portal.live_calls.check()
        assert await socket.closed() == 4403


@pytest.mark.gen_test
async def test_F3_nothing_passes_after_the_login_ended(world: World) -> None:
    browser = await signed_in(world)
    async with socket_api() as api:
        change_tenant(world, "acme", api={"base_url": api.api.url})
        async with opened(world, browser) as socket:
            end = await api.next()
            await world.running.portal.store.delete_login(world.session_id(browser), "acme")
            await world.running.portal.live_calls.check()
            await socket.send(TEXT, b"after the end")
            got = await end.receive()
            assert got is not None
            assert (got.opcode, got.code) == (CLOSE, 1001)
            assert await end.receive() is None
            assert await socket.closed() == 4401


@pytest.mark.gen_test
async def test_F3_a_socket_within_a_frame_ends_without_a_close_frame(world: World) -> None:
    browser = await signed_in(world)
    async with socket_api() as api:
        change_tenant(world, "acme", api={"base_url": api.api.url})
        async with opened(world, browser) as socket:
            end = await api.next()
            await end.write(frame(BINARY, b"x" * 1000, masked=False)[:100])
            await socket.connection.reader.readexactly(100)
            await world.running.portal.store.delete_login(world.session_id(browser), "acme")
            await world.running.portal.live_calls.check()
            assert await socket.connection.ended() == b""
            got = await end.receive()
            assert got is not None
            assert got.code == 1001


@pytest.mark.gen_test
async def test_F3_a_socket_survives_a_refresh_of_the_tokens(world: World) -> None:
    browser = await signed_in(world)
    async with opened(world, browser) as socket:
        await world.expire_access_token(browser, "acme")
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
        assert world.acme.requests["token"] == 2
        for _ in range(2):
            await world.running.portal.live_calls.check()
        await socket.say({"type": "say", "text": "still here"})
        got = await socket.receive()
        assert got is not None
        assert got.document["text"] == "still here"


@pytest.mark.gen_test(timeout=60)
async def test_F3_sockets_of_every_process_end_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with world_outside(tmp_path, processes=2) as (world, served):
        browser = await signed_in(world)
        async with contextlib.AsyncExitStack() as stack:
            some = [await stack.enter_async_context(opened(world, browser)) for _ in range(12)]
            await until(lambda: world.acme_api.open_sockets == 12, "not all are open")
            response = await browser.step(world.at("/t/acme/logout"), "POST", "", site="same-origin")
            assert response.status == 303
            begun = asyncio.get_running_loop().time()
            assert await asyncio.gather(*(socket.closed() for socket in some)) == [4401] * 12
            await until(lambda: not world.acme_api.open_sockets, "the API still has a socket")
            took = asyncio.get_running_loop().time() - begun
        assert took < 2 * CUT_SECONDS  # half of that on an idle machine
        assert served.log.count('"call_cut"') == 12
    with capsys.disabled():
        print(f"\n12 sockets in 2 processes were cut {took:.1f} s after the logout")


# --- F4: hostile frames


@pytest.mark.parametrize("direction", ["to the API", "to the browser"])
@pytest.mark.gen_test
async def test_F4_a_frame_of_a_gigabyte_is_a_stream_with_back_pressure(world: World, direction: str) -> None:
    async with both_ends(world) as (socket, api):
        if direction == "to the API":
            head, writer, reader = frame(BINARY)[:1], socket.connection.writer, api.reader
            head += b"\xff" + (1 << 30).to_bytes(8, "big") + b"mask"
        else:
            head, writer, reader = frame(BINARY)[:1], api.writer, socket.connection.reader
            head += b"\x7f" + (1 << 30).to_bytes(8, "big")
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(head)
        (one,) = world.running.portal.sockets
        passing = one.to_server if direction == "to the API" else one.to_browser
        sent, piece = 0, bytes(MEGABYTE)
        with kept_memory() as kept:
            while not passing.is_held:
                writer.write(piece)
                sent += 1
                assert sent < 64, "nothing is held"
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await writer.drain()
        assert kept.bytes < 3 * MEGABYTE, "apart from the test's own buffer"
        wanted = sent * MEGABYTE
        async with asyncio.timeout(PATIENCE):
            await reader.readexactly(len(head))
            while wanted:
                wanted -= len(await reader.read(min(wanted, MEGABYTE)))
        await until(lambda: not passing.is_held, "the source is still held")
        writer.transport.abort()


@pytest.mark.parametrize("source", ["browser", "API"])
@pytest.mark.parametrize("kind", ["one byte", "pings", "empty"])
@pytest.mark.gen_test
async def test_F4_small_frames_pass_slowly_and_nobody_else_waits(
    world: World, source: str, kind: str
) -> None:
    async with both_ends(world) as (socket, api):
        opcode, payload = {"one byte": (TEXT, b"x"), "pings": (PING, b""), "empty": (TEXT, b"")}[kind]
        one = frame(opcode, payload, masked=source == "browser")
        writer, reader = socket.connection.writer, api.reader
        if source == "API":
            writer, reader = api.writer, socket.connection.reader
        loop = asyncio.get_running_loop()
        (passing,) = world.running.portal.sockets
        direction = passing.to_server if source == "browser" else passing.to_browser
        begun, count = loop.time(), 3000
        writer.write(one * count)
        async with asyncio.timeout(PATIENCE):
            await reader.readexactly(len(one) * count)
        seconds = loop.time() - begun
        assert direction.frames == count
        assert seconds > 1.5, f"{count} frames passed in {seconds:.2f} s, and 1,000 a second may"
        big = frame(BINARY, b"y" * 5000, masked=source == "browser")
        writer.write(big * 100)
        async with asyncio.timeout(PATIENCE):
            await reader.readexactly(len(big) * 100)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(TEXT, b"x", masked=False), b"a frame is not masked"),
        (frame(PING, b"x" * 126), b"a control frame has more than 125 bytes"),
        (frame(3, b"x"), b"a frame begins with 0x83"),
        (b"\x82\xff" + b"\xff" * 8, b"the length of a frame is not in its shortest form, or too large"),
    ],
    ids=["not masked", "long control frame", "unknown opcode", "length too large"],
)
@pytest.mark.gen_test
async def test_F4_a_broken_frame_of_the_browser_ends_the_socket(
    world: World, data: bytes, reason: bytes
) -> None:
    async with both_ends(world) as (socket, api):
        await socket.send(TEXT, b"fine")
        assert await api.receive() is not None
        await socket.connection.send(data)
        got = await socket.receive()
        assert got is not None
        assert (got.code, got.payload[2:]) == (1002, reason)
        end = await api.receive()
        assert end is not None
        assert end.code == 1001
        assert await api.receive() is None


@pytest.mark.gen_test
async def test_F4_a_broken_frame_of_the_api_ends_the_socket(world: World) -> None:
    async with both_ends(world) as (socket, api):
        await api.write(frame(TEXT, b"masked"))
        assert await socket.closed() == 1014
        got = await api.receive()
        assert got is not None
        assert got.code == 1002
        assert await api.receive() is None


# --- F4: ends that do not end


@pytest.mark.parametrize("who", ["browser", "API"])
@pytest.mark.gen_test
async def test_F4_a_closing_handshake_that_nobody_completes_ends(
    world: World, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr(relay, "CLOSE_SECONDS", 0.1)
    async with both_ends(world) as (socket, api):
        await (socket.send if who == "browser" else api.send)(CLOSE, b"\x03\xe8")
        assert await socket.connection.ended() == (b"" if who == "browser" else b"\x88\x02\x03\xe8")
        assert await api.reader.read() == b"" or who == "browser"


@pytest.mark.parametrize("who", ["browser", "API"])
@pytest.mark.gen_test
async def test_F4_a_close_frame_that_is_never_complete_ends_the_socket(
    world: World, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr(relay, "CLOSE_SECONDS", 0.1)
    async with both_ends(world) as (socket, api):
        close = frame(CLOSE, b"\x03\xe8", masked=who == "browser")
        await (socket.connection.send if who == "browser" else api.write)(close[:-1])
        assert await socket.connection.ended() == (b"" if who == "browser" else close[:-1])


@pytest.mark.gen_test
async def test_F4_a_browser_that_leaves_within_its_close_frame_takes_no_place(world: World) -> None:
    async with both_ends(world) as (socket, _):
        await socket.connection.send(frame(CLOSE, b"\x03\xe8")[:-1])
        (one,) = world.running.portal.sockets
        await until(lambda: one.to_server.tracker.closed, "nothing has arrived")
        socket.connection.writer.write_eof()
        await until(lambda: one.ended.done(), "the socket stays open")


@pytest.mark.gen_test
async def test_F4_frames_that_wait_when_an_api_ends_pass_within_the_limit(world: World) -> None:
    async with both_ends(world) as (socket, api):
        (one,) = world.running.portal.sockets
        ping = frame(PING, masked=False)
        await api.write(ping * 1500)
        await until(lambda: one.to_browser.has_waiting_data, "nothing waits")
        api.writer.close()
        begun = asyncio.get_running_loop().time()
        async with asyncio.timeout(PATIENCE):
            assert await socket.connection.reader.readexactly(2 * 1500) == ping * 1500
        assert asyncio.get_running_loop().time() - begun > 0.7, "everything passed at once"
        assert await socket.closed() == 1014


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("direction", ["to_browser", "to_server"])
@pytest.mark.gen_test
async def test_F4_a_closed_socket_holds_nothing_and_spends_nothing_of_its_tenant(
    world: World, direction: str, how: str
) -> None:
    async with both_ends(world) as (socket, api):
        (one,) = world.running.portal.sockets
        closed = getattr(one, direction)
        if direction == "to_browser":
            await api.write(frame(TEXT, b"x", masked=False) * 6000)
        else:
            await socket.connection.send(frame(TEXT, b"x") * 6000)
        await until(lambda: closed.has_waiting_data, "nothing waits")
        if direction == "to_server":
            one.abort()  # as a stop, or a socket of an ended login
        elif how == "reset":
            socket.connection.reset()
        else:
            socket.connection.close()
        await until(lambda: one.ended.done(), "the socket stays open")
        passed = closed.frames
        assert not closed.has_waiting_data
        assert not closed.is_held, "a timer goes on"
        turns = 0

        def turn() -> bool:
            nonlocal turns
            turns += 1
            return turns > 5

        await until(turn, "the event loop stands still")
        assert closed.frames == passed


@pytest.mark.gen_test
async def test_F4_an_api_that_reads_nothing_is_cut(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "STALL_SECONDS", 0.0)
    async with both_ends(world) as (socket, _):
        (one,) = world.running.portal.sockets
        flood = asyncio.ensure_future(socket.send(BINARY, bytes(20 * MEGABYTE)))
        await until(lambda: one.to_server.is_held, "the API reads")
        await world.running.portal.sockets.check()
        assert await socket.closed() == 1014
        flood.cancel()


@pytest.mark.gen_test
async def test_F4_a_browser_that_reads_nothing_is_cut(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_connection, "SLOW_READER_SECONDS", 0.2)
    async with both_ends(world) as (socket, api):
        (one,) = world.running.portal.sockets
        socket.connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        flood = asyncio.ensure_future(api.send(BINARY, bytes(40 * MEGABYTE)))
        await until(lambda: one.to_browser.is_held, "the browser reads")
        await until(lambda: one.ended.done(), "the socket stays open")
        flood.cancel()


# --- F4: smuggling


SMUGGLED = (
    b"POST /t/acme/logout HTTP/1.1\r\nHost: %b\r\nSec-Fetch-Site: same-origin\r\nCookie: %b\r\n"
    b"Content-Length: 0\r\n\r\n"
)


async def _fails(kind: str, socket: ApiSocket) -> bytes:
    """A response that is not a correct 101."""
    good = await accepting(socket)
    accept = next(line for line in good.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Accept"))
    return {
        "200": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
        "204": b"HTTP/1.1 204 No Content\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        "wrong accept": good.replace(accept, b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        "no accept": good.replace(accept + b"\r\n", b""),
        "two accepts": good.replace(accept, accept + b"\r\n" + accept),
        "no upgrade": good.replace(b"Upgrade: websocket\r\n", b""),
        "another upgrade": good.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        "no connection": good.replace(b"Connection: Upgrade\r\n", b""),
        "a protocol": good[:-2] + b"Sec-WebSocket-Protocol: x\r\n\r\n",
        "an extension": good[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        "a length": good[:-2] + b"Content-Length: 0\r\n\r\n",
        "chunked": good[:-2] + b"Transfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.0": good.replace(b"HTTP/1.1", b"HTTP/1.0"),
    }[kind]


PASSED = {"200": 200, "204": 204, "403": 403}
FAILURES = [
    *("200", "204", "403", "wrong accept", "no accept", "two accepts", "no upgrade", "another upgrade"),
    *("no connection", "a protocol", "an extension", "a length", "chunked", "HTTP/1.0"),
]


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.gen_test
async def test_F4_nothing_after_a_failed_handshake_is_another_request(world: World, kind: str) -> None:
    browser = await signed_in(world)
    async with socket_api(lambda socket: _fails(kind, socket)) as api:
        change_tenant(world, "acme", api={"base_url": api.api.url})
        async with connected(world) as connection:
            head = socket_head(world, browser)
            host, cookie = (_field(head, name) for name in (b"Host", b"Cookie"))
            await connection.send(head + SMUGGLED % (host, cookie))
            response = await read_handshake_response(connection)
            assert response is not None
            assert response.status == PASSED.get(kind, 502), response
            assert response.header("Connection") == "close"
            assert await connection.ended() == b""
        await until(lambda: api.ended == 1, "the connection to the API is open")
        assert await world.login_of(browser, "acme") is not None, "the smuggled request was handled"
        assert len(api.api.heads) == 1, "the API got another request"
        await nothing_is_left(world)


def _field(head: bytes, name: bytes) -> bytes:
    return next(line for line in head.split(b"\r\n") if line.startswith(name + b": "))[len(name) + 2 :]


@pytest.mark.gen_test
async def test_F4_what_follows_a_response_101_is_no_request_and_no_response(world: World) -> None:
    async with both_ends(world) as (socket, api):
        head = socket_head(world, world.browsers[0])
        await socket.connection.send(SMUGGLED % (_field(head, b"Host"), _field(head, b"Cookie")))
        assert await socket.closed() == 1002
        end = await api.receive()
        assert end is not None
        assert end.code == 1001
    assert await world.login_of(world.browsers[0], "acme") is not None


@pytest.mark.gen_test
async def test_F4_a_call_never_uses_the_connection_of_a_socket(world: World) -> None:
    """Neither one that was idle before, nor afterwards."""
    connections: list[list[bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads = [api.heads[-1]]
        connections.append(heads)
        while True:
            if b"Sec-WebSocket-Key" in heads[-1]:
                writer.write(await accepting(ApiSocket(heads[-1], reader, writer)))
                writer.write(frame(CLOSE, b"\x03\xe8", masked=False))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright")
            heads.append(await reader.readuntil(b"\r\n\r\n"))

    browser: Browser = await signed_in(world)
    async with raw_api(serve) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        assert (await browser.fetch(world.at("/t/acme/api/a"))).text == "right"
        async with opened(world, browser) as socket:
            assert await socket.closed() == 1000
            await socket.send(CLOSE, b"\x03\xe8")
            for _ in range(3):
                assert (await browser.fetch(world.at("/t/acme/api/b"))).text == "right"
        assert (await browser.fetch(world.at("/t/acme/api/c"))).text == "right"
    assert [len(heads) for heads in connections] == [5, 1]


@pytest.mark.gen_test
async def test_F4_an_api_cannot_switch_protocols_without_being_asked(world: World) -> None:
    browser = await signed_in(world)
    switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    async with raw_api(switching) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        assert (await browser.fetch(world.at("/t/acme/api/a"))).status == 502
