"""Client connections: the limit, connections without progress, and a lack of file descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import resource
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from portal.ops.metrics import Metrics
from portal.ops.worker_loads import WorkerLoad, WorkerLoads
from portal.web.server.client_connection import LEAST_PROGRESS, SLOW_READER_SECONDS
from portal.web.server.dispatch import Dispatcher
from portal.web.server.http_exchange import RequestLimits
from portal.web.server.http_server import HttpServer
from portal.web.server.listener import ConnectionServer
from portal.web.server.request_body import BodyRules
from tests.kit.loops import ON_BOTH_LOOPS
from tests.kit.raw import PATIENCE, until

pytestmark = ON_BOTH_LOOPS

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 16 * 1024 * 1024


class _Handler(RequestHandler):
    """Responds at once, with a large body, or never."""

    async def get(self) -> None:
        if self.request.query == "large":
            self.write(b"x" * LARGE)
        elif self.request.query == "never":
            self.settings["unanswered"].append(self.request)
            await asyncio.Event().wait()


class _Server:
    """A ConnectionServer on a loopback port, with access to its metrics."""

    def __init__(self, most: int, kind: str, load: WorkerLoad | None = None) -> None:
        self.metrics = Metrics()
        self.unanswered: list[HTTPServerRequest] = []
        application = Application(
            [(r"/.*", _Handler)], log_function=lambda handler: None, unanswered=self.unanswered
        )
        dispatcher = Dispatcher(
            api_target=re.compile("(?!)"),
            api=application,
            authz_target=re.compile("(?!)"),
            authz=application,
            application=application,
            bodies=BodyRules([]),
        )
        server = HTTPServer(dispatcher) if kind == "tornado" else HttpServer(dispatcher, RequestLimits())
        self.served = ConnectionServer(server, most=most, metrics=self.metrics, load=load)
        self.listener, self.port = bind_unused_port()
        self.served.add_sockets([self.listener])

    async def check(self, *, later: float = 0.0) -> None:
        """Run the server's periodic check as if `later` seconds had passed."""
        await self.served.check(asyncio.get_running_loop().time() + later)

    def count(self, name: str) -> float:
        lines = self.metrics.render().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def open(self) -> float:
        return self.count("portal_connections")


async def _client_at_the_limit(served: _Server, clients: list[_Client]) -> _Client:
    """A client with a request for which there is no place."""
    client = _Client(served.port)
    clients.append(client)
    await client.ask()
    await until(lambda: served.count("portal_accept_pauses_total"), "nothing waits")
    return client


@contextlib.asynccontextmanager
async def _serving(most: int, kind: str, load: WorkerLoad | None = None) -> AsyncIterator[_Server]:
    made = _Server(most, kind, load)
    try:
        yield made
    finally:
        made.served.stop()
        await made.served.close_all_connections()


class _Client:
    """One client connection on a raw socket."""

    def __init__(self, port: int, *, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)

    async def ask(self, target: str = "/") -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, GET.replace(b"/", target.encode(), 1))

    async def status(self) -> bytes:
        received = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 12), PATIENCE)
        return received[9:12]

    async def is_ended(self) -> bool:
        with contextlib.suppress(ConnectionError):
            while await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 65_536), PATIENCE):
                pass
        return True


@pytest.fixture(params=["tornado", "httptools"])
def server(request: pytest.FixtureRequest) -> str:
    """The HTTP server that is tested."""
    return str(request.param)


@pytest.fixture
def clients() -> Iterator[list[_Client]]:
    made: list[_Client] = []
    yield made
    for client in made:
        client.socket.close()


# --- the number of connections


@pytest.mark.gen_test
async def test_D5_no_more_connections_are_accepted_than_the_limit(
    server: str, clients: list[_Client], log_lines: io.StringIO
) -> None:
    async with _serving(3, server) as served:
        clients += [_Client(served.port) for _ in range(6)]
        for client in clients:
            await client.ask("/?never")
        await until(lambda: len(served.unanswered) == 3, "requests did not arrive")
        for _ in range(3):
            await served.check(later=3600.0)  # all are busy: none is closed
            await asyncio.sleep(0)
        assert served.open() == 3
        clients[0].socket.close()
        await until(lambda: served.count("portal_accept_pauses_total") >= 2, "accepting was not resumed")
        assert served.open() == 3
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert [line["connections"] for line in lines if line["event"] == "accepting_paused"] == [3]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.gen_test
async def test_no_worker_gets_more_than_60_percent_of_the_connections(
    server: str, clients: list[_Client], at_once: bool
) -> None:
    """Two workers in one event loop: whether both run in time depends on no other program."""
    loads = WorkerLoads(2)
    async with _serving(40, server, loads.of(0)) as first, _serving(40, server, loads.of(1)) as second:
        second.served.add_sockets([first.listener.dup()])
        for _ in range(32):
            clients.append(_Client(first.port))
            await clients[-1].ask()
            if not at_once:
                assert await clients[-1].status() == b"200"
        for client in clients:
            assert not at_once or await client.status() == b"200"
        assert first.open() + second.open() == 32
        assert max(first.open(), second.open()) <= 0.6 * 32


@pytest.mark.gen_test
async def test_a_worker_with_more_connections_than_another_accepts_up_to_its_limit(
    server: str, clients: list[_Client], log_lines: io.StringIO
) -> None:
    loads = WorkerLoads(2)
    loads.of(1).report(0)  # it accepts nothing, as if it were stopped
    async with _serving(40, server, loads.of(0)) as served:
        clients += [_Client(served.port) for _ in range(39)]
        for client in clients:
            await client.ask()
            assert await client.status() == b"200"
        await asyncio.sleep(0.02)  # longer than it leaves connections to the other worker
        await served.check(later=10.0)  # not at the limit: no idle connection is closed
        assert served.open() == 39
        assert "accepting_paused" not in log_lines.getvalue()
        clients += [_Client(served.port), _Client(served.port)]
        await until(lambda: "accepting_paused" in log_lines.getvalue(), "the limit was not reported")


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.gen_test
async def test_D5_idle_connections_are_closed_for_a_client_with_a_request(
    server: str, clients: list[_Client], asks: bool
) -> None:
    async with _serving(4, server) as served:
        for _ in range(4):
            clients.append(_Client(served.port))
            if asks:
                await clients[-1].ask()
                assert await clients[-1].status() == b"200"
        await until(lambda: served.open() == 4, "connections were not accepted")
        new = await _client_at_the_limit(served, clients)
        await served.check(later=0.5)
        assert served.open() == 4, "a connection was closed before its time"
        await served.check(later=6.0)
        assert served.open() == (3 if asks else 0)
        assert await new.status() == b"200"


@pytest.mark.gen_test
async def test_D5_connections_with_incomplete_heads_are_closed_for_a_client_with_a_request(
    server: str, clients: list[_Client]
) -> None:
    async with _serving(4, server) as served:
        for _ in range(4):
            clients.append(_Client(served.port))
            clients[-1].socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        await until(lambda: served.open() == 4, "connections were not accepted")
        new = await _client_at_the_limit(served, clients)
        await asyncio.sleep(0.02)
        await served.check(later=6.0)
        assert await new.status() == b"200"


@pytest.mark.parametrize("drops", [0, 3])
@pytest.mark.gen_test
async def test_S15_connections_with_stalled_bodies_are_closed_for_a_client_with_a_request(
    server: str, clients: list[_Client], drops: int
) -> None:
    async with _serving(4, server) as served:
        for _ in range(4):
            clients.append(_Client(served.port))
            clients[-1].socket.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        await until(lambda: served.open() == 4, "connections were not accepted")
        new = await _client_at_the_limit(served, clients)
        for _ in range(drops):
            await asyncio.sleep(0.02)
            for client in clients[:4]:
                client.socket.sendall(b"x")
        await asyncio.sleep(0.02)
        await served.check(later=4.5)
        assert served.open() == 4, "a connection was closed before its time"
        await served.check(later=6.0)
        assert await new.status() == b"200"


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.gen_test
async def test_D5_closing_many_connections_does_not_block_the_event_loop(
    server: str, clients: list[_Client], monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    monkeypatch.setattr("portal.time_slices.SLICE_SECONDS", 0.0)  # each connection takes a slice
    seen: list[float] = []
    async with _serving(12, server) as served:
        for _ in range(12):
            clients.append(_Client(served.port))
            if asks:
                await clients[-1].ask()
                assert await clients[-1].status() == b"200"
        await until(lambda: served.open() == 12, "connections were not accepted")
        clients.append(_Client(served.port))
        await until(lambda: served.count("portal_accept_pauses_total"), "nothing waits")
        checking = asyncio.create_task(served.check(later=6.0))
        while not checking.done():
            seen.append(served.open())
            await asyncio.sleep(0)
    assert {12, 11} <= {*seen}, "all were closed in one turn of the loop"


@pytest.mark.gen_test
async def test_D5_idle_connections_stay_below_the_limit(server: str, clients: list[_Client]) -> None:
    async with _serving(4, server) as served:
        clients += [_Client(served.port) for _ in range(3)]
        await until(lambda: served.open() == 3, "connections were not accepted")
        await served.check(later=60.0)
        assert served.open() == 3


# --- no descriptors left


@pytest.mark.gen_test
async def test_D5_a_process_without_descriptors_pauses_and_does_not_busy_loop(
    server: str, clients: list[_Client], log_lines: io.StringIO
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with _serving(1000, server) as served:
        clients += [_Client(served.port) for _ in range(2)]
        await until(lambda: served.open() == 2, "connections were not accepted")
        late = socket.socket()
        late.setblocking(False)
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        fillers = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
            with contextlib.suppress(OSError):
                while True:
                    fillers.append(os.open("/dev/null", os.O_RDONLY))
            with contextlib.suppress(BlockingIOError):
                late.connect(("127.0.0.1", served.port))
            await until(lambda: served.count("portal_accept_pauses_total"), "accepting was not paused")
            for _ in range(200):
                await asyncio.sleep(0)
            assert served.count("portal_accept_pauses_total") == 1, "accept is tried again and again"
        finally:
            for filler in fillers:
                os.close(filler)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await served.check(later=0.5)
        assert served.open() == 2
        await served.check(later=1.5)
        late.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(late, GET)
        received = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(late, 12), PATIENCE)
        assert received[9:] == b"200"
        late.close()
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert len([line for line in lines if line["event"] == "accepting_paused"]) == 1


# --- clients that do not read


@pytest.mark.gen_test
async def test_D5_a_client_that_never_reads_is_disconnected(
    server: str, clients: list[_Client], log_lines: io.StringIO
) -> None:
    async with _serving(10, server) as served:
        clients += [_Client(served.port, receive_buffer=4096), _Client(served.port)]
        await clients[0].ask("/?large")
        await clients[1].ask("/?never")
        await until(lambda: served.open() == 2, "connections were not accepted")
        for _ in range(50):
            await asyncio.sleep(0.001)
        await served.check()
        await served.check(later=SLOW_READER_SECONDS - 1)
        assert served.open() == 2
        await served.check(later=SLOW_READER_SECONDS + 1)
        assert served.open() == 1, "an unread response is kept for ever"
        assert await clients[0].is_ended()
    assert log_lines.getvalue().count("slow_reader_closed") == 1


@pytest.mark.gen_test
async def test_D5_a_client_that_reads_slowly_is_served(server: str, clients: list[_Client]) -> None:
    async with _serving(10, server) as served:
        clients.append(_Client(served.port, receive_buffer=65_536))
        await clients[0].ask("/?large")
        received = 0
        for minute in range(1, 8):
            piece = 0
            while piece < 40 * LEAST_PROGRESS:
                piece += len(
                    await asyncio.wait_for(asyncio.get_running_loop().sock_recv(clients[0].socket, 65_536), 5)
                )
            received += piece
            await asyncio.sleep(0.01)
            await served.check(later=minute * (SLOW_READER_SECONDS - 1))
            assert served.open() == 1, f"disconnected after {received} bytes"
