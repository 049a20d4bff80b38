"""A response reaches only its own call, also when servers send too much, too early or in tiny pieces."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from portal.errors import OutboundFailed, OutboundTimeout
from portal.outbound.client import OutboundClient
from portal.outbound.connection import Connection
from portal.outbound.read_budget import LoopLoad, ReadBudget
from portal.outbound.read_pace import READ_BYTES
from portal.outbound.request import Origin, OutboundRequest
from portal.outbound.tls import Tls
from tests.kit.loops import ON_BOTH_LOOPS
from tests.unit.outbound.certificates import issue
from tests.unit.outbound.wire import (
    Received,
    Response,
    calling,
    conversing,
    http_response,
    read_memory,
    serving,
    until,
)

pytestmark = ON_BOTH_LOOPS

STRAY = http_response(200, "of another user")


async def get(client: OutboundClient, url: str, *, tenant: str = "acme", method: str = "GET") -> bytes:
    stream = await client.open_stream(method, url, tenant=tenant)
    try:
        return b"".join([piece async for piece in stream.chunks()])
    finally:
        await stream.aclose()


def late(first: bytes, then: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    """Send a response and, after the client has read it, more."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(then)

    return send


# --- S7a: unsolicited bytes

NO_BODY = b"HTTP/1.1 204 No\r\n\r\n"


@pytest.mark.gen_test
@pytest.mark.parametrize("stray", [STRAY, b"x", b"\r\n", b"HTTP/1.1 200 OK\r\n"])
@pytest.mark.parametrize("first", [http_response(200, "mine"), NO_BODY, b"HTTP/1.1 304 Same\r\n\r\n"])
@pytest.mark.parametrize("at_once", [True, False])
async def test_S7a_bytes_after_a_response_reach_no_call(stray: bytes, first: bytes, at_once: bool) -> None:
    def script(request: Received) -> Response:
        if request.target != "/odd":
            return http_response(200, request.target)
        return first + stray if at_once else late(first, stray)

    async with serving(script) as wire, calling() as client:
        assert await get(client, wire.url("/odd")) in {b"mine", b""}
        if not at_once:
            await until(lambda: wire.open_connections == 0)
        for target in ("/a", "/b", "/c"):
            assert await get(client, wire.url(target)) == target.encode()
    assert wire.connections == 2


@pytest.mark.gen_test
async def test_S7a_bytes_that_arrive_just_before_the_next_call_reach_no_call() -> None:
    """They are in the socket, and the event loop has not read them yet."""
    sockets: list[asyncio.StreamWriter] = []

    async def first(writer: asyncio.StreamWriter) -> None:
        sockets.append(writer)
        writer.write(http_response(200, "mine"))

    def script(request: Received) -> Response:
        return first if request.target == "/first" else http_response(200, request.target)

    async with serving(script) as wire, calling() as client:
        assert await get(client, wire.url("/first")) == b"mine"
        sockets[0].write(STRAY)  # goes to the kernel at once; the client's end is readable now
        assert await get(client, wire.url("/next")) == b"/next"
    assert wire.connections == 2


async def exactly_one_read(writer: asyncio.StreamWriter) -> None:
    """A response that fills the buffer of one read, followed by more in the same TLS records."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 65000\r\nX: "
    filling = b"x" * (READ_BYTES - len(head) - 4 - 65_000)
    writer.write(head + filling + b"\r\n\r\n" + b"y" * 65_000 + STRAY)


async def many_small_reads(writer: asyncio.StreamWriter) -> None:
    """A response after which reading pauses, followed by more during the pause."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(200):
        writer.write(b"1\r\nx\r\n")
        await asyncio.sleep(0)
    writer.write(b"0\r\n\r\n")
    await asyncio.sleep(0.001)
    writer.write(STRAY)


@pytest.mark.gen_test
@pytest.mark.parametrize("wait", [0.0, 0.004, 0.008, 0.012])
@pytest.mark.parametrize("first", [exactly_one_read, many_small_reads])
async def test_S7a_bytes_that_TLS_has_read_ahead_reach_no_call(
    first: Callable[[asyncio.StreamWriter], Awaitable[None]], wait: float, tmp_path: Path
) -> None:
    """They are no longer in the socket, and the connection is paused."""
    sent = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            if b"/first" in await reader.readuntil(b"\r\n\r\n"):
                await first(writer)
                sent.set()
            else:
                writer.write(http_response(200, "next"))

    context, tls = tls_server(tmp_path)
    async with conversing(converse, context) as port, calling() as client:
        await client.fetch("GET", f"https://localhost:{port}/first", tls=tls)
        if first is many_small_reads:
            await sent.wait()
            await asyncio.sleep(wait)
        response = await client.fetch("GET", f"https://localhost:{port}/next", tls=tls)
    assert response.body == b"next"


@pytest.mark.gen_test
async def test_S7a_a_body_after_the_head_of_a_response_to_HEAD_reaches_no_call() -> None:
    async with serving(lambda request: http_response(200, request.target)) as wire, calling() as client:
        assert await get(client, wire.url("/head"), method="HEAD") == b""
        assert await get(client, wire.url("/next")) == b"/next"
    assert wire.connections == 2


@pytest.mark.gen_test
async def test_S7a_tenants_that_call_the_same_api_never_share_a_connection() -> None:
    async with serving(lambda _: http_response(200, "x")) as wire, calling() as client:
        for tenant in ("acme", "globex", "acme", "globex"):
            await get(client, wire.url(), tenant=tenant)
        assert wire.connections == 2
        await get(client, wire.url(), tenant="initech")
    assert wire.connections == 3


@pytest.mark.gen_test
async def test_S7a_calls_of_browsers_and_of_the_portal_never_share_a_connection() -> None:
    """Provider and API are often one host: a misdirected response must not show tokens to a browser."""
    async with serving(lambda _: http_response(200, "x")) as wire, calling() as client:
        for _ in range(2):
            await get(client, wire.url("/api"))
            await client.fetch("POST", wire.url("/token"), tenant="acme")
        assert wire.connections == 2


@pytest.mark.gen_test
@pytest.mark.parametrize("head", ["HTTP/1.0 200 OK", "HTTP/1.1 200 OK\r\nConnection: close"])
async def test_a_connection_that_the_server_will_close_is_not_reused(head: str) -> None:
    sent = f"{head}\r\nContent-Length: 1\r\n\r\nx".encode()
    async with serving(lambda _: sent) as wire, calling() as client:
        for _ in range(3):
            assert await get(client, wire.url()) == b"x"
    assert wire.connections == 3


@pytest.mark.gen_test
async def test_an_early_response_ends_the_upload_and_the_connection() -> None:
    pieces = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pieces
        while True:
            pieces += 1
            yield b"x" * 1_000
            await asyncio.sleep(0)

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http_response(413, "too much"))
        await reader.read()
        ended.set()

    ended = asyncio.Event()
    async with conversing(refuse) as port, calling() as client:
        stream = await client.open_stream("POST", f"http://127.0.0.1:{port}/", body=endless())
        assert (stream.status, await stream.read()) == (413, b"too much")
        async with asyncio.timeout(5):
            await ended.wait()
        before = pieces
        await asyncio.sleep(0.02)
        assert pieces == before


@pytest.mark.gen_test
async def test_an_early_response_of_a_server_that_resets_the_connection_is_not_lost() -> None:
    """The server closes without reading all data; to continue writing would lose its response."""

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.01)
        writer.write(http_response(401, "no"))
        writer.close()

    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 30_000
            await asyncio.sleep(0.001)

    async with conversing(rude) as port, calling() as client:
        for _ in range(20):
            stream = await client.open_stream("POST", f"http://127.0.0.1:{port}/", body=parts())
            assert (stream.status, await stream.read()) == (401, b"no")
            await stream.aclose()


@pytest.mark.gen_test
async def test_a_get_on_a_connection_that_was_just_closed_is_sent_again() -> None:
    count = 0

    def script(_: Received) -> Response:
        nonlocal count
        count += 1
        return http_response(200, str(count)) if count != 2 else drop

    async def drop(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving(script) as wire, calling() as client:
        assert await get(client, wire.url()) == b"1"
        assert await get(client, wire.url()) == b"3"
    assert wire.connections == 2


@pytest.mark.gen_test
async def test_a_connection_that_has_been_idle_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.outbound.client._STREAM_KEEPALIVE", 0.05)
    async with serving(lambda _: http_response(200, "x")) as wire, calling() as client:
        await get(client, wire.url())
        await until(lambda: wire.open_connections == 0)
        await get(client, wire.url())
    assert wire.connections == 2


@pytest.mark.gen_test
async def test_a_call_of_a_provider_does_not_reuse_a_connection_that_was_idle_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("portal.outbound.client._FETCH_KEEPALIVE", -1.0)
    async with serving(lambda _: http_response(200, "x")) as wire, calling() as client:
        for _ in range(3):
            await client.fetch("GET", wire.url())
    assert wire.connections == 3


class Unconnected(asyncio.Transport):
    """Ignores written data; the test supplies the received data."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: object) -> None:
        pass

    def abort(self) -> None:
        pass


@pytest.mark.gen_test
async def test_a_call_cancelled_as_its_response_ends_does_not_fail_the_next() -> None:
    """In the same iteration of the event loop, its connection may already carry the next call."""
    free: list[Connection] = []
    connection = Connection(
        ReadBudget(LoopLoad()),
        read_memory(),
        None,
        on_free=free.append,
        on_closed=lambda _: None,
    )
    connection.connection_made(Unconnected())
    request = OutboundRequest("GET", Origin("http", "127.0.0.1", 80), "/", [], None, "acme")
    first = asyncio.ensure_future(connection.send(request, request.head()))
    await asyncio.sleep(0)
    arrived = http_response(200, "x")
    connection.get_buffer(-1)[: len(arrived)] = arrived
    connection.buffer_updated(len(arrived))
    assert free == [connection]
    first.cancel()
    following = connection.send(request, request.head())
    following.send(None)
    await asyncio.sleep(0)
    assert first.cancelled()
    assert not connection.closed
    following.close()


# --- D2: floods and trickles


def flooding(
    start: bytes, unit: bytes
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(start)
        while True:
            writer.write(unit)
            await writer.drain()
            await asyncio.sleep(0)

    return flood


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "100": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
    "103": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 1_000),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1_000),
    "a header": (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 10_000),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n" * 1_000),
    "a chunk extension": (CHUNKED + b"1;", b"x" * 10_000),
}


@pytest.mark.gen_test
@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
async def test_D2_floods_end_at_a_limit_and_delay_no_other_task(flood: tuple[bytes, bytes]) -> None:
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with conversing(flooding(*flood)) as port, calling() as client:
        other = asyncio.ensure_future(other_work())
        with pytest.raises(OutboundFailed) as failure:
            await get(client, f"http://127.0.0.1:{port}/")
        other.cancel()
    assert not isinstance(failure.value, OutboundTimeout)
    assert turns > 3


@pytest.mark.gen_test
async def test_D2_one_byte_chunks_are_joined() -> None:
    async with conversing(flooding(CHUNKED, b"1\r\nx\r\n" * 20_000)) as port, calling() as client:
        stream = await client.open_stream("GET", f"http://127.0.0.1:{port}/")
        size = pieces = 0
        async for piece in stream.chunks():
            size, pieces = size + len(piece), pieces + 1
            if size > 200_000:
                break
        await stream.aclose()
    assert size / pieces > 1_000, "each chunk takes an iteration of the event loop"


@pytest.mark.gen_test
async def test_D2_many_small_packets_are_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections of a tenant that has spent its share are read less often, and then more at once."""
    monkeypatch.setattr("portal.outbound.read_budget._SAVED", 0.0)
    monkeypatch.setattr("portal.outbound.read_budget.BUSY", -1.0)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED)
        for _ in range(1_000):
            writer.write(b"1\r\nx\r\n")
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")

    async with conversing(drip) as port, calling() as client:
        begun = asyncio.get_running_loop().time()
        stream = await client.open_stream("GET", f"http://127.0.0.1:{port}/")
        pieces = [piece async for piece in stream.chunks()]
        seconds = asyncio.get_running_loop().time() - begun
    assert b"".join(pieces) == b"x" * 1_000
    assert len(pieces) < 200 * (seconds + 1)


def tls_server(folder: Path) -> tuple[ssl.SSLContext, Tls]:
    """A server's context, and the TLS settings of its clients."""
    authority = issue("Authority", authority=True)
    server = issue("localhost", authority)
    pem = folder / "server.pem"
    pem.write_text(server.private_key() + server.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context, Tls(authority.chain)


@pytest.mark.gen_test
async def test_D2_a_response_in_tls_records_of_one_byte_is_charged_and_read_in_small_amounts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """TLS decrypts them one by one before the parser gets a byte, so the parser cannot count them."""
    charged: list[float] = []
    buffers: list[int] = []
    get_buffer = Connection.get_buffer

    def recording(connection: Connection, sizehint: int) -> memoryview:
        buffer = get_buffer(connection, sizehint)
        buffers.append(len(buffer))
        return buffer

    def spend(_: ReadBudget, seconds: float, now: float) -> float:
        charged.append(seconds)
        return 0.0

    monkeypatch.setattr(Connection, "get_buffer", recording)
    monkeypatch.setattr(ReadBudget, "spend", spend)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
        for _ in range(60_000):
            writer.write(b"x")  # a record each
        await writer.drain()

    context, tls = tls_server(tmp_path)
    async with conversing(flood, context) as port, calling() as client:
        response = await client.fetch("GET", f"https://localhost:{port}/", tenant="acme", tls=tls)
    assert len(response.body) == 60_000
    assert sum(charged) > 0.01
    # the pace is not known before the first reads
    assert max(buffers[5:]) <= READ_BYTES // 8


@pytest.mark.gen_test
async def test_D2_a_new_connection_of_a_tenant_has_the_same_budget() -> None:
    """A server that closes after each response does not get a new budget."""
    spent: list[float] = []
    later = asyncio.get_running_loop().time() + 1_000.0

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
        writer.close()

    async with conversing(respond) as port, calling() as client:
        for _ in range(2):
            stream = await client.open_stream("GET", f"http://127.0.0.1:{port}/", tenant="acme")
            spent += [budget._spent_until for budget in client._transport._pool._budgets.values()]
            for budget in client._transport._pool._budgets.values():
                budget._spent_until = later
            del budget
            await stream.read()
            await stream.aclose()
            del stream
            await asyncio.sleep(0.01)
            gc.collect()
    assert spent[1:] == [later]


@pytest.mark.gen_test
async def test_many_small_responses_are_not_slowed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadBudget, "spend", lambda *_: 60.0)
    monkeypatch.setattr(
        "portal.outbound.read_pace._SLOW_READ", 60.0
    )  # the garbage collector may run during a read
    async with serving(lambda _: http_response(200, "x")) as wire, calling() as client:
        for _ in range(150):
            assert await get(client, wire.url()) == b"x"
    assert wire.connections == 1


@pytest.mark.gen_test
@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: "])
async def test_D2_a_head_that_trickles_times_out(start: bytes) -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(start or b"HTTP/1.1 103 Early\r\nX: ")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    async with conversing(trickle) as port, calling() as client:
        with pytest.raises(OutboundTimeout):
            await client.open_stream("GET", f"http://127.0.0.1:{port}/", head_timeout=0.2)


@pytest.mark.gen_test
@pytest.mark.parametrize(("head_timeout", "idle_timeout"), [(0.05, 60), (60, 0.05)])
async def test_each_limit_of_time_is_for_its_own_part(head_timeout: float, idle_timeout: float) -> None:
    async def pause(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2 if head_timeout == 60 else 0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        await asyncio.sleep(0.2 if idle_timeout == 60 else 0)
        writer.write(b"late")

    async with serving(lambda _: pause) as wire, calling() as client:
        stream = await client.open_stream(
            "GET", wire.url(), head_timeout=head_timeout, idle_timeout=idle_timeout
        )
        assert await stream.read() == b"late"
        await stream.aclose()


@pytest.mark.gen_test
async def test_an_unread_response_stops_the_server() -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with serving(lambda _: endless) as wire, calling() as client:
        stream = await client.open_stream("GET", wire.url())
        await until(lambda: sent > 0)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 30_000_000  # kernel buffers
        async for _ in stream.chunks():
            if sent > before:
                break
        await stream.aclose()


@pytest.mark.gen_test
async def test_a_server_that_does_not_read_the_body_times_out() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1_000_000

    async def not_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with conversing(not_reading) as port, calling() as client:
        with pytest.raises(OutboundTimeout, match="read the body"):
            await client.open_stream("POST", f"http://127.0.0.1:{port}/", body=endless(), idle_timeout=0.1)


@pytest.mark.gen_test
@pytest.mark.parametrize(("length", "message"), [("3", "longer"), ("9", "shorter")])
async def test_a_body_that_does_not_have_its_stated_length_fails(length: str, message: str) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"four"

    async with serving(lambda _: http_response()) as wire, calling() as client:
        with pytest.raises(OutboundFailed, match=message):
            await client.open_stream("POST", wire.url(), body=parts(), headers=[("Content-Length", length)])
        await until(lambda: wire.open_connections == 0)
    assert wire.received == []
