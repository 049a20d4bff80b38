"""TLS of outgoing connections: handshakes in threads, records, close_notify and resumed sessions."""

from __future__ import annotations

import asyncio
import functools
import gc
import hashlib
import os
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from portal.errors import OutboundFailed, OutboundTimeout
from portal.outbound.client import OutboundClient
from portal.outbound.connection import Connection
from portal.outbound.handshake_budget import FREE_STEPS, HandshakeBudget, HandshakeTurn
from portal.outbound.handshake_threads import HandshakeThreads
from portal.outbound.read_budget import LoopLoad, ReadBudget
from portal.outbound.read_pace import READ_BYTES, TLS_READ_BYTES, ReadPace
from portal.outbound.request import Origin
from portal.outbound.tls import DEFAULT_TLS, Tls
from portal.outbound.tls_connection import RECORDS_AT_ONCE, TlsConnection
from portal.outbound.tls_contexts import TlsContexts
from portal.outbound.tls_sessions import LONGEST, TlsSessions
from tests.kit.loops import ON_BOTH_LOOPS
from tests.unit.outbound.certificates import Issued, issue
from tests.unit.outbound.tls_wire import ServerTls, server_context, tls_conversing
from tests.unit.outbound.wire import calling, conversing, http_response, read_memory, until

pytestmark = ON_BOTH_LOOPS

AUTHORITY = issue("Authority", authority=True)
SERVER = issue("localhost", AUTHORITY)
TRUSTING = Tls(AUTHORITY.chain)
ORIGIN = Origin("https", "a.example", 443)
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


async def get(client: OutboundClient, url: str, *, tenant: str = "acme", tls: Tls = TRUSTING) -> bytes:
    return (await client.fetch("GET", url, tenant=tenant, tls=tls, max_bytes=20_000_000)).body


def responding(response: bytes) -> Callable[[ServerTls], Awaitable[None]]:
    async def respond(server: ServerTls) -> None:
        await server.accept()
        while True:
            await server.request()
            server.writer.write(server.seal(response))

    return respond


# --- handshakes off the event loop (D1)


@functools.cache
def slow_chain() -> tuple[Issued, Issued, str]:
    """An authority, a server, and the chain between them: as long and slow as TLS allows."""
    authority = issuer = issue("0", authority=True, key=ec.generate_private_key(ec.BrainpoolP512R1()))
    chain = ""
    for number in range(1, 98):
        key = ec.generate_private_key(ec.BrainpoolP512R1())
        issuer = issue(str(number), issuer, authority=True, key=key)
        chain = issuer.chain + chain
    return authority, issue("localhost", issuer), chain


async def longest_iteration(until_done: asyncio.Future[Any]) -> float:
    """CPU seconds of the longest iteration of the event loop until the future is done."""
    longest = 0.0
    while not until_done.done():
        began = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - began)
    return longest


@pytest.mark.gen_test
async def test_D1_a_chain_that_takes_long_to_verify_does_not_block_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, server, chain = slow_chain()
    context = server_context(tmp_path, server, chain)
    steps: list[float] = []
    monkeypatch.setattr(HandshakeBudget, "spend", lambda _, seconds, *__, **___: steps.append(seconds))
    tls = Tls(authority.chain)
    async with tls_conversing(context, responding(http_response(200, "x"))) as url, calling() as client:
        await client._transport._contexts.get(tls, tenant="acme")
        gc.collect()
        gc.disable()
        try:
            call = asyncio.ensure_future(get(client, url, tls=tls))
            longest = await longest_iteration(call)
        finally:
            gc.enable()
        assert await call == b"x"
    assert max(steps) > 0.03, "the chain is not slow"
    assert longest < 0.01


@pytest.fixture
def threads() -> Any:
    threads = HandshakeThreads(2)
    yield threads
    threads._threads.shutdown()


@pytest.mark.gen_test
async def test_D1_a_tenant_has_one_step_at_a_time_and_leaves_the_other_threads_to_others(
    threads: HandshakeThreads,
) -> None:
    acme, globex = HandshakeTurn(threads), HandshakeTurn(threads)
    go_on, running, most = threading.Event(), 0, 0

    def slow() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        go_on.wait(10)
        running -= 1

    slow_ones = [asyncio.ensure_future(acme.run(slow, step=1)) for _ in range(5)]
    await until(lambda: running == 1)
    for _ in range(3):
        assert await globex.run(lambda: "done", step=1) == "done"
    assert running == 1
    go_on.set()
    await asyncio.gather(*slow_ones)
    assert most == 1


@pytest.mark.gen_test
async def test_a_step_that_is_given_up_keeps_its_turn_until_it_has_ended(
    threads: HandshakeThreads,
) -> None:
    turn, go_on, order = HandshakeTurn(threads), threading.Event(), []

    def slow() -> None:
        go_on.wait(10)
        order.append("first")
        raise ssl.SSLError

    first = asyncio.ensure_future(turn.run(slow, step=1))
    second = asyncio.ensure_future(turn.run(lambda: order.append("second"), step=1))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    assert order == []
    go_on.set()
    await second
    assert order == ["first", "second"]


@pytest.mark.gen_test
async def test_a_call_cancelled_during_a_step_closes_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, steps, ended = threading.Event(), 0, asyncio.Event()
    step = TlsConnection.handshake_step

    def slow(tls: TlsConnection, received: bytes) -> bool:
        nonlocal steps
        if received:
            steps += 1
            go_on.wait(10)
        return step(tls, received)

    async def wait_for_end(server: ServerTls) -> None:
        try:
            await server.accept()
            await server.request()
        finally:
            ended.set()

    monkeypatch.setattr(TlsConnection, "handshake_step", slow)
    async with tls_conversing(server_context(tmp_path, SERVER), wait_for_end) as url, calling() as client:
        call = asyncio.ensure_future(get(client, url))
        await until(lambda: steps == 1)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        async with asyncio.timeout(5):
            await ended.wait()
        go_on.set()
        monkeypatch.undo()


def test_D1_many_steps_of_one_handshake_are_charged() -> None:
    budget = HandshakeBudget()
    for step in range(1, FREE_STEPS + 1):
        budget.spend(0.001, 1_000.0, step=step)
    assert budget._spent_until < 0
    for step in range(FREE_STEPS + 1, 2_000):
        budget.spend(0.00001, 1_000.0, step=step)
    assert budget.pause(1_000.0) > 1.0


@pytest.mark.gen_test
@VERSIONS
async def test_a_handshake_that_arrives_byte_by_byte_succeeds(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    async def dribble(server: ServerTls) -> None:
        async def send(data: bytes) -> None:
            for place in range(len(data)):
                server.writer.write(data[place : place + 1])
                await asyncio.sleep(0)

        await server.accept(send)
        await server.request()
        await send(server.seal(http_response(200, "x")))

    context = server_context(tmp_path, SERVER)
    context.maximum_version = version
    async with tls_conversing(context, dribble) as url, calling() as client:
        assert await get(client, url) == b"x"


@pytest.mark.gen_test
async def test_a_server_that_never_completes_its_handshake_times_out() -> None:
    connections = 0

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read()
        connections -= 1

    async with conversing(listen) as port, calling() as client:
        with pytest.raises(OutboundTimeout, match="no connection within"):
            await client.open_stream(
                "GET", f"https://localhost:{port}/", tenant="acme", tls=TRUSTING, connect_timeout=0.2
            )
        await until(lambda: connections == 0)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("sent", "message"),
    [(b"", "no connection: ConnectionResetError"), (b"HTTP/1.1 400 No\r\n\r\n", "no TLS connection: WRONG")],
)
async def test_a_server_without_tls_is_reported_as_such(sent: bytes, message: str) -> None:
    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(sent)

    async with conversing(no_tls) as port, calling() as client:
        with pytest.raises(OutboundFailed, match=message):
            await get(client, f"https://localhost:{port}/")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("server", "message"),
    [
        (issue("localhost", AUTHORITY, days=-1), "certificate has expired"),
        (issue("localhost"), "self-signed certificate"),
        (issue("localhost", issue("Authority", authority=True)), "not accepted"),
    ],
    ids=["expired", "self-signed", "of another authority"],
)
async def test_a_rejected_certificate_is_reported_and_an_alert_is_sent(
    server: Issued, message: str, tmp_path: Path
) -> None:
    alerts: list[str] = []

    async def note_alert(tls: ServerTls) -> None:
        try:
            await tls.accept()
            await tls.request()
        except ssl.SSLError as error:
            alerts.append(error.reason)

    async with tls_conversing(server_context(tmp_path, server), note_alert) as url, calling() as client:
        with pytest.raises(OutboundFailed, match=message):
            await get(client, url)
        await until(lambda: bool(alerts))
    assert "ALERT" in alerts[0]


@pytest.mark.gen_test
async def test_S7a_data_sent_with_the_handshake_is_no_response(tmp_path: Path) -> None:
    async def early(server: ServerTls) -> None:
        await server.accept(then=http_response(200, "of another user"))
        await server.request()

    context = server_context(tmp_path, SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # in TLS 1.2 the server sends the last flight
    async with tls_conversing(context, early) as url, calling() as client:
        with pytest.raises(OutboundFailed, match="data before the request"):
            await get(client, url)


@pytest.mark.gen_test
async def test_D1_renegotiation_is_disabled() -> None:
    contexts = TlsContexts()
    for tls in (DEFAULT_TLS, TRUSTING):
        assert (await contexts.get(tls)).context.options & ssl.OP_NO_RENEGOTIATION
    await contexts.close()


# --- records


@pytest.mark.gen_test
@VERSIONS
async def test_10_megabytes_are_sent_and_received(tmp_path: Path, version: ssl.TLSVersion) -> None:
    pieces = [bytes([number]) * 100_000 for number in range(100)]
    digest = hashlib.sha256(b"".join(pieces)).digest()

    async def swap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert hashlib.sha256(await reader.readexactly(10_000_000)).digest() == digest
        writer.write(http_response(200, b"".join(pieces)))
        await writer.drain()
        await reader.read()

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    context = server_context(tmp_path, SERVER)
    context.maximum_version = version
    async with conversing(swap, context) as port, calling() as client:
        stream = await client.open_stream(
            "POST",
            f"https://localhost:{port}/",
            tenant="acme",
            tls=TRUSTING,
            body=body(),
            headers=[("Content-Length", "10000000")],
        )
        assert hashlib.sha256(await stream.read()).digest() == digest


@pytest.mark.gen_test
async def test_an_unread_response_stops_the_server(tmp_path: Path) -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with conversing(endless, server_context(tmp_path, SERVER)) as port, calling() as client:
        stream = await client.open_stream("GET", f"https://localhost:{port}/", tenant="acme", tls=TRUSTING)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert stream._size < 500_000
        async for _ in stream.chunks():
            if sent > before:
                break
        await stream.aclose()


@pytest.mark.gen_test
async def test_a_server_that_does_not_read_the_body_stops_the_upload(tmp_path: Path) -> None:
    pieces = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pieces
        while True:
            pieces += 1
            yield b"x" * 1_000_000

    async def not_reading(server: ServerTls) -> None:
        await server.accept()
        await asyncio.Event().wait()

    async with tls_conversing(server_context(tmp_path, SERVER), not_reading) as url, calling() as client:
        with pytest.raises(OutboundTimeout, match="read the body"):
            await client.open_stream(
                "POST", url, tenant="acme", tls=TRUSTING, body=endless(), idle_timeout=0.2
            )
    assert pieces < 30  # kernel buffers


def a_byte_changed(server: ServerTls) -> bytes:
    record = bytearray(server.seal(b"x"))
    record[-1] ^= 1
    return bytes(record)


@pytest.mark.gen_test
@pytest.mark.parametrize("broken", [a_byte_changed, lambda _: b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_invalid_tls_fails_an_incomplete_response_but_not_a_complete_one(
    broken: Callable[[ServerTls], bytes], tmp_path: Path
) -> None:
    connections = 0

    async def respond(server: ServerTls) -> None:
        nonlocal connections
        connections += 1
        await server.accept()
        partial = b"/partial" in await server.request()
        response = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx" if partial else http_response(200, "mine")
        server.writer.write(server.seal(response) + broken(server))
        await server.reader.read()

    async with tls_conversing(server_context(tmp_path, SERVER), respond) as url, calling() as client:
        for _ in range(2):
            assert await get(client, url) == b"mine"
        with pytest.raises(OutboundFailed, match="the connection failed: SSLError"):
            await get(client, url + "partial")
    assert connections == 3


# --- ends


WITH_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello"


@pytest.mark.gen_test
@VERSIONS
@pytest.mark.parametrize("response", [WITH_LENGTH, CHUNKED, UNTIL_CLOSE])
@pytest.mark.parametrize("notified", ["before the end", "and open", "no"])
async def test_a_response_ends_with_close_notify_or_its_framing_and_not_with_tcp(
    version: ssl.TLSVersion, response: bytes, notified: str, tmp_path: Path
) -> None:
    """An attacker who can close TCP could truncate a response without framing (RFC 9112 9.8)."""

    async def respond(server: ServerTls) -> None:
        await server.accept()
        await server.request()
        server.writer.write(server.seal(response))
        if notified != "no":
            server.writer.write(server.close_notify())
        if notified == "and open":
            await server.reader.read()

    context = server_context(tmp_path, SERVER)
    context.maximum_version = version
    async with tls_conversing(context, respond) as url, calling() as client:
        for _ in range(2):
            if response is UNTIL_CLOSE and notified == "no":
                with pytest.raises(OutboundFailed, match="close_notify"):
                    await get(client, url)
            else:
                assert await get(client, url) == b"hello"


@pytest.mark.gen_test
async def test_a_connection_that_ends_without_a_response_is_reported_as_such(tmp_path: Path) -> None:
    async def silent(server: ServerTls) -> None:
        await server.accept()
        await server.request()

    async with tls_conversing(server_context(tmp_path, SERVER), silent) as url, calling() as client:
        with pytest.raises(OutboundFailed, match="closed without a response"):
            await get(client, url)


# --- messages of TLS itself (D2)


class Talkative(TlsConnection):
    """Replies after each read, as to a server that requests renegotiation again and again."""

    def __init__(self) -> None:
        super().__init__(ssl.create_default_context(), "localhost")

    def decrypt(self, received: bytes | memoryview) -> bytes:
        return b""

    def outgoing(self) -> bytes:
        return b"x" * 100


class Sink(asyncio.Transport):
    """Counts the written bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: Any) -> None:
        self.written += len(data)

    def abort(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


@pytest.mark.gen_test
async def test_D2_a_server_that_provokes_endless_tls_replies_is_disconnected() -> None:
    sink = Sink()
    connection = Connection(
        ReadBudget(LoopLoad()),
        read_memory(),
        Talkative(),
        lambda _: None,
        lambda _: None,
    )
    connection.connection_made(sink)
    for _ in range(1_000):
        connection.buffer_updated(10)
    assert connection.closed
    assert 100 < sink.written < 10_000


def test_D2_the_first_read_of_a_response_is_small_whatever_the_last_one_was() -> None:
    pace = ReadPace(READ_BYTES)
    pace.allow_large_reads()
    for _ in range(5):
        pace.is_charged(pace.next_bytes, pace.next_bytes, 1, 0.00001)
    assert pace.next_bytes > READ_BYTES
    pace.begin_response()
    assert pace.next_bytes <= 16_384


def test_D2_reads_without_data_are_charged_when_there_are_many_or_they_are_slow() -> None:
    pace = ReadPace(TLS_READ_BYTES)
    assert not any(pace.is_charged(1_460, 0, 0, 0.00001) for _ in range(12)), "packets of an ordinary record"
    assert not pace.is_charged(1_460, 16_000, 1, 0.00005)
    assert sum(pace.is_charged(100, 0, 0, 0.00001) for _ in range(100)) > 80
    assert ReadPace(TLS_READ_BYTES).is_charged(4_096, 0, 0, 0.001)


def test_D2_records_of_one_byte_are_charged_and_read_in_small_amounts() -> None:
    pace = ReadPace(TLS_READ_BYTES)
    charged = [pace.is_charged(pace.next_bytes, pace.next_bytes // 23, pace.next_bytes // 23, 0.0003)]
    for _ in range(100):
        records = pace.next_bytes // 23
        charged.append(pace.is_charged(pace.next_bytes, records, records, records * 1e-6))
        assert pace.next_bytes <= TLS_READ_BYTES // 4
    assert sum(charged) > 80


@pytest.mark.gen_test
@pytest.mark.parametrize("stray", [b"", http_response(200, "of another user")])
async def test_D2_very_small_records_are_decrypted_in_batches_and_none_is_lost(
    tmp_path: Path, stray: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    records: list[int] = []
    decrypt = TlsConnection.decrypt

    def recording(tls: TlsConnection, received: bytes | memoryview) -> bytes:
        data = decrypt(tls, received)
        records.append(tls.records)
        return data

    monkeypatch.setattr(TlsConnection, "decrypt", recording)
    body = bytes(range(256)) * 40

    async def respond(server: ServerTls) -> None:
        await server.accept()
        while b"/large" in await server.request():
            server.writer.write(
                server.seal(http_response(200, b"x" * 200_000))
            )  # the pace is at its highest now
            await server.writer.drain()
        server.writer.write(server.seal(http_response(200, body) + stray, 1))
        await server.request()
        server.writer.write(server.seal(http_response(200, "next")))

    async with tls_conversing(server_context(tmp_path, SERVER), respond) as url, calling() as client:
        await get(client, url + "large")
        assert await get(client, url) == body
        if not stray:
            assert await get(client, url + "large") == b"next"
        else:
            await until(lambda: not client._transport._pool._all)
    assert max(records) <= RECORDS_AT_ONCE + 1  # one had begun before


# --- resumed sessions


def recording_resumption(reused: list[bool]) -> Callable[[ServerTls], Awaitable[None]]:
    async def respond(server: ServerTls) -> None:
        await server.accept()
        reused.append(bool(server.tls.session_reused))
        await server.request()
        server.writer.write(server.seal(http_response(200, "x", [("Connection", "close")])))

    return respond


@pytest.mark.gen_test
@VERSIONS
async def test_a_session_is_resumed_only_for_the_same_tenant_and_settings(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    reused: list[bool] = []
    context = server_context(tmp_path, SERVER)
    context.maximum_version = version
    other = Tls(AUTHORITY.chain, issue("client", AUTHORITY).of_client)
    async with tls_conversing(context, recording_resumption(reused)) as url, calling() as client:
        calls = [
            ("acme", TRUSTING, False),
            ("acme", TRUSTING, True),
            ("globex", TRUSTING, False),
            ("acme", other, False),
            ("acme", TRUSTING, True),
            ("globex", TRUSTING, True),
            ("acme", other, True),
        ]
        for tenant, tls, _ in calls:
            assert await get(client, url, tenant=tenant, tls=tls) == b"x"
    assert reused == [expected for *_, expected in calls]


@pytest.mark.gen_test
@VERSIONS
async def test_a_session_unknown_to_the_server_leads_to_a_full_handshake(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    """Another server at the same address, or the same server after a restart."""
    reused: list[bool] = []
    contexts = []
    for _ in range(2):
        context = server_context(tmp_path, SERVER)
        context.maximum_version = version
        contexts.append(context)

    async def respond(server: ServerTls) -> None:
        again = ServerTls(contexts[len(reused) // 2], server.reader, server.writer)
        await recording_resumption(reused)(again)

    async with tls_conversing(contexts[0], respond) as url, calling() as client:
        for _ in range(4):
            assert await get(client, url) == b"x"
    assert reused == [False, True, False, True]


@pytest.mark.gen_test
async def test_a_server_is_verified_again_when_its_session_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reused: list[bool] = []
    async with (
        tls_conversing(server_context(tmp_path, SERVER), recording_resumption(reused)) as url,
        calling() as client,
    ):
        for longest in (LONGEST, LONGEST, -1.0, LONGEST):
            monkeypatch.setattr("portal.outbound.tls_sessions.LONGEST", longest)
            await get(client, url)
    assert reused == [False, True, False, True]


@pytest.mark.gen_test
async def test_a_session_whose_handshake_failed_is_not_offered_again(tmp_path: Path) -> None:
    reused: list[bool] = []
    broken = False

    async def respond(server: ServerTls) -> None:
        if broken:
            await server.reader.read(1)
            return
        await recording_resumption(reused)(server)

    async with tls_conversing(server_context(tmp_path, SERVER), respond) as url, calling() as client:
        await get(client, url)
        broken = True
        with pytest.raises(OutboundFailed):
            await get(client, url)
        broken = False
        await get(client, url)
    assert reused == [False, False]


@pytest.mark.gen_test
async def test_a_session_at_which_the_server_falls_silent_is_not_offered_again(tmp_path: Path) -> None:
    reused: list[bool] = []
    silent = False

    async def respond(server: ServerTls) -> None:
        if silent:
            await server.reader.read(-1)
            return
        await recording_resumption(reused)(server)

    async with tls_conversing(server_context(tmp_path, SERVER), respond) as url, calling() as client:
        await get(client, url)
        await get(client, url)
        silent = True
        with pytest.raises(OutboundTimeout):
            await client.fetch("GET", url, tenant="acme", tls=TRUSTING, timeout=0.2)
        silent = False
        await get(client, url)
    assert reused == [False, True, False]


async def a_session(folder: Path) -> ssl.SSLSession:
    """A session with a ticket."""
    context = ssl.create_default_context(cadata=AUTHORITY.chain)
    async with tls_conversing(server_context(folder, SERVER), responding(b"x")) as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
        writer.write(b"\r\n\r\n")
        await reader.readexactly(1)
        session = writer.get_extra_info("ssl_object").session
        writer.close()
    assert isinstance(session, ssl.SSLSession)
    return session


@pytest.mark.gen_test
async def test_tenants_with_the_same_context_have_their_own_sessions(tmp_path: Path) -> None:
    """All tenants that trust the system's authorities have the same context."""
    sessions, session = TlsSessions(65_536), await a_session(tmp_path)
    sessions.put("acme", ORIGIN, session, size=1_000)
    assert sessions.get("acme", ORIGIN) is session
    assert sessions.get("globex", ORIGIN) is None
    for other in (Origin("https", "b.example", 443), Origin("https", "a.example", 444)):
        assert sessions.get("acme", other) is None


@pytest.mark.gen_test
async def test_D5_sessions_use_limited_memory(tmp_path: Path) -> None:
    sessions, session = TlsSessions(13 * 65_536), await a_session(tmp_path)
    origins = [Origin("https", f"{number}.example", 443) for number in range(100)]
    for origin in origins:
        sessions.put("acme", origin, session, size=4_000)
    stored = [origin for origin in origins if sessions.get("acme", origin) is not None]
    assert 10 <= len(stored) <= 16
    sessions.put("acme", origins[0], session, size=60_000)
    assert sessions.get("acme", origins[0]) is None


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.gen_test
async def test_D5_sessions_with_long_chains_take_no_more_memory_than_is_counted(tmp_path: Path) -> None:
    """98 certificates, of 66 KB as they are sent, take 850 KB in memory."""
    chain = "".join(issue(str(number), AUTHORITY).chain for number in range(200))
    context = server_context(tmp_path, SERVER, chain)
    client_side = ssl.create_default_context(cadata=AUTHORITY.chain)

    def handshake() -> tuple[ssl.SSLSession, int]:
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_side.wrap_bio(to_client, to_server, server_hostname="localhost")
        server = context.wrap_bio(to_server, to_client, server_side=True)
        received = 0
        for turn in range(4):
            with suppress(ssl.SSLWantReadError):
                (client if turn % 2 == 0 else server).do_handshake()
            received += to_client.pending if turn % 2 else 0
        server.write(b"x")
        assert client.read(1) == b"x"
        assert client.session is not None
        return client.session, received

    handshake()
    sessions, before = TlsSessions(4_000_000), resident()
    for number in range(30):
        session, received = handshake()
        sessions.put("acme", Origin("https", f"{number}.example", 443), session, size=received)
    assert received > 60_000
    del session
    gc.collect()
    assert resident() - before < 12_000_000
