"""The private or undocumented behaviour of Tornado that the portal relies on."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPConnection, HTTPMessageDelegate, HTTPServerConnectionDelegate
from tornado.iostream import BaseIOStream, IOStream
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from portal.ops.metrics import Metrics
from portal.web.server.client_stream import ClientStream
from portal.web.server.listener import ConnectionServer
from portal.web.server.tornado_private import close_after_response, has_begun, remote_address
from tests.unit.outbound.wire import until


@pytest.mark.gen_test
async def test_a_connection_has_a_remote_address_and_can_be_closed_after_the_response() -> None:
    seen: list[str] = []

    class Handler(RequestHandler):
        def get(self) -> None:
            connection = self.request.connection
            assert isinstance(connection, HTTP1Connection)
            assert isinstance(connection.stream, ClientStream)
            seen.append(remote_address(connection))
            close_after_response(connection)
            self.finish("x")

    listener, port = bind_unused_port()
    server = ConnectionServer(HTTPServer(Application([("/", Handler)])), most=5, metrics=Metrics())
    server.add_sockets([listener])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    received = await asyncio.wait_for(reader.read(), 10)  # to the end of the connection
    assert b"Connection: close" in received
    assert seen == ["127.0.0.1"]
    writer.close()
    server.stop()
    await server.close_all_connections()


@pytest.mark.gen_test
async def test_has_begun_detects_a_started_request() -> None:
    exchanges: list[HTTP1Connection] = []

    class Accepting(HTTPServerConnectionDelegate):
        def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
            assert isinstance(request_conn, HTTP1Connection)
            exchanges.append(request_conn)
            return HTTPMessageDelegate()

    listener, port = bind_unused_port()
    server = HTTPServer(Accepting())
    server.add_sockets([listener])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    await until(lambda: bool(exchanges))
    assert not has_begun(exchanges[0])
    writer.write(b"GET / HTT")
    await until(lambda: has_begun(exchanges[0]))
    writer.write(b"P/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: exchanges[0]._request_start_line is not None)
    assert has_begun(exchanges[0])
    writer.close()
    server.stop()
    await server.close_all_connections()


def test_tornado_still_has_the_methods_that_client_stream_overrides() -> None:
    for name in ("close_fd", "read_from_fd", "write_to_fd"):
        assert name in vars(IOStream), name
    assert list(inspect.signature(BaseIOStream.read_until).parameters) == ["self", "delimiter", "max_bytes"]


def test_tornado_uses_read_until_only_for_the_length_of_a_chunk() -> None:
    source = inspect.getsource(inspect.getmodule(HTTP1Connection) or HTTP1Connection)
    assert source.count(".read_until(") == 1
    assert 'self.stream.read_until(b"\\r\\n", max_bytes=64)' in inspect.getsource(
        HTTP1Connection._read_chunked_body
    )
