"""The server stops without cutting a request; and Tornado still has what it looks at."""

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


async def until(true: object, tries: int = 1000) -> None:
    assert callable(true)
    for _ in range(tries):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen")


@pytest.mark.gen_test
async def test_a_request_that_comes_while_a_stop_finds_none_in_flight_gets_its_response() -> None:
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
async def test_a_connection_without_a_request_is_closed_and_half_a_head_is_waited_for() -> None:
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
        for one in (writer, unused_writer):
            one.close()


@pytest.mark.gen_test
async def test_bytes_that_have_arrived_when_unused_connections_are_closed_are_read() -> None:
    async with staged() as stage:
        stage.released.set()
        reader, writer = await stage.connect()
        await until(lambda: stage.server._exchanges)
        sent = writer.get_extra_info("socket")
        with socket.socket(fileno=sent.fileno()) as raw:  # at once: the loop does not run in between
            raw.send(_HEAD + b"\r\n")
            stage.server._close_unused()
            raw.detach()
        assert b" 204 " in await reader.readuntil(b"\r\n\r\n")
        writer.close()


@pytest.mark.gen_test
async def test_a_response_that_never_ends_is_given_up() -> None:
    async with staged() as stage:
        _, writer = await stage.connect()
        writer.write(_HEAD + b"\r\n")
        await until(lambda: stage.requests == 1)
        await stage.stop_accepting()
        assert not await stage.server.drain(quiet=0.0, longest=0.05)
        writer.close()


@pytest.mark.gen_test
async def test_connections_that_wait_when_the_listener_closes_are_accepted() -> None:
    async with staged() as stage:
        stage.released.set()
        address = stage.listening[0].getsockname()
        visitors = [socket.create_connection(address, timeout=5) for _ in range(50)]
        for one in visitors:
            one.sendall(_HEAD + b"\r\n")
        assert are_waiting(stage.listening)  # the loop has not run since
        await stage.stop_accepting()
        assert not are_waiting(stage.listening)
        assert await stage.server.drain(quiet=0.5, longest=10.0)
        for one in visitors:
            assert b" 204 " in one.recv(1000)
            one.close()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
def test_no_connection_begins_once_they_are_refused_and_open_ones_go_on(listen: str) -> None:
    try:
        (listening,) = listening_sockets(listen, choose="-")
    except StartupError:
        pytest.skip(f"this machine has no {listen}")
    with listening, socket.create_connection(listening.getsockname()[:2]) as before:
        taken, _ = listening.accept()
        refuse_new_connections([listening])
        if sys.platform == "linux":
            with pytest.raises(TimeoutError):
                socket.create_connection(listening.getsockname()[:2], timeout=0.2)
        with taken:
            before.sendall(b"x")
            taken.setblocking(True)
            assert taken.recv(1) == b"x"
        listening.close()
        refuse_new_connections([listening])
        assert not are_waiting([listening])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(before.getpeername()[:2])
