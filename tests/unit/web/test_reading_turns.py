"""A client that sends fast gives way to other connections: reading pauses for a moment."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable

import pytest
from tornado import httputil
from tornado.httputil import HTTPHeaders, RequestStartLine, ResponseStartLine

from portal.web.server.http_connection import HttpConnection
from portal.web.server.http_exchange import ClientContext, HttpExchange, RequestLimits
from portal.web.server.lingering import LingeringConnections
from portal.web.server.request_fields import FieldsCache

PIECE = b"x" * 256 * 1024
MOST = 1024 * 1024
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


class _Transport(asyncio.Transport):
    """A transport that only records whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = True
        self.written = b""

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def write(self, data: object) -> None:
        self.written += data if isinstance(data, bytes) else b""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...

    def abort(self) -> None: ...


class _Upgraded(asyncio.Protocol):
    """A protocol that does not want data yet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()


class _Request(httputil.HTTPMessageDelegate):
    """Counts the bytes of the body; a GET is upgraded, a POST gets an empty response."""

    def __init__(self, exchange: HttpExchange) -> None:
        self.exchange = exchange
        self.size = 0

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self.exchange.set_max_body_size(1 << 30)
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self.size += len(chunk)
        return None

    def finish(self) -> None:
        if self.exchange.head.start_line.method == "GET":
            self.exchange.upgrade(_Upgraded())
            return
        self.exchange.write_headers(ResponseStartLine("", 200, "OK"), HTTPHeaders({"Content-Length": "0"}))
        self.exchange.finish()


class _Server(httputil.HTTPServerConnectionDelegate):
    def __init__(self) -> None:
        self.requests: list[_Request] = []

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> _Request:
        assert isinstance(request_conn, HttpExchange)
        self.requests.append(_Request(request_conn))
        return self.requests[-1]


class _Client:
    """A connection that reads what a test passes to `connection.data_received`."""

    def __init__(self) -> None:
        self.socket, self._other = socket.socketpair()
        self.server, self.transport = _Server(), _Transport()
        self.connection = HttpConnection(
            self.socket,
            ClientContext("127.0.0.1"),
            self.server,
            RequestLimits(),
            FieldsCache(),
            lingering=LingeringConnections(),
            closed=lambda: None,
        )
        self.connection.connection_made(self.transport)

    def reads(self) -> bool:
        return self.transport.reads

    def close(self) -> None:
        self.connection.close()
        self.socket.close()
        self._other.close()


@pytest.mark.gen_test
async def test_reading_pauses_for_one_iteration_after_a_megabyte_in_a_row() -> None:
    client = _Client()
    client.connection.data_received(HEAD + b"Content-Length: 100000000\r\n\r\n")
    for _ in range(2):
        read = 0
        while client.reads():
            client.connection.data_received(PIECE)
            read += len(PIECE)
            assert read < 2 * MOST, "other connections wait"
        assert read >= MOST
        await asyncio.sleep(0)
    assert client.reads()
    assert client.server.requests[0].size >= 2 * MOST
    client.close()


@pytest.mark.gen_test
async def test_small_chunks_give_way_sooner() -> None:
    client = _Client()
    client.connection.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    chunks = b"80\r\n%b\r\n" % (b"x" * 128) * 2000
    client.connection.data_received(chunks)
    assert client.reads()
    client.connection.data_received(chunks)
    assert not client.reads(), "other connections wait"
    await asyncio.sleep(0)
    assert client.reads()
    client.close()


@pytest.mark.gen_test
async def test_the_pause_does_not_meddle_with_an_upgraded_connection() -> None:
    client = _Client()
    size = MOST - 1000
    client.connection.data_received(HEAD + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
    assert client.reads()
    client.connection.data_received(b"GET / HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (b"x" * 2000))
    assert len(client.server.requests) == 2
    for _ in range(3):
        await asyncio.sleep(0)
        assert not client.reads(), "the upgraded protocol had paused reading"
    client.close()
