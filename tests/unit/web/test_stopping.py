"""The server stops without interrupting a request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine

from portal.errors import StartupError
from portal.ops.sockets import are_waiting, listening_sockets, refuse_new_connections
from portal.web.server.stopping import GracefulServer, accept_waiting

_HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


class Stage:
    """A server whose responses wait until they are released."""

    def __init__(self, listening: list[socket.socket]) -> None:
        self.listening = listening
        self.released = asyncio.Event()
        self.requests = 0
        self.server = GracefulServer(self._respond)
        self.server.add_sockets(listening)

    def _respond(self, request: HTTPServerRequest) -> None:
        self.requests += 1
        asyncio.get_running_loop().create_task(self._finish(request))

    async def _finish(self, request: HTTPServerRequest) -> None:
        await self.released.wait()
        connection = request.connection
        assert connection is not None
        connection.write_headers(
            ResponseStartLine("HTTP/1.1", 204, "No Content"), HTTPHeaders({"Connection": "close"})
        )
        connection.finish()

    async def stop_accepting(self) -> None:
        refuse_new_connections(self.listening)
        await accept_waiting(self.listening, linger=0.0)
        self.server.stop()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.listening[0].getsockname()[:2])


@contextlib.asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    stage = Stage(listening_sockets("127.0.0.1:0", choose="-"))
    try:
        yield stage
    finally:
        stage.released.set()
        stage.server.stop()
        await stage.server.close_all_connections()


async def until(condition: object, tries: int = 1000) -> None:
    assert callable(condition)
    for _ in range(tries):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the condition did not become true")


@pytest.mark.gen_test
async def test_a_request_that_arrives_during_an_idle_stop_gets_its_response() -> None:
    async with staged() as stage:
        reader, writer = await stage.connect()
        await until(lambda: stage.server._exchanges)
        await stage.stop_accepting()
        drained = asyncio.create_task(stage.server.drain(quiet=5.0, longest=10.0))
        await asyncio.sleep(0.05)
        assert stage.server.in_flight == 0
        assert not drained.done()
        writer.write(_HEAD + b"\r\n")
        await until(lambda: stage.requests == 1)
        assert stage.server.in_flight == 1
        stage.released.set()
        assert b" 204 " in await reader.readuntil(b"\r\n\r\n")
        writer.close()
        assert await drained


@pytest.mark.gen_test
async def test_an_idle_connection_is_closed_and_a_partial_head_is_awaited() -> None:
    async with staged() as stage:
        unused, unused_writer = await stage.connect()
        reader, writer = await stage.connect()
        writer.write(_HEAD)
        await until(lambda: stage.server.in_flight == 1)
        await stage.stop_accepting()
        drained = asyncio.create_task(stage.server.drain(quiet=0.0, longest=10.0))
        assert await unused.read() == b""
        assert not drained.done()
        stage.released.set()
        writer.write(b"\r\n")
        assert b" 204 " in await reader.read()
        assert await drained
        for open_writer in (writer, unused_writer):
            open_writer.close()


@pytest.mark.gen_test
async def test_bytes_that_have_arrived_when_unused_connections_are_closed_are_read() -> None:
    async with staged() as stage:
        stage.released.set()
        reader, writer = await stage.connect()
        await until(lambda: stage.server._exchanges)
        sent = writer.get_extra_info("socket")
        with socket.socket(fileno=sent.fileno()) as raw:  # synchronous: the loop does not run in between
            raw.send(_HEAD + b"\r\n")
            stage.server._close_unused()
            raw.detach()
        assert b" 204 " in await reader.readuntil(b"\r\n\r\n")
        writer.close()


@pytest.mark.gen_test
async def test_an_endless_response_is_abandoned_after_the_timeout() -> None:
    async with staged() as stage:
        _, writer = await stage.connect()
        writer.write(_HEAD + b"\r\n")
        await until(lambda: stage.requests == 1)
        await stage.stop_accepting()
        assert not await stage.server.drain(quiet=0.0, longest=0.05)
        writer.close()


@pytest.mark.gen_test
async def test_queued_connections_are_accepted_before_the_listener_closes() -> None:
    async with staged() as stage:
        stage.released.set()
        address = stage.listening[0].getsockname()
        clients = [socket.create_connection(address, timeout=5) for _ in range(50)]
        for client in clients:
            client.sendall(_HEAD + b"\r\n")
        assert are_waiting(stage.listening)  # the loop has not run since
        await stage.stop_accepting()
        assert not are_waiting(stage.listening)
        assert await stage.server.drain(quiet=0.5, longest=10.0)
        for client in clients:
            assert b" 204 " in client.recv(1000)
            client.close()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
def test_new_connections_are_refused_and_open_ones_continue(listen: str) -> None:
    try:
        (listening,) = listening_sockets(listen, choose="-")
    except StartupError:
        pytest.skip(f"this machine has no {listen}")
    with listening, socket.create_connection(listening.getsockname()[:2]) as before:
        accepted, _ = listening.accept()
        refuse_new_connections([listening])
        if sys.platform == "linux":
            with pytest.raises(TimeoutError):
                socket.create_connection(listening.getsockname()[:2], timeout=0.2)
        with accepted:
            before.sendall(b"x")
            accepted.setblocking(True)
            assert accepted.recv(1) == b"x"
        listening.close()
        refuse_new_connections([listening])
        assert not are_waiting([listening])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(before.getpeername()[:2])
