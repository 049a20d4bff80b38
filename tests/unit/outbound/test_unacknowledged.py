"""A server that vanishes without closing its connection is noticed (TCP_USER_TIMEOUT)."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import sys

import pytest

from portal.outbound import unacknowledged
from portal.outbound.client import OutboundClient
from portal.outbound.connection import Connection
from portal.outbound.tunnel import Tunnel, Waiting
from portal.outbound.websocket import WebSocketOffer, accept_of
from tests.kit.loops import ON_BOTH_LOOPS
from tests.unit.outbound.wire import calling, conversing, http_response, read_request, serving, until

pytestmark = [
    *ON_BOTH_LOOPS,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has TCP_USER_TIMEOUT"),
]

_SO_ATTACH_FILTER = 26
_DROP_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0)


def vanish(connection: socket.socket) -> None:
    """Let the kernel drop every segment that arrives at a socket: the other end gets no acknowledgement."""
    program = ctypes.create_string_buffer(_DROP_ALL)
    packed = struct.pack("@HP", 1, ctypes.addressof(program))
    connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, packed)


def limit_of(client: OutboundClient) -> list[float]:
    """The limits of the kernel for the connections of a client, in seconds."""
    places = client._transport._pool._places.values()
    return [seconds(connection) for place in places for connection in place.idle]


def seconds(connection: Connection) -> float:
    assert connection.unacknowledged is not None
    kept = connection.unacknowledged._connection
    return kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1000


@pytest.mark.gen_test
async def test_connections_to_apis_and_providers_have_the_limit_of_their_request() -> None:
    async with serving(lambda _: http_response(200, "x")) as wire, calling() as client:
        await client.fetch("GET", wire.url(), timeout=10.0)
        assert limit_of(client) == [60.0]
        for head, idle, limit in ((5.0, 5.0, 60.0), (5.0, 600.0, 600.0), (90.0, 5.0, 90.0), (5.0, 5.0, 60.0)):
            stream = await client.open_stream("GET", wire.url(), head_timeout=head, idle_timeout=idle)
            await stream.read()
            assert limit in limit_of(client)
    assert wire.connections <= 2


@pytest.mark.gen_test(timeout=60)
async def test_a_websocket_to_a_server_that_vanished_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.outbound.connection.LEAST_SECONDS", 1.0)
    monkeypatch.setattr(unacknowledged, "LEAST_SECONDS", 1.0)
    accepted: list[socket.socket] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        assert request is not None
        key = request.header("Sec-WebSocket-Key")
        assert key is not None
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_of(key).encode()
        )
        accepted.append(writer.get_extra_info("socket"))
        await asyncio.sleep(3600)

    async with conversing(serve) as port, calling() as client:
        url = f"http://127.0.0.1:{port}/"
        tunnel = await client.open_stream("GET", url, websocket=WebSocketOffer(), idle_timeout=3000.0)
        assert isinstance(tunnel, Tunnel)
        ended = Ended()
        tunnel.attach(ended)
        vanish(accepted[0])
        tunnel.write(b"\x81\x80mask")
        await until(ended.event.is_set, 30.0)
        tunnel.close()


class Ended:
    """Notes the end of a tunnel."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def may_receive(self, waiting: Waiting) -> bool:
        return True

    def data_received(self, data: bytes) -> None:
        raise AssertionError(data)

    def ended(self) -> None:
        self.event.set()
