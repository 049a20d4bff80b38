"""THREATS D1: the body of an unauthenticated request costs almost nothing at every URL."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable
from urllib.parse import urlencode

import pytest
from tornado.routing import URLSpec

from portal.routes import routes
from portal.web.server import client_stream
from portal.web.server.client_stream import ClientStream
from portal.web.server.http_connection import HttpConnection
from portal.web.server.request_parser import RequestParser
from tests.kit.provider_logout import Provider, sid_of
from tests.kit.raw import api_head, ask, connected, cookies, signed_in, until
from tests.kit.world import World

FORM = "Content-Type: application/x-www-form-urlencoded"
MAX_CHUNKS = 1024
TINY = b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n"


@pytest.fixture
def chunks_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one for each chunk of a body that is read."""
    read: list[int] = []
    read_until, read_body = ClientStream.read_until, RequestParser.read_body

    def with_tornado(self: ClientStream, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        read.append(1)
        return read_until(self, delimiter, max_bytes)

    def with_httptools(self: RequestParser, most_chunks: int) -> bytes:
        before = self.chunks
        try:
            return read_body(self, most_chunks)
        finally:
            read.extend([1] * (self.chunks - before))

    monkeypatch.setattr(ClientStream, "read_until", with_tornado)
    monkeypatch.setattr(RequestParser, "read_body", with_httptools)
    return read


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A list that grows by one for each pause while a body is read; nothing waits."""
    made: list[object] = []

    async def with_tornado(line: Awaitable[bytes]) -> bytes:
        made.append(line)
        return await line

    monkeypatch.setattr(client_stream, "_delayed", with_tornado)
    monkeypatch.setattr(HttpConnection, "_pause", lambda connection: made.append(connection))
    return made


def _head(target: str, *extra: str, site: str = "same-origin") -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: localhost", f"Sec-Fetch-Site: {site}", FORM, *extra]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _paths() -> list[str]:
    """A path for every pattern in routes.py, one of an API, and one of a static file."""
    patterns = [rule.regex.pattern for rule in routes() if isinstance(rule, URLSpec)]
    found = [
        re.sub(r"\[[^]]*\]\{16\}", "0" * 16, re.sub(r"\(\?P<\w+>[^)]*\)", "acme", pattern))
        for pattern in patterns
    ]
    paths = [
        "/nowhere" if path.startswith(".*") else path.replace("\\", "").replace(".*", "x").rstrip("$")
        for path in found
    ]
    return [*paths, "/t/acme/api/x", "/static/base.css"]


def test_the_tested_paths_cover_every_route() -> None:
    found = _paths()
    assert {"/t/acme/callback", "/logout", "/nowhere", "/.well-known/jwks.json"} <= set(found)
    assert all(path.startswith("/") and not set(path) & set("()*?[]") for path in found), found


@pytest.mark.gen_test(timeout=60)
async def test_D1_no_route_waits_for_a_long_body_of_an_unauthenticated_client(world: World) -> None:
    """The response arrives before the client sends the body."""
    for target in _paths():
        response = await ask(world, _head(target, "Content-Length: 1000000000"))
        assert response is not None, target
        assert 400 <= response.status < 500, target
        assert response.header("Connection") == "close", target


@pytest.mark.gen_test(timeout=60)
async def test_D1_no_route_reads_a_body_of_many_small_chunks(world: World, chunks_read: list[int]) -> None:
    for target in _paths():
        chunks_read.clear()
        async with connected(world) as connection:
            await connection.send(_head(target, "Transfer-Encoding: chunked") + TINY)
            response = await connection.read_response()
            assert response is not None, target
            assert 400 <= response.status < 500, target
            assert await connection.ended() == b"", target
        assert len(chunks_read) <= MAX_CHUNKS + 1, target


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "Content-Length: 90000"])
@pytest.mark.gen_test
async def test_D1_a_posted_response_is_read_only_from_a_browser_that_began_a_login(
    world: World, chunks_read: list[int], framing: str
) -> None:
    response = await ask(
        world, _head("/t/acme/callback", framing, "Accept: application/json", site="cross-site")
    )
    assert response is not None
    assert json.loads(response.body)["code"] == "login_attempt_unknown"
    assert len(chunks_read) <= 1  # when the connection is already closed


@pytest.mark.parametrize(
    ("length", "status"), [(0, 303), (10, 303), (16 * 1024, 303), (16 * 1024 + 1, 413), (1_000_000, 413)]
)
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.gen_test
async def test_forms_are_accepted_up_to_16_kb(world: World, framing: str, length: int, status: int) -> None:
    body = b"a=" + b"x" * (length - 2) if length else b""
    if framing == "chunked":
        head = _head("/logout", "Transfer-Encoding: chunked")
        body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    else:
        head = _head("/logout", f"Content-Length: {length}")
    async with connected(world) as connection:
        await connection.send(head + body)
        response = await connection.read_response()
        assert response is not None
        assert response.status == status
        assert response.header("Connection") == ("close" if status == 413 else None)


@pytest.mark.gen_test
async def test_a_provider_may_send_its_logout_token_in_chunks(world: World) -> None:
    browser, provider = await signed_in(world), Provider(world)
    form = urlencode({"logout_token": provider.token(sid=await sid_of(world, browser))}).encode()
    pieces = [form[start : start + 100] for start in range(0, len(form), 100)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    response = await ask(world, _head("/t/acme/backchannel-logout", "Transfer-Encoding: chunked") + body)
    assert response is not None
    assert response.status == 200
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401


@pytest.mark.gen_test
async def test_an_upload_of_many_small_chunks_is_read_with_pauses_and_arrives(
    world: World, chunks_read: list[int], pauses: list[object]
) -> None:
    browser = await signed_in(world)
    extra = ["Transfer-Encoding: chunked"]
    head = api_head(world, browser, "/t/acme/api/upload", method="POST", extra=extra)
    async with connected(world) as connection:
        await connection.send(head + b"1\r\nx\r\n" * 5_000 + b"10000\r\n%s\r\n" % (b"x" * 65_536) * 100)
        await connection.send(b"0\r\n\r\n")
        response = await connection.read_response()
    assert response is not None
    assert json.loads(response.body)["received_bytes"] == 5_000 + 100 * 65_536
    assert len(pauses) == 4
    assert len(chunks_read) == 5_000 + 100 + 1


@pytest.mark.gen_test
async def test_a_truncated_form_has_no_effect(world: World) -> None:
    browser = await signed_in(world)
    for target in ("/logout", "/t/acme/backchannel-logout", "/t/acme/callback"):
        async with connected(world) as connection:
            await connection.send(
                _head(target, "Content-Length: 100", f"Cookie: {cookies(browser)}") + b"a=b"
            )
            connection.reset()
    await until(lambda: not world.running.portal.in_flight.count, "a truncated form stays in flight")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
