"""What arrives at a tunnel waits for its turn before it is processed; nothing of it is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from portal.outbound.tls import DEFAULT_TLS
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


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("ends", [False, True], ids=["open", "ended"])
@pytest.mark.gen_test
async def test_what_a_tunnel_reads_waits_for_its_turn(tmp_path: Path, secure: bool, ends: bool) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        assert request is not None
        key = request.header("Sec-WebSocket-Key") or ""
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_of(key).encode()
        )
        writers.append(writer)
        await reader.read()

    server_tls, tls = tls_server(tmp_path) if secure else (None, DEFAULT_TLS)
    async with conversing(serve, server_tls) as port, calling() as client:
        url = f"http{'s' if secure else ''}://localhost:{port}/"
        tunnel = await client.open_stream("GET", url, websocket=WebSocketOffer(), tls=tls)
        assert isinstance(tunnel, Tunnel)
        late = Late()
        tunnel.attach(late)
        connection = tunnel._connection
        writers[0].write(b"first,")
        await until(lambda: len(late.waiting) == 1)
        if ends:
            writers[0].close()
        else:
            writers[0].write(b"second")
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
            writers[0].write(b",third")
            await until(lambda: late.data.endswith(b",third"))
        tunnel.close()
