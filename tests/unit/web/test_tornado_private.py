"""What the portal uses of Tornado though it is private, or though nothing promises it."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path

import pytest
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.iostream import BaseIOStream, IOStream
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

import portal
from portal.ops.metrics import Metrics
from portal.web.server.client_stream import ClientStream
from portal.web.server.listener import ConnectionServer
from portal.web.server.tornado_private import close_after_response, remote_address

_PRIVATE = re.compile(r"(?:tornado\S* import .*\b_\w+|_connection\._\w+|stream\._\w+|_HTTPRequestContext)")


def test_private_parts_of_tornado_are_used_in_one_module() -> None:
    folder = Path(portal.__file__).parent
    using = {
        path.name
        for path in folder.rglob("*.py")
        for line in path.read_text().splitlines()
        if _PRIVATE.search(line) and "self._stream._" not in line
    }
    assert using == {"tornado_private.py"}


@pytest.mark.gen_test
async def test_a_connection_tells_its_address_and_closes_after_the_response_on_request() -> None:
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


def test_the_methods_that_a_stream_overrides_are_still_those_of_tornado() -> None:
    for name in ("close_fd", "read_from_fd", "write_to_fd"):
        assert name in vars(IOStream), name
    assert list(inspect.signature(BaseIOStream.read_until).parameters) == ["self", "delimiter", "max_bytes"]


def test_tornado_reads_with_read_until_the_length_of_a_chunk_and_nothing_else() -> None:
    source = inspect.getsource(inspect.getmodule(HTTP1Connection) or HTTP1Connection)
    assert source.count(".read_until(") == 1
    assert 'self.stream.read_until(b"\\r\\n", max_bytes=64)' in inspect.getsource(
        HTTP1Connection._read_chunked_body
    )
