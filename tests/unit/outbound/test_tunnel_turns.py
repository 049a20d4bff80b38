"""What arrives at a tunnel waits for its turn before it is processed; nothing of it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

import pytest

from portal.outbound.connection import Connection
from portal.outbound.tls import DEFAULT_TLS
from portal.outbound.tls_connection import RECORDS_AT_ONCE
from portal.outbound.tunnel import Tunnel, Waiting
from portal.outbound.websocket import WebSocketOffer, accept_of
from tests.kit.loops import ON_BOTH_LOOPS
from tests.unit.outbound.test_connection import tls_server
from tests.unit.outbound.wire import calling, conversing, read_request, until

pytestmark = ON_BOTH_LOOPS


class Late:
    """Takes nothing before `let_pass`, as when the turns of an iteration are used up."""

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self.data = b""
        self.has_ended = False
        self._passes = False

    def may_receive(self, waiting: Waiting) -> bool:
        if not self._passes:
            self.waiting.append(waiting)
        return self._passes

    def data_received(self, data: bytes) -> None:
        self.data += data

    def ended(self) -> None:
        self.has_ended = True

    def let_pass(self) -> None:
        self._passes = True
        for waiting in self.waiting:
            waiting.take_turn()


class Api:
    """Accepts one WebSocket; the test uses its connection."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        assert request is not None
        key = request.header("Sec-WebSocket-Key") or ""
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_of(key).encode()
        )
        self.writers.append(writer)
        await reader.read()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("ends", [False, True], ids=["open", "ended"])
@pytest.mark.gen_test
async def test_what_a_tunnel_reads_waits_for_its_turn(tmp_path: Path, secure: bool, ends: bool) -> None:
    api = Api()
    server_tls, tls = tls_server(tmp_path) if secure else (None, DEFAULT_TLS)
    async with conversing(api.serve, server_tls) as port, calling() as client:
        url = f"http{'s' if secure else ''}://localhost:{port}/"
        tunnel = await client.open_stream("GET", url, websocket=WebSocketOffer(), tls=tls)
        assert isinstance(tunnel, Tunnel)
        late = Late()
        tunnel.attach(late)
        connection = tunnel._connection
        api.writers[0].write(b"first,")
        await until(lambda: len(late.waiting) == 1)
        if ends:
            api.writers[0].close()
        else:
            api.writers[0].write(b"second")
        if ends and not secure:
            await until(lambda: late.has_ended)
            assert late.data == b"first,"
        else:  # the end of TLS is data as well
            await until(lambda: not connection._transport.is_reading())  # type: ignore[union-attr]
            assert late.data == b""
        late.let_pass()
        assert late.data == (b"first," if ends else b"first,second")
        await until(lambda: late.has_ended or not ends)
        assert len(late.waiting) == 1, "it waited twice"
        if not ends:
            api.writers[0].write(b",third")
            await until(lambda: late.data.endswith(b",third"))
        tunnel.close()


RECORD_BYTES = 5 + 5 + 1 + 16
"""Of one message with TLS 1.3: header, data, type, and tag (RFC 8446 5.2)."""


def arrived_at(connection: Connection) -> int:
    """How many bytes have arrived at a connection that the event loop has not read."""
    assert connection._transport is not None
    number = os.dup(connection._transport.get_extra_info("socket").fileno())
    with socket.socket(fileno=number) as connected, contextlib.suppress(BlockingIOError):
        return len(connected.recv(65_536, socket.MSG_PEEK))
    return 0


@pytest.mark.parametrize("how", ["close_notify", "only the connection"])
@pytest.mark.gen_test
async def test_many_records_that_wait_for_their_turn_when_the_api_ends_all_arrive(
    tmp_path: Path, how: str
) -> None:
    """More than are decrypted in one iteration of the event loop."""
    messages = [b"%04d," % number for number in range(2 * RECORDS_AT_ONCE + 9)]
    api = Api()
    server_tls, tls = tls_server(tmp_path)
    async with conversing(api.serve, server_tls) as port, calling() as client:
        url = f"https://localhost:{port}/"
        tunnel = await client.open_stream("GET", url, websocket=WebSocketOffer(), tls=tls)
        assert isinstance(tunnel, Tunnel)
        late = Late()
        tunnel.attach(late)
        connection = tunnel._connection
        assert isinstance(connection, Connection)
        connection._pace.next_bytes = connection._pace.most  # as after larger reads before
        writer = api.writers[0]
        tunnel.pause_reading()  # all records shall be read together
        for message in messages:
            writer.write(message)
            await asyncio.sleep(0)
        await until(lambda: arrived_at(connection) >= len(messages) * RECORD_BYTES)
        if how == "close_notify":
            writer.close()
        else:
            with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as connected:
                connected.shutdown(socket.SHUT_WR)
        tunnel.resume_reading()
        await until(lambda: bool(late.waiting))
        if how != "close_notify":  # the end of the connection is a turn as well
            await until(lambda: late.data != b"")
        late.let_pass()
        await until(lambda: late.has_ended)
        assert late.data == b"".join(messages)
        assert connection.closed
        tunnel.close()
