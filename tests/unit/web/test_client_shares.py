"""How many connections each client has. THREATS S15."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from functools import partial
from ipaddress import ip_network

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from portal.ops.metrics import Metrics
from portal.web.server.client_shares import ClientShares
from portal.web.server.dispatch import Dispatcher
from portal.web.server.http_exchange import RequestLimits
from portal.web.server.http_server import HttpServer
from portal.web.server.listener import ConnectionServer
from portal.web.server.request_body import BodyRules
from tests.kit.raw import until


def test_S15_a_client_has_three_quarters_unless_the_settings_say_otherwise() -> None:
    assert ClientShares.of(400, None, ()).most == 300
    assert ClientShares.of(1, None, ()).most == 1
    assert ClientShares.of(400, 7, ()).most == 7


def test_S15_each_client_is_counted_by_itself() -> None:
    shares = ClientShares(2)
    first, second = shares.client("192.0.2.1"), shares.client("192.0.2.2")
    shares.add(first)
    shares.add(first)
    assert not shares.has_place(first)
    assert shares.has_place(second)
    shares.remove(first)
    assert shares.has_place(first)
    shares.remove(first)
    assert not shares._open
    assert not shares.crowded


@pytest.mark.parametrize("address", ["10.1.2.3", "0.0.0.0", ""])
def test_S15_trusted_proxies_and_unknown_clients_are_not_counted(address: str) -> None:
    assert ClientShares(2, (ip_network("10.0.0.0/8"),)).client(address) == ""


def test_S15_a_client_is_crowded_before_it_has_no_place() -> None:
    shares = ClientShares(10)
    client = shares.client("2001:db8::1")
    for _ in range(8):
        shares.add(client)
    assert not shares.crowded
    shares.add(client)
    assert set(shares.crowded) == {client}
    assert shares.has_place(client)
    assert shares.over(client) == 1


# --- at a server


class _Handler(RequestHandler):
    """Responds at once, or never."""

    async def get(self) -> None:
        self.settings["arrived"].append(self.request.query)
        if self.request.query == "never":
            await asyncio.Event().wait()


class _Server:
    """A ConnectionServer on a loopback port where a client may have ten of a hundred connections."""

    def __init__(self, kind: str, trusted: str = "") -> None:
        self.metrics = Metrics()
        self.arrived: list[str] = []
        application = Application(
            [(r"/.*", _Handler)], log_function=lambda handler: None, arrived=self.arrived
        )
        requests = Dispatcher(
            api_target=re.compile("(?!)"),
            api=application,
            authz_target=re.compile("(?!)"),
            authz=application,
            application=application,
            bodies=BodyRules([]),
        )
        made = HTTPServer(requests) if kind == "tornado" else HttpServer(requests, RequestLimits())
        shares = ClientShares(10, (ip_network(trusted),) if trusted else ())
        self.served = ConnectionServer(made, most=100, metrics=self.metrics, shares=shares)
        self._listener, self.port = bind_unused_port()
        self.served.add_sockets([self._listener])

    def value(self, name: str) -> float:
        lines = self.metrics.render().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    @property
    def open(self) -> float:
        return self.value("portal_connections")

    @property
    def refused(self) -> float:
        return self.value('portal_limit_hits_total{limit="connections_per_client"}')

    async def check(self, *, later: float) -> None:
        """Run the periodic check as if `later` seconds had passed."""
        await self.served.check(asyncio.get_running_loop().time() + later)


@contextlib.asynccontextmanager
async def _serving(kind: str, trusted: str = "") -> AsyncIterator[_Server]:
    made = _Server(kind, trusted)
    try:
        yield made
    finally:
        made.served.stop()
        await made.served.close_all_connections()


@pytest.fixture
def clients() -> Iterator[list[socket.socket]]:
    made: list[socket.socket] = []
    yield made
    for client in made:
        client.close()


def _is_more_than(server: _Server, seen: float) -> bool:
    return server.open + server.refused > seen


async def _connect(
    server: _Server,
    clients: list[socket.socket],
    *,
    count: int,
    request: bytes = b"",
    host: str = "127.0.0.1",
) -> None:
    """Open connections one by one, each once the one before it was accepted or refused."""
    for _ in range(count):
        seen = server.open + server.refused
        client = socket.socket()
        client.bind((host, 0))
        clients.append(client)
        client.connect(("127.0.0.1", server.port))
        if request:
            client.sendall(request)
        await until(partial(_is_more_than, server, seen), "a connection waits")


@pytest.mark.parametrize("kind", ["tornado", "httptools"])
@pytest.mark.gen_test
async def test_S15_a_client_gets_its_share_of_the_connections_and_others_theirs(
    kind: str, clients: list[socket.socket], log_lines: io.StringIO
) -> None:
    never = b"GET /?never HTTP/1.1\r\nHost: x\r\n\r\n"
    async with _serving(kind) as server:
        await _connect(server, clients, count=14, request=never)
        assert (server.open, server.refused) == (10, 4)
        await _connect(server, clients, count=3, request=never, host="127.0.0.2")
        assert (server.open, server.refused) == (13, 4)
        await until(lambda: len(server.arrived) == 13, "requests did not arrive")
        await server.check(later=30.0)
        assert server.open == 13, "a connection with a request in progress was closed"
        clients[0].close()
        await until(lambda: server.open == 12, "a closed connection is counted")
        await _connect(server, clients, count=1, request=never)
        assert (server.open, server.refused) == (13, 4)
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    reached = [one for one in lines if one["event"] == "client_limit_reached"]
    assert [(one["limit"], one["client"]) for one in reached] == [("connections_per_client", "127.0.0.0/24")]


@pytest.mark.parametrize("kind", ["tornado", "httptools"])
@pytest.mark.gen_test
async def test_S15_idle_connections_of_a_client_with_many_are_closed_and_not_those_of_others(
    kind: str, clients: list[socket.socket]
) -> None:
    half = b"GET / HTTP/1.1\r\n"
    async with _serving(kind) as server:
        await _connect(server, clients, count=3, request=half, host="127.0.0.2")
        await _connect(server, clients, count=8, request=half)
        await server.check(later=20.0)
        assert server.open == 11, "the client has room"
        await _connect(server, clients, count=1, request=half)
        await server.check(later=20.0)
        await until(lambda: server.open == 3, "connections without a request were not closed")
        await _connect(server, clients, count=10)
        assert server.refused == 0


@pytest.mark.parametrize("kind", ["tornado", "httptools"])
@pytest.mark.gen_test
async def test_S15_a_trusted_proxy_may_have_all_connections(kind: str, clients: list[socket.socket]) -> None:
    async with _serving(kind, "127.0.0.1") as server:
        await _connect(server, clients, count=30)
        assert (server.open, server.refused) == (30, 0)
