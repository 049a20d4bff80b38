"""Rounds, the paced client, and the servers that all products share."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import Message
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from bench.api_server import ApiConnection
from bench.load import LoadFailed
from bench.peers.browser import SignInScript, keep_cookies
from bench.peers.measurements import write_turns
from bench.peers.paced import PacedClient, percentile
from bench.peers.product import Product
from bench.peers.provider import BenchProvider
from bench.peers.rounds import Figures, Resources, compare_resources, in_rounds, tasks_of
from bench.peers.shared_servers import SharedServers
from portal.demo.compact import b64, key_of_jwk, verify_rs256
from portal.ops.metrics import Metrics

ISSUER = "http://127.0.0.1:9"


# --- rounds


def measured(products: list[str], rounds: int, figures: dict[str, list[float]]) -> dict[str, Figures]:
    """The medians of products that give these figures, the first to warm up; 0 is a failure."""
    order: list[str] = []

    def measure(product: Product) -> Figures:
        order.append(product.name)
        value = figures[product.name].pop(0)
        if not value:
            raise LoadFailed("Non-2xx or 3xx responses: 1")
        return {"us": value}

    servers = SharedServers(Path(), ISSUER, ISSUER, SignInScript(ISSUER))
    found = in_rounds("calls", servers, [Product(name, "", None, 0) for name in products], rounds, measure)
    assert order[: len(products)] == products
    return found


def test_a_figure_is_the_median_of_the_rounds_after_the_first() -> None:
    found = measured(["a", "b"], 3, {"a": [900, 3, 1, 8], "b": [900, 30, 10, 80]})
    assert found == {"a": {"us": 3}, "b": {"us": 30}}


def test_a_product_that_fails_twice_is_left_out_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert measured(["a", "b"], 3, {"a": [1, 0, 1, 0], "b": [9, 0, 2, 4]}) == {"b": {"us": 3}}
    printed = capsys.readouterr().out
    assert "calls, round 1: b failed: Non-2xx or 3xx responses: 1" in printed
    assert "calls: a is left out" in printed
    assert "calls: b is left out" not in printed


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (Resources(20, 80_000_000, 12), "(back to its start); 80 MB"),
        (Resources(19, 95_000_000, 11), "(back to its start); 95 MB"),
        (Resources(23, 95_000_000, 12), "(3 MORE descriptors)"),
        (Resources(21, 80_000_000, 14), "(1 MORE descriptors, 2 MORE tasks)"),
    ],
)
def test_descriptors_and_tasks_that_stay_are_named(after: Resources, verdict: str) -> None:
    assert verdict in compare_resources(Resources(20, 80_000_000, 12), after)


def test_tasks_are_read_from_the_metrics() -> None:
    metrics = Metrics()
    metrics.tasks.set(17)
    assert tasks_of(metrics.render().decode()) == 17
    assert tasks_of("portal_connections 3.0\n") == 0


def test_sessions_take_turns_in_the_script_of_the_load_generator(tmp_path: Path) -> None:
    write_turns(tmp_path / "turns.lua", ["portal=a", "portal=b"])
    assert (tmp_path / "turns.txt").read_text().splitlines() == ["portal=a", "portal=b"]
    assert f'io.lines("{tmp_path}/turns.txt")' in (tmp_path / "turns.lua").read_text()


# --- paced calls and the API


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == value


def test_the_median_of_an_odd_number_is_the_one_in_the_middle() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0


@asynccontextmanager
async def api() -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(ApiConnection, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def paced(path: str, *, calls: int) -> PacedClient:
    client = PacedClient(f"GET {path} HTTP/1.1\r\nHost: api\r\n\r\n".encode())
    async with api() as port:
        await client.run("127.0.0.1", port, rate=2_000, calls=calls)
    return client


def test_every_paced_call_has_a_latency() -> None:
    latencies = asyncio.run(paced("/200", calls=100)).microseconds
    assert len(latencies) == 100
    assert min(latencies) > 0


def test_a_paced_call_that_is_not_a_200_ends_the_measurement() -> None:
    class Refusing(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.Transport, transport)

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Refusing, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            await PacedClient(b"GET / HTTP/1.1\r\n\r\n").run("127.0.0.1", port, rate=1_000, calls=40)

    with pytest.raises(SystemExit, match="401 Unauthorized"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("request_text", "length"),
    [
        (b"GET /orders/5 HTTP/1.1\r\n\r\n", 5),
        (b"GET /3000000 HTTP/1.1\r\n\r\n", 3_000_000),
        (b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd", 2),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n", 2),
    ],
)
def test_the_api_responds_when_it_has_the_whole_request(request_text: bytes, length: int) -> None:
    """The request comes byte by byte, and once more at once over the same connection."""

    async def respond() -> None:
        transport = Recorder()
        connection = ApiConnection()
        connection.connection_made(transport)
        for piece in [request_text[index : index + 1] for index in range(len(request_text))]:
            assert transport.written == b""
            connection.data_received(piece)
        await transport.received(length)
        transport.written.clear()
        connection.data_received(request_text)
        await transport.received(length)
        connection.connection_lost(None)

    asyncio.run(respond())


class Recorder(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    async def received(self, length: int) -> None:
        """Wait for a response with a body of this length, and no byte more."""
        async with asyncio.timeout(10):
            while not self.written.endswith(b"x" * length):
                await asyncio.sleep(0)
        head, _, body = bytes(self.written).partition(b"\r\n\r\n")
        assert f"Content-Length: {length}".encode() in head
        assert len(body) == length


# --- sign-in


def test_cookies_are_kept_replaced_and_removed() -> None:
    cookies = {"attempt": "1", "session": "old", "other": "x"}
    response = Message()
    response["Set-Cookie"] = "session=new; Path=/; HttpOnly"
    response["Set-Cookie"] = 'attempt=""; Path=/'
    response["Set-Cookie"] = "other=y; Max-Age=0"
    keep_cookies(cookies, response)
    assert cookies == {"session": "new"}


def exchange(provider: BenchProvider, challenge: str, verifier: str) -> tuple[int, dict[str, str], str]:
    """Status and tokens of a code that was requested with this challenge, and the code."""
    sent = {"redirect_uri": "http://a/cb", "state": "s", "nonce": "n", "code_challenge": challenge}
    location = urlsplit(provider.respond(f"/authorize?{urlencode(sent)}", b"").location)
    returned = parse_qs(location.query)
    assert (location.netloc, location.path, returned["state"]) == ("a", "/cb", ["s"])
    form = {"code": returned["code"][0], "code_verifier": verifier}
    response = provider.respond("/token", urlencode(form).encode())
    return response.status, json.loads(response.body), form["code"]


def test_the_provider_signs_in_a_new_user_each_time() -> None:
    provider = BenchProvider(ISSUER)
    keys = json.loads(provider.respond("/jwks", b"").body)["keys"]
    challenge = b64(hashlib.sha256(b"verifier").digest())
    subjects = []
    for _ in range(2):
        status, tokens, code = exchange(provider, challenge, "verifier")
        claims = verify_rs256(tokens["id_token"], key_of_jwk(keys[0]))
        assert (status, claims["iss"], claims["nonce"]) == (200, ISSUER, "n")
        assert len(tokens["access_token"]) == 900
        subjects.append(claims["sub"])
        again = urlencode({"code": code, "code_verifier": "verifier"}).encode()
        assert provider.respond("/token", again).status == 400
    assert subjects == ["user-1", "user-2"]


def test_the_provider_refuses_a_wrong_code_verifier() -> None:
    status, _, _ = exchange(BenchProvider(ISSUER), b64(hashlib.sha256(b"verifier").digest()), "another")
    assert status == 400
