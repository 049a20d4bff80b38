"""THREATS S11: a response sent before the body was read reaches a client that still sends (RFC 9112 9.6)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tornado.testing import bind_unused_port

from portal.web.server import lingering
from portal.web.server.lingering import LingeringConnections
from tests.kit.raw import (
    PATIENCE,
    api_head,
    change_tenant,
    connected,
    raw_api,
    signed_in,
    until,
)
from tests.kit.world import World
from tests.processes.test_nginx_settings import NGINX, needs_nginx, wait_for_port, write_nginx_settings

MEGABYTE = 1024 * 1024
UPLOAD = 30 * MEGABYTE
BROWSERS = 12
TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


async def _refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An API that responds after the head and reads no body."""
    writer.write(TOO_LARGE)
    await writer.drain()
    await writer.wait_closed()


@contextlib.asynccontextmanager
async def _nginx_in_front_of(world: World, folder: Path) -> AsyncIterator[int]:
    """Run nginx with the settings of the Compose file in front of a portal; yield its port."""
    assert NGINX is not None
    folder.chmod(0o755)
    free, port = bind_unused_port()
    free.close()
    portal_port = urlsplit(world.url).port
    assert portal_port is not None
    settings = write_nginx_settings(folder, port, portal_port)
    nginx = await asyncio.create_subprocess_exec(
        NGINX, "-p", str(folder), "-c", str(settings), "-e", f"{folder}/error.log", "-g", "daemon off;"
    )
    try:
        await wait_for_port(port)
        yield port
    finally:
        nginx.terminate()
        await nginx.wait()


def _upload(port: int, head: bytes) -> int | None:
    """Send until a response arrives, as a browser does; return its status."""
    received = bytearray()

    def read(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in received and (piece := connection.recv(65_536)):
                received.extend(piece)

    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        reading = threading.Thread(target=read, args=(connection,))
        reading.start()
        with contextlib.suppress(OSError):
            connection.sendall(head)
            for _ in range(UPLOAD // MEGABYTE):
                if received:
                    break
                connection.sendall(b"x" * MEGABYTE)
        reading.join()
    return int(received[9:12]) if received else None


@needs_nginx
@pytest.mark.parametrize(("sent_by", "status"), [("api", 413), ("portal", 403)])
@pytest.mark.gen_test(timeout=60)
async def test_an_early_response_reaches_every_browser_behind_nginx(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], sent_by: str, status: int
) -> None:
    browser = await signed_in(world)
    extra = [f"Content-Length: {UPLOAD}"]
    async with raw_api(_refuses) as api, _nginx_in_front_of(world, tmp_path) as port:
        change_tenant(world, "acme", api={"base_url": api.url})
        head = api_head(world, browser, "/t/acme/api/x", method="POST", extra=extra)
        head = head.replace(urlsplit(world.url).netloc.encode(), b"portal.localhost")
        if sent_by == "portal":
            head = head.replace(b"X-Portal-CSRF: 1\r\n", b"")
        uploads = (asyncio.to_thread(_upload, port, head) for _ in range(BROWSERS))
        statuses = await asyncio.gather(*uploads)
    with capsys.disabled():
        print(f"\nan early {status} behind nginx: {statuses.count(status)} of {BROWSERS} browsers got it")
    assert statuses == [status] * BROWSERS


# --- without a proxy: clients that read only after sending everything


def _page_head(target: str, cookie: str, extra: Sequence[str]) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: localhost", "Sec-Fetch-Site: same-origin", *extra]
    return "\r\n".join([*lines, f"Cookie: {cookie}", "", ""]).encode()


REFUSALS = [
    ("/t/acme/api/x", "csrf", 403),
    ("/t/acme/api/x", "session", 401),
    ("/t/nobody/api/x", "", 404),
    ("/t/acme/api/../x", "", 400),
    ("/logout", "", 413),
    ("/t/acme/logout", "", 413),
    ("/t/acme/backchannel-logout", "", 413),
    ("/t/acme/callback", "", 413),
    ("/t/acme/callback", "session", 400),
    ("/t/acme/developer", "session", 401),
    ("/t/acme/initiate-login", "", 413),
    ("/nowhere", "", 413),
    ("/healthz", "", 413),
    ("/static/base.css", "", 405),
]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.gen_test(timeout=60)
async def test_a_refusal_reaches_a_client_that_sends_a_long_body_first(world: World, framing: str) -> None:
    user, signed_out = await signed_in(world), world.browser()
    size = 4 * MEGABYTE
    extra = [f"Content-Length: {size}" if framing == "length" else "Transfer-Encoding: chunked"]
    body = b"x" * size if framing == "length" else b"10000\r\n%s\r\n" % (b"x" * 65_536) * (size // 65_536)
    for target, lacks, status in REFUSALS:
        browser = signed_out if lacks == "session" else user
        head = api_head(world, browser, target, method="POST", extra=extra)
        if lacks == "csrf":
            head = head.replace(b"X-Portal-CSRF: 1\r\n", b"")
        async with connected(world) as connection:
            await connection.send(head)
            for start in range(0, len(body), MEGABYTE):
                await connection.send(body[start : start + MEGABYTE])
            response = await connection.read_response()
            assert response is not None, f"{target}: the connection was reset before the response arrived"
            assert (target, response.status) == (target, status)
            assert response.header("Connection") == "close"
            assert await connection.ended() == b""
    await until(lambda: not world.running.portal.in_flight.count, "a refused request stays in flight")


@pytest.mark.gen_test
async def test_a_client_that_sends_everything_first_gets_an_early_response_that_takes_long(
    world: World,
) -> None:
    """The API responds, reads nothing of the body, and ends its response when the client has sent it all."""
    browser, sent = await signed_in(world), asyncio.Event()

    async def respond_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)  # until the portal waits for the API
        writer.write(TOO_LARGE[:-1])
        await sent.wait()
        writer.write(TOO_LARGE[-1:])
        await writer.drain()
        await writer.wait_closed()

    async with raw_api(respond_slowly) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as connection:
            extra = [f"Content-Length: {UPLOAD}"]
            await connection.send(api_head(world, browser, "/t/acme/api/x", method="POST", extra=extra))
            for _ in range(UPLOAD // MEGABYTE):
                await asyncio.wait_for(connection.send(b"x" * MEGABYTE), PATIENCE)
            sent.set()
            response = await connection.read_response()
            assert response is not None
            assert (response.status, response.body) == (413, b"{}")


@pytest.mark.gen_test
async def test_a_malformed_head_gets_a_response_while_more_data_follows(world: World) -> None:
    async with connected(world) as connection:
        head = b"POST /logout HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        await connection.send(head + b"x" * MEGABYTE)
        response = await connection.read_response()
        assert response is not None
        assert response.status == 400


@pytest.mark.gen_test
async def test_a_short_body_of_a_refused_call_keeps_the_connection(world: World) -> None:
    async with connected(world) as connection:
        for _ in range(2):
            await connection.send(
                b"POST /t/acme/api/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n"
                + b"x" * 70_000
            )
            response = await connection.read_response()
            assert response is not None
            assert response.status == 403
            assert response.header("Connection") is None


# --- how long a closing connection lingers


class _Clients:
    """Socket pairs: one end lingers, the other belongs to the client."""

    def __init__(self) -> None:
        self.lingering = LingeringConnections()
        self.closed = 0

    def connect(self) -> socket.socket:
        ours, client = socket.socketpair()
        ours.setblocking(False)
        client.setblocking(False)
        self.lingering.add(ours, self._count)
        return client

    def _count(self) -> None:
        self.closed += 1


@pytest.mark.gen_test
async def test_a_lingering_connection_is_closed_when_the_client_closes() -> None:
    clients = _Clients()
    client = clients.connect()
    client.send(b"x" * 1000)
    await asyncio.sleep(0)
    assert client.recv(1) == b"", "the portal did not shut down its sending side"
    assert clients.closed == 0
    client.close()
    await until(lambda: clients.closed, "the connection to a closed client lingers")
    assert len(clients.lingering) == 0


@pytest.mark.parametrize("bound", ["IDLE_SECONDS", "TOTAL_SECONDS"])
@pytest.mark.gen_test
async def test_a_lingering_connection_is_closed_after_a_timeout(
    monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(lingering, bound, 0.05)
    clients = _Clients()
    client = clients.connect()
    await until(lambda: clients.closed, "the connection to a silent client lingers")
    client.close()


@pytest.mark.gen_test
async def test_a_lingering_connection_is_closed_after_its_byte_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "MOST_BYTES", 100_000)
    clients = _Clients()
    client = clients.connect()
    sent = 0
    with contextlib.suppress(ConnectionError):
        while not clients.closed:
            with contextlib.suppress(BlockingIOError):
                sent += client.send(b"x" * 10_000)
            await asyncio.sleep(0)
    assert sent < 1_000_000
    client.close()


@pytest.mark.gen_test
async def test_lingering_connections_do_not_delay_a_stop() -> None:
    clients = _Clients()
    kept = [clients.connect() for _ in range(3)]
    await clients.lingering.drain(0.01)
    assert clients.closed == 3
    for client in kept:
        client.close()
