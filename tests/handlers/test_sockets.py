"""WebSockets of pages to an API, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from portal.config.limit_settings import LimitSettings
from portal.web.websocket import relay
from portal.web.websocket.turns import Turns
from tests.kit.browser import Browser
from tests.kit.loops import ON_BOTH_LOOPS
from tests.kit.raw import PATIENCE, ask, change_tenant, connected, signed_in, until
from tests.kit.websockets import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    ApiSocket,
    BrowserSocket,
    Frame,
    SocketApi,
    accepting,
    frame,
    handshake,
    needs_own_server,
    opened,
    socket_api,
    socket_head,
)
from tests.kit.world import World
from tests.kit.world import world as make_world

pytestmark = [*ON_BOTH_LOOPS, needs_own_server]

LIMITS = LimitSettings(sockets_per_user=2, sockets_per_tenant=3)


@contextlib.asynccontextmanager
async def both_ends(
    world: World, browser: Browser | None = None, **options: object
) -> AsyncIterator[tuple[BrowserSocket, ApiSocket, SocketApi]]:
    """A socket whose ends the test drives; afterwards nothing of it is left."""
    browser = browser or await signed_in(world)
    async with socket_api() as api:
        change_tenant(world, "acme", api={"base_url": api.api.url})
        async with opened(world, browser, "/t/acme/api/socket?x=1", **options) as socket:
            yield socket, await api.next(), api
        await nothing_is_left(world)


async def nothing_is_left(world: World) -> None:
    portal = world.running.portal
    await until(lambda: not len(portal.sockets), "a socket is left")
    await until(lambda: not portal.in_flight.count, "a call is in flight")
    assert len(portal.live_calls) == 0


async def pulse(world: World) -> None:
    await world.running.portal.sockets.check()


def metric(world: World, line: str) -> float:
    lines = world.running.portal.metrics.render().decode().splitlines()
    return next((float(found.split()[-1]) for found in lines if found.startswith(f"{line} ")), 0.0)


# --- opening


@pytest.mark.gen_test
async def test_a_page_talks_to_the_api(world: World, log_lines: io.StringIO) -> None:
    browser = await signed_in(world)
    async with opened(world, browser) as socket:
        await socket.say({"type": "say", "text": "hello"})
        message = await socket.receive()
        assert message is not None
        assert message.document == {"type": "say", "text": "hello", "from": "acme-001"}
        assert not message.masked
        assert metric(world, "portal_sockets") == 1
        body = json.dumps({"item": "anvil"})
        made = await browser.fetch(world.at("/t/acme/api/orders"), "POST", body=body)
        assert made.status == 201
        message = await socket.receive()
        assert message is not None
        assert message.document["order"]["item"] == "anvil"
        await socket.send(CLOSE, b"\x03\xe8")
        assert await socket.closed() == 1000
        assert await socket.receive() is None
    await nothing_is_left(world)
    assert metric(world, "portal_sockets") == 0
    assert metric(world, 'portal_socket_frames_total{to="server"}') == 2
    assert metric(world, 'portal_socket_frames_total{to="browser"}') == 3
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    (line,) = [one for one in lines if one.get("status") == 101]
    assert line["path"] == "/t/acme/api/live"
    assert line["received"] == len(frame(TEXT, json.dumps({"type": "say", "text": "hello"}).encode())) + 8
    assert line["sent"] > line["received"]


@pytest.mark.gen_test
async def test_the_api_gets_the_token_and_a_handshake_of_the_portals_own(world: World) -> None:
    extra = ["Sec-WebSocket-Protocol: chat, b", "X-Mine: 1"]
    changes = {"Sec-WebSocket-Extensions": "x-other, permessage-deflate; client_max_window_bits"}
    async with both_ends(world, extra=extra, changes=changes) as (socket, api, _):
        assert api.head.startswith(b"GET /v1/socket?x=1 HTTP/1.1\r\n")
        assert api.header("Authorization")[0].startswith("Bearer ")
        assert api.header("Sec-WebSocket-Protocol") == ["chat, b"]
        assert api.header("Sec-WebSocket-Extensions") == ["permessage-deflate; client_max_window_bits"]
        assert api.header("X-Mine") == ["1"]
        assert len(api.header("Sec-WebSocket-Key")) == len(api.header("Upgrade")) == 1
        assert api.header("Sec-WebSocket-Key") != ["MDEyMzQ1Njc4OWFiY2RlZg=="]
        assert not api.header("Cookie") + api.header("Origin") + api.header("Content-Length")
        assert [name for name, _ in socket.response.headers] == [
            *("Upgrade", "Connection", "Sec-WebSocket-Accept", "X-Request-Id"),
        ]


@pytest.mark.gen_test
async def test_the_apis_choice_of_protocol_and_compression_reaches_the_page(world: World) -> None:
    async def choosing(socket: ApiSocket) -> bytes:
        more = b"Sec-WebSocket-Protocol: b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
        return (await accepting(socket))[:-2] + more + b"Set-Cookie: a=b\r\n\r\n"

    browser = await signed_in(world)
    extra = ["Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Extensions: permessage-deflate"]
    async with socket_api(choosing) as api:
        change_tenant(world, "acme", api={"base_url": api.api.url})
        async with opened(world, browser, extra=extra) as socket:
            assert socket.response.header("Sec-WebSocket-Protocol") == "b"
            assert socket.response.header("Sec-WebSocket-Extensions") == "permessage-deflate"
            assert socket.response.header("Set-Cookie") is None
            end = await api.next()
            await end.write(b"\xc1\x01x")
            got = await socket.receive()
            assert got is not None
            assert got.first == 0xC1
            await socket.connection.send(b"\xc1" + frame(TEXT, b"y")[1:])
            sent = await end.receive()
            assert sent is not None
            assert (sent.first, sent.payload) == (0xC1, b"y")


@pytest.mark.parametrize("why", ["expired", "refused"])
@pytest.mark.gen_test
async def test_an_access_token_is_replaced_before_or_after_the_api_refuses_it(world: World, why: str) -> None:
    browser = await signed_in(world)
    if why == "expired":
        await world.expire_access_token(browser, "acme")
    else:
        world.clock.advance(61)  # a token that was just issued is not replaced
        world.acme_api.refuse_next = 1
    async with opened(world, browser) as socket:
        assert world.acme_api.calls["live"] == (1 if why == "expired" else 2)
        assert world.acme.requests["token"] == 2
        bearers = {call.bearer for call in world.acme_api.received}
        assert len(bearers) == world.acme_api.calls["live"]
        await socket.say({"type": "say", "text": "x"})
        assert await socket.receive() is not None


@pytest.mark.gen_test
async def test_a_response_other_than_101_is_that_of_a_call(world: World) -> None:
    browser = await signed_in(world)
    async with handshake(world, browser, "/t/acme/api/orders/A-1001") as (connection, response):
        assert response is not None
        assert response.status == 200
        assert json.loads(response.body)["id"] == "A-1001"
        assert response.header("Content-Security-Policy") is not None
        assert response.header("Connection") == "close"
        assert await connection.ended() == b""
    async with handshake(world, browser, "/t/acme/api/nothing") as (_, response):
        assert response is not None
        assert response.status == 404
    await nothing_is_left(world)


@pytest.mark.parametrize(
    ("changes", "start", "status", "code"),
    [
        ({"Sec-WebSocket-Version": "8"}, "GET {} HTTP/1.1", 426, "websocket_version_unsupported"),
        ({"Sec-WebSocket-Version": None}, "GET {} HTTP/1.1", 400, "websocket_refused"),
        ({"Sec-WebSocket-Key": None}, "GET {} HTTP/1.1", 400, "websocket_refused"),
        ({"Sec-WebSocket-Key": "c2hvcnQ="}, "GET {} HTTP/1.1", 400, "websocket_refused"),
        ({"Sec-WebSocket-Key": "!!!!MzQ1Njc4OWFiY2RlZg=="}, "GET {} HTTP/1.1", 400, "websocket_refused"),
        ({"Upgrade": "websocket, h2c"}, "GET {} HTTP/1.1", 400, "websocket_refused"),
        ({"Sec-WebSocket-Protocol": "a b"}, "GET {} HTTP/1.1", 400, "websocket_refused"),
        ({"Sec-WebSocket-Protocol": "a, a"}, "GET {} HTTP/1.1", 400, "websocket_refused"),
        ({"Content-Length": "5"}, "GET {} HTTP/1.1", 400, "websocket_refused"),
        ({"Content-Length": "5000000"}, "GET {} HTTP/1.1", 400, "websocket_refused"),
        ({"Transfer-Encoding": "chunked"}, "GET {} HTTP/1.1", 400, "websocket_refused"),
        ({}, "POST {} HTTP/1.1", 400, "websocket_refused"),
        ({}, "GET {} HTTP/1.0", 400, "websocket_refused"),
    ],
)
@pytest.mark.gen_test
async def test_an_invalid_handshake_is_refused_and_its_connection_closed(
    world: World, changes: dict[str, str | None], start: str, status: int, code: str
) -> None:
    browser = await signed_in(world)
    async with connected(world) as connection:
        head = socket_head(world, browser, changes=changes, start=start)
        await connection.send(head + (b"hello" if changes.get("Content-Length") == "5" else b""))
        if "Transfer-Encoding" in changes:
            await connection.send(b"0\r\n\r\n")
        response = await connection.read_response()
        assert response is not None
        assert response.status == status
        assert json.loads(response.body)["code"] == code
        assert response.header("Sec-WebSocket-Version") == ("13" if status == 426 else None)
        await connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await connection.ended() == b""
    assert world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_tornados_server_says_that_it_cannot(tmp_path: Path) -> None:
    async with make_world(tmp_path, server="tornado") as world:
        response = await ask(world, socket_head(world, await signed_in(world)))
        assert response is not None
        assert response.status == 501
        assert json.loads(response.body)["code"] == "websocket_unsupported"


# --- limits


@pytest.mark.gen_test
async def test_a_user_and_a_tenant_have_a_limited_number_of_sockets(tmp_path: Path) -> None:
    async with make_world(tmp_path, limits=LIMITS) as world, contextlib.AsyncExitStack() as stack:
        alice, again = await signed_in(world), await signed_in(world)
        bob = world.browser()
        await world.sign_in(bob, "acme", "bob")
        first = await stack.enter_async_context(opened(world, alice))
        await stack.enter_async_context(opened(world, again))
        await refused_as_busy(world, alice)
        assert metric(world, 'portal_sockets_refused_total{limit="user"}') == 1
        await stack.enter_async_context(opened(world, bob))
        await refused_as_busy(world, bob)
        assert metric(world, 'portal_sockets_refused_total{limit="tenant"}') == 1
        calls = world.acme_api.calls["live"]
        assert (await alice.fetch(world.at("/t/acme/api/orders"))).status == 200, "calls are not affected"
        first.connection.reset()
        await until(lambda: len(world.running.portal.sockets) == 2, "the socket stays")
        await stack.enter_async_context(opened(world, bob))
        assert world.acme_api.calls["live"] == calls + 1


async def refused_as_busy(world: World, browser: Browser) -> None:
    async with handshake(world, browser) as (_, response):
        assert response is not None
        assert response.status == 503
        assert response.header("Retry-After") == "5"
        assert json.loads(response.body)["code"] == "tenant_busy"


# --- data


@pytest.mark.gen_test
async def test_payloads_of_all_sizes_and_both_kinds_pass_unchanged(world: World) -> None:
    async with both_ends(world) as (socket, api, _):
        for size in (0, 1, 125, 126, 65_535, 65_536, 300_000):
            payload = (bytes(range(256)) * (size // 256 + 1))[:size]
            for opcode in (TEXT, BINARY):
                await socket.send(opcode, payload)
                got = await api.receive()
                assert got is not None
                assert (got.opcode, got.payload, got.masked) == (opcode, payload, True)
                await api.send(opcode, payload)
                back = await socket.receive()
                assert back is not None
                assert (back.opcode, back.payload, back.masked) == (opcode, payload, False)


@pytest.mark.gen_test
async def test_fragments_and_control_frames_between_them_pass(world: World) -> None:
    async with both_ends(world) as (socket, api, _):
        await socket.send(TEXT, b"a", final=False)
        await socket.send(PING, b"now")
        await socket.send(0, b"b")
        got = [await api.receive() for _ in range(3)]
        assert [(one.opcode, one.payload) for one in got if one] == [(TEXT, b"a"), (PING, b"now"), (0, b"b")]
        await api.send(PONG, b"now")
        back = await socket.receive()
        assert back is not None
        assert (back.opcode, back.payload) == (PONG, b"now")


@pytest.mark.gen_test
async def test_data_that_comes_with_the_response_101_is_not_lost(world: World) -> None:
    async def eager(socket: ApiSocket) -> bytes:
        return await accepting(socket) + frame(TEXT, b"first", masked=False)

    browser = await signed_in(world)
    async with socket_api(eager) as api:
        change_tenant(world, "acme", api={"base_url": api.api.url})
        async with opened(world, browser) as socket:
            got = await socket.receive()
            assert got is not None
            assert got.payload == b"first"


# --- the end


@pytest.mark.gen_test
async def test_the_closing_handshake_of_the_api_reaches_the_page(world: World) -> None:
    async with both_ends(world) as (socket, api, _):
        await api.send(CLOSE, b"\x0f\xa0done")
        got = await socket.receive()
        assert got is not None
        assert (got.code, got.payload[2:]) == (4000, b"done")
        await socket.send(CLOSE, b"\x0f\xa0")
        back = await api.receive()
        assert back is not None
        assert back.code == 4000
        api.writer.close()
        assert await socket.receive() is None


@pytest.mark.gen_test
async def test_an_api_that_vanishes_ends_the_socket_with_1014(world: World) -> None:
    async with both_ends(world) as (socket, api, _):
        await api.send(TEXT, b"last words")
        api.writer.close()
        got = await socket.receive()
        assert got is not None
        assert got.payload == b"last words"
        assert await socket.closed() == 1014


@pytest.mark.gen_test
async def test_an_api_that_vanishes_within_a_frame_ends_the_socket_without_one(world: World) -> None:
    async with both_ends(world) as (socket, api, _):
        await api.write(frame(TEXT, b"x" * 100, masked=False)[:50])
        await socket.connection.reader.readexactly(50)
        api.writer.close()
        assert await socket.connection.ended() == b""


@pytest.mark.parametrize("how", ["close", "reset", "half"])
@pytest.mark.gen_test
async def test_a_page_that_vanishes_ends_the_connection_to_the_api(world: World, how: str) -> None:
    async with both_ends(world) as (socket, api, _):
        if how == "half":
            socket.connection.writer.write_eof()
            assert await socket.connection.ended() == b""
        elif how == "reset":
            socket.connection.reset()
        else:
            socket.connection.close()
        assert await api.receive() is None


@pytest.mark.gen_test
async def test_a_page_may_end_its_direction_after_its_close_frame(world: World) -> None:
    async with both_ends(world) as (socket, api, _):
        await socket.send(CLOSE, b"\x03\xe8")
        socket.connection.writer.write_eof()
        got = await api.receive()
        assert got is not None
        assert got.code == 1000
        await api.send(TEXT, b"one more")
        await api.send(CLOSE, b"\x03\xe8")
        assert await socket.receive() is not None
        assert await socket.closed() == 1000
        api.writer.close()
        assert await socket.receive() is None


@pytest.mark.gen_test
async def test_a_message_that_waits_for_its_turn_when_the_page_ends_reaches_the_api(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with both_ends(world) as (socket, api, _):
        (one,) = world.running.portal.sockets
        turns = world.running.portal.sockets._turns
        may_pass = Turns.may_pass
        monkeypatch.setattr(Turns, "may_pass", lambda self: self._has_turn)  # others use every iteration
        await socket.connection.send(frame(TEXT, b"save this draft") + frame(CLOSE, b"\x03\xe8"))
        await until(lambda: one.to_server.has_waiting_data, "nothing waits")
        socket.connection.writer.write_eof()
        await until(lambda: one._connection.client_ended, "the portal does not notice the end")
        monkeypatch.setattr(Turns, "may_pass", may_pass)
        turns._begin()
        draft = await api.receive()
        assert draft is not None
        assert draft.payload == b"save this draft"
        goodbye = await api.receive()
        assert goodbye is not None
        assert goodbye.code == 1000
        await api.send(CLOSE, b"\x03\xe8")
        assert await socket.closed() == 1000
        api.writer.close()


@pytest.mark.gen_test
async def test_a_page_that_vanishes_while_a_message_waits_for_its_turn_ends_the_socket(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with both_ends(world) as (socket, api, _):
        (one,) = world.running.portal.sockets
        turns = world.running.portal.sockets._turns
        may_pass = Turns.may_pass
        monkeypatch.setattr(Turns, "may_pass", lambda self: self._has_turn)
        await socket.send(TEXT, b"save this draft")
        await until(lambda: one.to_server.has_waiting_data, "nothing waits")
        socket.connection.writer.write_eof()
        await until(lambda: one._connection.client_ended, "the portal does not notice the end")
        assert not one.ended.done()
        monkeypatch.setattr(Turns, "may_pass", may_pass)
        turns._begin()
        assert await socket.connection.ended() == b""
        await until(lambda: one.ended.done(), "the socket stays open")
        assert await api.receive() in (None, Frame(TEXT, b"save this draft", True, 0x81))


@pytest.mark.gen_test
async def test_a_stop_ends_sockets_with_1001_after_the_frame(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with make_world(tmp_path) as world:
            browser = await signed_in(world)
            api = await stack.enter_async_context(socket_api())
            change_tenant(world, "acme", api={"base_url": api.api.url})
            idle = await stack.enter_async_context(opened(world, browser))
            busy = await stack.enter_async_context(opened(world, browser))
            await api.next()
            end = await api.next()
            whole = frame(TEXT, b"x" * 1000, masked=False)
            await end.write(whole[:500])
            await busy.connection.reader.readexactly(500)
            stop = asyncio.ensure_future(world.running.portal.sockets.go_away())
            await stop
            assert await idle.closed() == 1001
            await end.write(whole[500:] + frame(TEXT, b"too late", masked=False))
            await busy.connection.reader.readexactly(len(whole) - 500)
            assert await busy.closed() == 1001
            async with handshake(world, browser) as (connection, response):
                assert response is not None
                socket = BrowserSocket(connection, response)
                assert await socket.closed() == 1001, "a socket was opened during the stop"


@pytest.mark.gen_test
async def test_a_portal_with_open_sockets_stops_soon(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        async with make_world(tmp_path) as world:
            browser = await signed_in(world)
            socket = await stack.enter_async_context(opened(world, browser))
            begun = loop.time()
        assert loop.time() - begun < relay.LINGER_SECONDS + 3
        assert await socket.closed() == 1001


# --- checks


@pytest.mark.gen_test
async def test_a_silent_browser_gets_a_ping_and_is_cut_when_it_stays_silent(tmp_path: Path) -> None:
    limits = replace(LimitSettings(), socket_idle=30.0)
    async with make_world(tmp_path, limits=limits) as world:
        async with both_ends(world) as (socket, api, _):
            (one,) = world.running.portal.sockets
            one.to_server.received_at -= 11.0
            await pulse(world)
            await pulse(world)
            got = await socket.receive()
            assert got is not None
            assert got.opcode == PING
            await socket.send(PONG)
            pong = await api.receive()
            assert pong is not None
            assert pong.opcode == PONG
            await api.send(TEXT, b"x")
            got = await socket.receive()
            assert got is not None
            assert got.opcode == TEXT, "two pings"
            one.to_server.received_at -= 30.0
            await pulse(world)
            assert await socket.closed() == 1001
            end = await api.receive()
            assert end is not None
            assert end.code == 1001
        assert metric(world, 'portal_sockets_cut_total{reason="idle"}') == 1


@pytest.mark.gen_test
async def test_a_browser_that_reads_a_long_message_is_not_silent(tmp_path: Path) -> None:
    """The Ping waits behind the message, so the Pong comes late."""
    limits = replace(LimitSettings(), socket_idle=30.0)
    async with make_world(tmp_path, limits=limits) as world, both_ends(world) as (socket, api, _):
        (one,) = world.running.portal.sockets
        for _ in range(3):
            await api.send(BINARY, bytes(10_000))
            assert await socket.receive() is not None
            one.to_server.received_at -= 40.0
            await pulse(world)
            assert one.cut_reason is None, "its reading was not noticed"
            one._progress = (one._progress[0], 0.0)
        await pulse(world)
        assert await socket.closed() == 1001, "nothing was read since"


@pytest.mark.gen_test
async def test_bytes_that_the_browser_has_received_are_counted(world: World) -> None:
    """A browser is cut when it has received nothing for a while (`ClientConnection.is_slow_reader`)."""
    async with both_ends(world) as (socket, api, _):
        (one,) = world.running.portal.sockets
        connection = one._connection
        before = connection.acknowledged()
        for number in range(1, 4):
            await api.send(BINARY, bytes(100_000))
            got = await socket.receive()
            assert got is not None
            received = number * len(frame(BINARY, bytes(100_000), masked=False))
            await until(lambda: connection.acknowledged() == before + received, "not counted")  # noqa: B023


@pytest.mark.gen_test
async def test_a_browser_that_does_not_answer_the_close_frame_is_closed_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(relay, "CLOSE_SECONDS", 0.1)
    async with both_ends(world) as (socket, api, _):
        await api.send(CLOSE, b"\x03\xe8")
        assert await socket.closed() == 1000
        assert await asyncio.wait_for(socket.connection.reader.read(), PATIENCE) == b""
